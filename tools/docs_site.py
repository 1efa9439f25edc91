"""Hook of mkdocs: gives the site the repository's own tree, and checks its API page.

Every page keeps its path, so that the relative links of the repository's Markdown lead
to the same files there, code and records too.
"""

import ast
import html
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
API = "docs/api.md"
PUBLIC = (
    *("lion_jax", "lion_jax.distributed", "lion_jax.training", "lion_jax.compare"),
    *("lion_jax.config", "lion_jax.data", "lion_jax.models"),
)
SERVED = (
    *("*.md", "LICENSE", "docs/*.md", "notebooks/*.ipynb", "benchmarks/*", "configs/*"),
    *("lion_jax/**/*.py", "tests/*.py", "tools/*.py", "results/**/*.*"),
)


def public_names(module: str) -> list[str]:
    """Returns the names in a module's `__all__`, without importing it."""
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    names: list[str] = []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AugAssign):
            targets = [node.target]
        if any(isinstance(x, ast.Name) and x.id == "__all__" for x in targets):
            names += ast.literal_eval(node.value)  # type: ignore[union-attr]
    return names


def reference() -> str:
    """Returns the API page: every public name with its docstring."""
    parts = ["# API\n\nEvery public name. Import from the modules named here.\n"]
    for module in PUBLIC:
        parts.append(f"## {module}\n")
        parts += [f"::: {module}.{name}\n" for name in public_names(module)]
    return "\n".join(parts)


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
            files.append(File.generated(config, name, abs_src_path=str(path)))
    for folder in (path for path in (ROOT / "results").iterdir() if path.is_dir()):
        if not files.get_file_from_path(f"results/{folder.name}/README.md"):
            name = f"results/{folder.name}/index.md"
            files.append(File.generated(config, name, content=listing(folder)))
    if not files.get_file_from_path(API):
        files.append(File.generated(config, API, content=reference()))
    return files


def on_page_content(text: str, page: Page, **_: Any) -> str:
    """Mends links of notebooks; fails unless every public name is on the API page.

    Raises:
      PluginError: With the names that do not.
    """
    if page.file.src_uri == API:
        words = html.unescape(re.sub(r"<[^>]+>", "", text))
        names = [
            f"{module}.{name}" for module in PUBLIC for name in public_names(module)
        ]
        if missing := [name for name in names if name not in words]:
            raise PluginError(f"{API} lacks {', '.join(missing)}")
    if page.file.src_uri.endswith(".ipynb"):
        text = re.sub(r'(href="(?!https?:)[^"#]+)\.(?:md|ipynb)\b', r"\1.html", text)
    return text
