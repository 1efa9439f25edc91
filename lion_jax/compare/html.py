"""The report as one page that needs nothing else: styles and pictures are in it."""

import base64
from pathlib import Path

from markdown_it import MarkdownIt

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Comparison of runs</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto;
  padding: 0 1rem; color: #1a1a1a; background: #fff; }}
table {{ border-collapse: collapse; font-size: 0.85em; margin: 1em 0; display: block;
  overflow-x: auto; font-variant-numeric: tabular-nums; }}
th, td {{ border-bottom: 1px solid #ddd; padding: 0.3em 0.7em; text-align: left;
  vertical-align: top; white-space: nowrap; }}
th {{ border-bottom: 2px solid #888; }}
img {{ max-width: 100%; height: auto; }}
code {{ background: #f3f3f3; padding: 0.1em 0.3em; }}
</style>
</head>
<body>
{body}</body>
</html>
"""


def page(text: str, folder: Path) -> str:
    """Returns a Markdown report as one HTML page.

    Text of the records cannot become markup, and nothing but the report's pictures goes
    into the page.

    Args:
      text: The report.
      folder: Where its pictures are, as SVG.
    """
    pictures = {path.name: path for path in folder.glob("*.svg")}
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    for token in tokens:
        for child in token.children or []:
            if child.type == "image" and child.attrs["src"] not in pictures:
                child.type = "text"
            elif child.type == "image":
                picture = pictures[str(child.attrs["src"])].read_bytes()
                data = base64.b64encode(picture).decode()
                child.attrs["src"] = f"data:image/svg+xml;base64,{data}"
    return PAGE.format(body=parser.renderer.render(tokens, parser.options, {}))
