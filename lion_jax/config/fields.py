"""What is known of a field: its meaning, type, range, choices, and where it applies.

It stands at the field, as `name: Annotated[type, About("meaning", ...)] = default`;
checks, command lines, `--help` and docs/configuration.md read it from there.
"""

import ast
import contextlib
import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lion_jax.config.reference import REFERABLE, plain

OPTIONS = frozenset(path.rpartition(".")[2] for path in REFERABLE.values())
BOOLS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


class ConfigError(ValueError):
    """A configuration that cannot be run: the value, the rule, the remedy."""


class UnknownFieldError(ConfigError):
    """A saved configuration with a field that this version does not know."""


@dataclasses.dataclass(frozen=True)
class About:
    """Meaning and range of a field, beside its type and its default.

    Args:
      help: The meaning, for `--help` and the documentation.
      ge: Smallest value.
      gt: Value that must be exceeded.
      lt: Value to stay below.
      choices: The values allowed, if no `Literal` states them.
      also: What other programs call the field; unknown flags are compared with it.
      flag: The flag's name, if it is not the field's.
      positional: Whether it is an argument without a flag.
      named: Whether the value is a name in a table of models or optimizers.
      option: Whether it applies only where the group's named row takes it.
      own: Whether it applies only to a function of the user's own.
      needs: A field of the same group that must not be 0 if this one is set.
    """

    help: str
    ge: int | float | None = None
    gt: int | float | None = None
    lt: int | float | None = None
    choices: tuple[str, ...] = ()
    also: tuple[str, ...] = ()
    flag: str = ""
    positional: bool = False
    named: bool = False
    option: bool = False
    own: bool = False
    needs: str = ""


@dataclasses.dataclass(frozen=True)
class Field:
    """A field at its place in a dataclass of dataclasses."""

    path: str  # dotted
    # bool, int, float, str, Path or dict; of a list, that of its items; object for an
    # option of a function of the user's own
    type: type
    many: bool  # whether it is a list
    choices: tuple[str, ...]  # empty: any
    default: Any
    about: About

    @property
    def group(self) -> str:
        """The dotted path of the dataclass that holds it; empty at the top."""
        return self.path.rpartition(".")[0]

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition(".")[2]

    @property
    def sibling(self) -> str:
        """The path of the name in a table that decides whether an option applies."""
        return f"{self.group}.name" if self.group else "name"

    @property
    def rule(self) -> str:
        """The range or the choices, in words; empty if every value is allowed."""
        if self.choices:
            return f"one of {', '.join(self.choices)}"
        about = self.about
        bounds = {">=": about.ge, ">": about.gt, "<": about.lt}
        return " and ".join(
            f"{sign} {bound:g}" if bound != 2**32 else f"{sign} 2**32"
            for sign, bound in bounds.items()
            if bound is not None
        )

    def allows(self, value: Any) -> bool:
        """Whether a value of the right type keeps the rule."""
        if self.choices:
            return value in self.choices
        if not self.rule:
            return True
        about = self.about
        return (
            (isinstance(value, int) or math.isfinite(value))
            and (about.ge is None or value >= about.ge)
            and (about.gt is None or value > about.gt)
            and (about.lt is None or value < about.lt)
        )

    def parse(self, text: str) -> Any:
        """Returns the value that a text on a command line stands for.

        Raises:
          ValueError: If it is no value of the field's type, or none of its choices.
        """
        if self.type is object:
            return _literal(text)
        if self.type is dict:
            options = _literal(text)
            if not isinstance(options, dict):
                raise ValueError('must be a dictionary in JSON, such as {"depth": 3}')
            return options
        if self.type is bool:
            if text.lower() not in BOOLS:
                raise ValueError("must be of type bool: true or false")
            return BOOLS[text.lower()]
        if self.choices and text not in self.choices:
            raise ValueError(f"must be {self.rule}, not {text!r}")
        if self.type is Path and not text:  # which pathlib takes for "."
            raise ValueError("must be a path, '.' for the current folder")
        try:
            return self.type(text)
        except ValueError:
            raise ValueError(f"must be of type {self.type.__name__}") from None


def _literal(text: str) -> Any:
    """Returns what a text stands for in JSON, or else in Python; or else the text.

    A truth value in Python's spelling would be true as a text, whichever it is.
    """
    with contextlib.suppress(ValueError):
        return json.loads(text)
    try:
        return json.loads(json.dumps(ast.literal_eval(text)))
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return text


@functools.cache
def fields_of(cls: type, prefix: str = "") -> Mapping[str, Field]:
    """Returns the fields of a dataclass and of those inside it, by path, in order."""
    table: dict[str, Field] = {}
    hints = typing.get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        hint, path = hints[field.name], prefix + field.name
        if dataclasses.is_dataclass(hint):
            table |= fields_of(hint, path + ".")
        else:
            table[path] = _field(path, hint, field)
    return types.MappingProxyType(table)


def _field(path: str, hint: Any, field: dataclasses.Field) -> Field:
    kind, about = typing.get_args(hint)
    many = typing.get_origin(kind) is list
    arguments = typing.get_args(kind)
    literal = typing.get_origin(kind) is typing.Literal
    choices = arguments if literal else about.choices
    if literal:
        kind = type(choices[0])
    elif typing.get_origin(kind) is dict:
        kind = dict
    elif arguments:  # list[x], x | None
        kind = arguments[0]
    default = field.default
    if default is dataclasses.MISSING:
        assert field.default_factory is not dataclasses.MISSING, path
        default = field.default_factory()
    return Field(path, kind, many, choices, default, about)


def field_at(cls: type, path: str) -> Field | None:
    """Returns the field at a path, perhaps that of an option; None if it is none."""
    fields = fields_of(cls)
    options, _, name = path.rpartition(".")
    if path not in fields and options in REFERABLE.values() and name.isidentifier():
        about = About("option of a function of the user's own")
        return Field(path, object, False, (), None, about)
    return fields.get(path)


def flatten(values: Any, prefix: str = "") -> dict[str, Any]:
    """Returns the leaves of a configuration by dotted path, in order.

    The options of a function of the user's own are one leaf.

    Args:
      values: A configuration, one of its groups, or either as a nested dictionary.
      prefix: Put before each path.
    """
    leaves: dict[str, Any] = {}
    if not isinstance(values, Mapping):
        fields = dataclasses.fields(values)
        values = {field.name: getattr(values, field.name) for field in fields}
    for name, value in values.items():
        if name in OPTIONS:
            leaves[prefix + name] = plain(value)
        elif isinstance(value, Mapping) or dataclasses.is_dataclass(value):
            leaves |= flatten(value, f"{prefix}{name}.")
        else:
            leaves[prefix + name] = value
    return leaves
