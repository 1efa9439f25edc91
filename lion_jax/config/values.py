"""Configurations from texts and saved dictionaries, and compared with each other."""

import copy
from collections.abc import Mapping
from typing import Any

from lion_jax.config.checks import NO_TABLES, Tables, check
from lion_jax.config.fields import (
    ConfigError,
    UnknownFieldError,
    field_at,
    fields_of,
    flatten,
)
from lion_jax.config.reference import REFERENCES
from lion_jax.config.schema import Config


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """Returns a copy of a configuration with some fields, by dotted path, replaced."""
    changed = copy.deepcopy(config)
    for path, value in values.items():
        group, _, name = path.rpartition(".")
        holder = _at(changed, group) if group else changed
        if isinstance(holder, dict):
            holder[name] = value
        else:
            setattr(holder, name, value)
    return changed


def value_at(config: Config, path: str) -> Any:
    """Returns a field's value by its path; None for an option that is not set."""
    return _at(config, path)


def _at(config: Any, path: str) -> Any:
    for name in path.split("."):
        config = config.get(name) if isinstance(config, dict) else getattr(config, name)
    return config


def override(
    config: Config, texts: Mapping[str, str], tables: Tables = NO_TABLES
) -> Config:
    """Returns a checked copy with some fields set to what texts stand for.

    Args:
      config: Stays as it is.
      texts: As on the command line, by the fields' dotted paths.
      tables: As for `check`.

    Raises:
      ConfigError: If a text is no value of its field's type, or not allowed.
    """
    values = {}
    for path, text in texts.items():
        try:
            field = field_at(Config, path)
            if field is None:
                raise KeyError(path)
            values[path] = field.parse(text)
        except ValueError as error:
            raise ConfigError(f"--config.{path}={text}, but it {error}.") from None
    changed = with_values(config, values)
    check(changed, tables)
    return changed


def from_dict(values: Mapping[str, Any]) -> Config:
    """Rebuilds a configuration from `dataclasses.asdict`'s nested dictionary.

    A field that is missing has its default: it came after the dictionary was saved.
    What the references referred to is left out.

    Raises:
      ConfigError: If a value is wrong.
      UnknownFieldError: If a field is unknown to this version.
    """
    saved = flatten({k: value for k, value in values.items() if k != REFERENCES})
    if unknown := [path for path in saved if path not in fields_of(Config)]:
        raise UnknownFieldError(
            f"the configuration has a field {unknown[0]!r}, which this version of"
            " lion_jax does not know; upgrade to the version that saved it."
        )
    config = with_values(Config(), saved)
    check(config)
    return config
