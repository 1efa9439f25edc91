"""Writes docs/api.md from the signatures and docstrings of the public functions.

python tools/api_page.py
"""

import ast
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "api.md"
MARK = "<!-- What follows is written by tools/api_page.py. -->\n"
WIDTH = 88
# Public modules and their names, in the order of the page. Those with `__all__` stand
# here in full, the others with what users of the Python API need.
MODULES = {
    "lion_jax": (
        *("lion", "scale_by_lion", "LionState", "from_optax", "to_optax"),
        *("with_ema", "averaged", "with_error_bits", "with_stochastic_rounding"),
    ),
    "lion_jax.distributed": ("scale_by_distributed_lion",),
    "lion_jax.training": (
        *("run", "dry_run", "load", "Restored", "predictions", "evaluate"),
        *("write_program", "write_weights", "InterruptedRunError"),
    ),
    "lion_jax.compare": ("run", "report"),
    "lion_jax.data": ("load", "Dataset"),
    "lion_jax.models": ("make",),
}
SECTIONS = ("Args", "Returns", "Raises", "Examples", "References")
SECTION = re.compile(rf"^({'|'.join(SECTIONS)}):$", re.MULTILINE)
Function = ast.FunctionDef


def page(text: str) -> str:
    """Returns the page with all entries written anew.

    Args:
      text: The page as it is; what stands before the mark stays.
    """
    parts = [text.partition(MARK)[0], MARK]
    for module in MODULES:
        parts.append(f"\n## `{module}`\n")
        parts += [entry for name in MODULES[module] for entry in entries(module, name)]
    return "".join(parts)


def entries(module: str, name: str) -> Iterator[str]:
    """Yields the entry of a function, or those of a class and its public methods."""
    found = getattr(importlib.import_module(module), name)
    title = f"{module.rpartition('.')[2]}.{name}"
    node, lines = _definition(found)
    if isinstance(node, Function):
        yield _entry("###", title, signature(name, node), node)
        return
    yield _entry("###", title, _fields(node, lines), node)
    for part in node.body:
        if isinstance(part, Function) and not part.name.startswith("_"):
            shown = signature(part.name, part)
            yield _entry("####", f"{name}.{part.name}", shown, part)


def _definition(found: Any) -> tuple[ast.ClassDef | Function, list[str]]:
    """Returns a function or class as it is written, and the lines of its file."""
    found = inspect.unwrap(found)
    path = sys.modules[found.__module__].__file__
    assert path is not None
    text = Path(path).read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef | Function) and node.name == found.__name__:
            return node, text.splitlines()
    raise LookupError(found)


def _entry(level: str, title: str, shown: str, node: ast.ClassDef | Function) -> str:
    """Returns the Markdown of one name: heading, signature, docstring."""
    text = ast.get_docstring(node)
    assert text, title
    return f"\n{level} `{title}`\n\n```python\n{shown}\n```\n\n{described(text)}"


def _fields(node: ast.ClassDef, lines: list[str]) -> str:
    """Returns a class with its fields, and what is noted beside them."""
    base = f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else ""
    fields = [lines[x.lineno - 1] for x in node.body if isinstance(x, ast.AnnAssign)]
    head = f"class {node.name}{base}:"
    return "\n".join([head, *fields]) if fields else f"{head} ..."


def signature(name: str, node: Function) -> str:
    """Returns a function's signature, its arguments below each other if it is long."""
    decorators = [ast.unparse(x) for x in node.decorator_list]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    if any(x.endswith("property") for x in decorators):
        return f"{name}:{returns.removeprefix(' ->')}"
    given = [x for x in _arguments(node.args) if x != "self"]
    line = f"{name}({', '.join(given)}){returns}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {x}," for x in given), f"){returns}"])


def _arguments(given: ast.arguments) -> Iterator[str]:
    missing = [None] * (len(given.args) - len(given.defaults))
    for argument, default in zip(given.args, [*missing, *given.defaults], strict=True):
        yield _argument(argument, default)
    if given.vararg:
        yield f"*{ast.unparse(given.vararg)}"
    elif given.kwonlyargs:
        yield "*"
    for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield _argument(argument, default)
    if given.kwarg:
        yield f"**{ast.unparse(given.kwarg)}"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(argument) + (f" = {ast.unparse(default)}" if default else "")


def described(docstring: str) -> str:
    """Returns a docstring as Markdown."""
    text, *rest = SECTION.split(inspect.cleandoc(docstring))
    parts = [_mathematics(text.strip())]
    for title, body in zip(rest[::2], rest[1::2], strict=True):
        body = textwrap.dedent(body).strip("\n")
        if title == "Examples" and ">>>" in body:
            parts.append(f"```pycon\n{plain(body)}\n```")
        elif title in ("Args", "Raises"):
            parts.append(f"{title}:\n\n{_listed(body)}")
        else:
            parts.append(f"{title}: {body}")
    return "\n\n".join(parts) + "\n"


def plain(example: str) -> str:
    """Returns an example without directives for doctest."""
    return re.sub(r"  # doctest: \+\w+$", "", example, flags=re.MULTILINE)


def _listed(body: str) -> str:
    """Returns `name: meaning` of several lines each as a list."""
    joined = re.sub(r"\n +", " ", body)
    return "\n".join(
        re.sub(r"^([*\w]+(?:, \w+)*):", r"- `\1`:", line)
        if ":" in line
        else f"- {line}"
        for line in joined.splitlines()
    )


def _mathematics(text: str) -> str:
    """Returns text whose formulas, of Sphinx or indented, are blocks."""
    text = re.sub(
        r"\.\. math::\n((?:    .*\n?)+)",
        lambda found: f"```math\n{textwrap.dedent(found[1]).rstrip()}\n```\n",
        text,
    )
    return re.sub(
        r"^((?:    .*\n?)+)",
        lambda found: f"```text\n{textwrap.dedent(found[1]).rstrip()}\n```\n",
        text,
        flags=re.MULTILINE,
    )


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
