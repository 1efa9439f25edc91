"""How tyro reads the flag of a field, and describes it."""

import functools
import json
from typing import Annotated, Any

import tyro
from tyro import constructors

from lion_jax.config import Field, Tables, takers_of

EMPTY = "", "''", None, "None", [], {}, "'{}'"  # defaults not worth a word in help
METAVARS = {bool: "{true,false}", dict: "JSON"}


class RefusedError(Exception):
    """Carries a message through tyro, which would put a ValueError's into a box."""


def _value(flag: str, field: Field, texts: list[str]) -> Any:
    """Returns the value of a flag, whose name is for messages."""
    (text,) = texts
    try:
        return field.parse(text)
    except ValueError as error:
        raise RefusedError(f"--{flag}={text}, but it {error}") from None


def argument(flag: str, field: Field, tables: Tables) -> Any:
    """Returns a field's type, with how tyro reads and describes it."""
    about, notes = field.about, [field.rule] if not field.choices else []
    if takers := takers_of(field, tables):
        notes.append(f"{', '.join(takers)} only")
    text = "; ".join(filter(None, [about.help, *notes]))
    shown: dict[str, Any] = {"name": flag.rpartition(".")[2], "help": text}
    if field.default in EMPTY:
        shown["help_behavior_hint"] = lambda default: (
            f"(default: {default})" if default not in EMPTY else ""
        )
    if field.many and about.positional:
        return Annotated[list[str], tyro.conf.Positional, tyro.conf.arg(**shown)]
    if field.many:
        several = Annotated[list[list[str]], tyro.conf.UseAppendAction]
        return Annotated[several, tyro.conf.arg(**shown)]
    names = tables.get(field.path, ()) if about.named else ()
    choices = field.choices or names
    metavar = METAVARS.get(field.type, field.type.__name__.upper())
    if choices:
        metavar = "{" + ",".join(choices) + "}"
    spec = constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=functools.partial(_value, flag, field),
        is_instance=lambda value: isinstance(value, field.type),
        str_from_instance=lambda value: [
            json.dumps(value) if field.type is dict else str(value)
        ],
    )
    kind: Any = field.type | None if field.default is None else field.type
    marker = tyro.conf.Positional if about.positional else tyro.conf.FlagConversionOff
    return Annotated[kind, spec, marker, tyro.conf.arg(**shown)]
