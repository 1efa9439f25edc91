"""Configurations from texts and saved dictionaries, and compared with each other."""

import copy
import functools
from collections.abc import Mapping
from typing import Any

from lion_jax.config.checks import NO_TABLES, Tables, check
from lion_jax.config.fields import ConfigError, fields_of, flatten
from lion_jax.config.schema import Config


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """Returns a copy of a configuration with some fields, by dotted path, replaced."""
    changed = copy.deepcopy(config)
    for path, value in values.items():
        *groups, name = path.split(".")
        setattr(functools.reduce(getattr, groups, changed), name, value)
    return changed


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
            values[path] = fields_of(Config)[path].parse(text)
        except ValueError as error:
            raise ConfigError(f"--config.{path}={text}, but it {error}.") from None
    changed = with_values(config, values)
    check(changed, tables)
    return changed


def from_dict(values: Mapping[str, Any]) -> Config:
    """Rebuilds a configuration from `dataclasses.asdict`'s nested dictionary.

    A field that is missing has its default: it came after the dictionary was saved.

    Raises:
      ConfigError: If a value is wrong, or a field unknown to this version.
    """
    saved = flatten(values)
    if unknown := [path for path in saved if path not in fields_of(Config)]:
        raise ConfigError(
            f"the configuration has a field {unknown[0]!r}, which this version of"
            " lion_jax does not know; upgrade to the version that saved it."
        )
    config = with_values(Config(), saved)
    check(config)
    return config
