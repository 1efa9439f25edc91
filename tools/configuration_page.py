"""Writes docs/configuration.md from what stands at the fields of a configuration.

python tools/configuration_page.py
"""

from pathlib import Path
from typing import Any

from lion_jax.config import Config, Field, fields_of, takers_of
from lion_jax.training.tables import TABLES

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
HEAD = """\
# Configuration

This page is written by `python tools/configuration_page.py` from
`lion_jax/config/schema.py`, where each field's type, range, choices and meaning stand;
a test holds it in sync. `python -m lion_jax.train --config FILE --help` lists the same
with the defaults of the given file.

A configuration is a Python file with a function `get_config()` that returns a `Config`:

    from lion_jax.config import *

    def get_config():
        return Config(name="mine", optimizer=OptimizerConfig(name="adamw", b2=0.999))

The file is executed once, and may import modules beside it. Run only files that you
trust.

On the command line, `--config.<field>=<value>` or `--config.<field> <value>` overrides
a field; `train` and `compare run` read it alike. A boolean is `true`, `false`, `1` or
`0`; without a value it is true, and `--noconfig.<field>` makes it false.

A field that the chosen model or optimizer does not take must be left at its default; so
must the two variants of weight decay without `optimizer.weight_decay`, and the rules of
early stopping without `early_stopping.patience`. A run's folder or record that lacks a
field, because the field came later, has its default.
"""


def page() -> str:
    """Returns the page as Markdown: a table per group."""
    parts, groups = [HEAD], dict.fromkeys(f.group for f in fields_of(Config).values())
    for group in groups:
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
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
