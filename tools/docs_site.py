"""Hook of mkdocs: gives the site the repository's own tree.

Every page keeps its path, so that the relative links of the repository's Markdown lead
to the same files there, code and records too.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
SERVED = (
    *("*.md", "LICENSE", "docs/*.md", "notebooks/*.ipynb", "benchmarks/*", "configs/*"),
    *("launch/*", "lion_jax/**/*.py", "tests/*.py", "tools/*.py", "results/**/*.*"),
)


def listing(folder: Path) -> str:
    """Returns a page that links to a folder's files."""
    names = [path.name for path in sorted(folder.iterdir()) if path.is_file()]
    return f"# {folder.name}\n\n" + "".join(f"- [{x}]({x})\n" for x in names)


def on_page_markdown(text: str, **_: Any) -> str:
    """Makes links to folders lead to their pages."""
    return re.sub(r"(\]\((?!https?:)[^)#]*/)\)", r"\1index.md)", text)


@event_priority(100)  # before the plugin that turns notebooks into pages
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replaces mkdocs's files, those of docs/ alone, by the repository's."""
    for file in [file for file in files if file.src_dir == config.docs_dir]:
        files.remove(file)
    for path in sorted({path for pattern in SERVED for path in ROOT.glob(pattern)}):
        if path.is_file():
            name = path.relative_to(ROOT).as_posix()
            urls = config.use_directory_urls
            files.append(File(name, str(ROOT), config.site_dir, urls))
    for folder in (path for path in (ROOT / "results").iterdir() if path.is_dir()):
        if not files.get_file_from_path(f"results/{folder.name}/README.md"):
            name = f"results/{folder.name}/index.md"
            files.append(File.generated(config, name, content=listing(folder)))
    return files


def on_page_content(text: str, page: Page, **_: Any) -> str:
    """Mends the links of notebooks."""
    if page.file.src_uri.endswith(".ipynb"):
        text = re.sub(r'(href="(?!https?:)[^"#]+)\.(?:md|ipynb)\b', r"\1.html", text)
    return text
