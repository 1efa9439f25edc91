"""Writes docs/configuration.md from what stands at the fields of a configuration.

python tools/configuration_page.py
"""

from pathlib import Path
from typing import Any

from lion_jax.config import Config, Field, fields_of, takers_of
from lion_jax.training.tables import TABLES

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
MARK = "<!-- What follows is written by tools/configuration_page.py. -->\n"


def page(text: str) -> str:
    """Returns the page with its tables, one per group, written anew.

    Args:
      text: The page as it is; what stands before the mark stays.
    """
    parts = [text.partition(MARK)[0], MARK]
    for group in dict.fromkeys(field.group for field in fields_of(Config).values()):
        rows = [row(f) for f in fields_of(Config).values() if f.group == group]
        title = f"`{group}`" if group else "The run"
        head = "| field | type | default | values | meaning |\n|---|---|---|---|---|"
        parts.append("\n".join([f"\n## {title}\n", head, *rows]) + "\n")
    return "".join(parts)


def row(field: Field) -> str:
    """Returns a field's row."""
    meaning = field.about.help
    if takers := takers_of(field, TABLES):
        meaning += f" ({', '.join(takers)} only)"
    cells = (
        f"`{field.path}`",
        field.type.__name__,
        f"`{shown(field.default)}`",
        values(field),
        meaning,
    )
    return "| " + " | ".join(cells) + " |"


def shown(value: Any) -> str:
    """Returns a default as on a command line."""
    return repr(value) if value == "" else str(value)


def values(field: Field) -> str:
    """Returns which values a field takes."""
    names = field.choices or tuple(TABLES.get(field.path, ()))
    return ", ".join(f"`{name}`" for name in names) if names else field.rule


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
