"""What a campaign or a report is given, checked alike for commands and Python."""

import operator
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lion_jax.config import Config, ConfigError, fields_of
from lion_jax.files import obstacle
from lion_jax.suggestions import require_field

SEEDS = 2**32  # how many there are
SET_ELSEWHERE = ("seed", "name")  # of the fields of a configuration


def require_rule(flags: type, name: str, value: Any) -> None:
    """Checks a value by the rule of a command's flag.

    Args:
      flags: The command's dataclass of flags.
      name: The flag.
      value: Of any type; the default is always taken.

    Raises:
      ConfigError: If it is of another type, or does not keep the rule.
    """
    field = fields_of(flags)[name]
    types = (int, float) if field.type is float else (field.type,)
    is_one = isinstance(value, types) and not isinstance(value, bool)
    if not is_one or not (value == field.default or field.allows(value)):
        rule = field.rule if is_one else f"of type {field.type.__name__}"
        raise ConfigError(
            f"{name}={value!r}, but it must be {rule}; leave it out for"
            f" {field.default!r}."
        )


def configurations(given: Any) -> list[Config]:
    """Returns the configurations of a campaign.

    Raises:
      ConfigError: If there is none, or something else.
    """
    found = [*given] if isinstance(given, Iterable) else [given]
    alone = "" if isinstance(given, Iterable) else " alone"
    others = [type(x).__name__ for x in found if alone or not isinstance(x, Config)]
    if others or not found:
        what = others[0] + alone if others else "an empty list"
        raise ConfigError(
            "configurations must be one lion_jax.config.Config or more in a list, not"
            f" {what}; give [Config(...)], for instance."
        )
    return found


def seeds(given: Any) -> Sequence[int]:
    """Returns seeds, given how many or which.

    Raises:
      ConfigError: If there is none, one twice, or one that is no seed.
    """
    try:
        count = 0 if isinstance(given, bool) else operator.index(given)
    except TypeError:
        found = _whole(given)
        is_wrong = any(not 0 <= seed < SEEDS for seed in found)
        is_wrong = is_wrong or len({*found}) < len(found)
    else:
        found, is_wrong = range(count), count > SEEDS
    if is_wrong or not found:
        raise ConfigError(
            f"seeds={reprlib.repr(given)}, but it must be a number >= 1, or a list of"
            " different seeds >= 0 and < 2**32; give seeds=25, or seeds=[0, 1, 2], for"
            " instance."
        )
    return found


def _whole(given: Any) -> list[int]:
    """Returns the whole numbers of a list; none if there is something else in it."""
    try:
        return [operator.index(seed) for seed in given]
    except TypeError:
        return []


def span(first: int, count: int) -> range:
    """Returns so many seeds from a first one on.

    Raises:
      ConfigError: If one of them is too large for a seed.
    """
    if first + count > SEEDS:
        raise ConfigError(
            f"--first_seed={first} with --seeds={count}, but seeds must be < 2**32; set"
            " a smaller --first_seed, or fewer --seeds."
        )
    return range(first, first + count)


def require_sweepable(fields: Iterable[str]) -> None:
    """Refuses fields that are set by other means.

    Raises:
      ConfigError: Names the first one.
    """
    if named := [field for field in fields if field in SET_ELSEWHERE]:
        raise ConfigError(
            f"--config.{named[0]}: --seeds sets the seeds, and files have names."
        )


def sweep(given: Any) -> dict[str, list[Any]]:
    """Returns the values of swept fields by dotted path.

    Raises:
      ConfigError: If a field is none, or has no list of values.
    """
    if not isinstance(given, Mapping):
        raise _no_values("sweep", given)
    found = {}
    for field, values in given.items():
        require_field(str(field))
        require_sweepable([field])
        a_list = isinstance(values, Iterable) and not isinstance(values, str | Mapping)
        found[field] = [*values] if a_list else []
        if not found[field]:
            raise _no_values(field, values)
    return found


def _no_values(field: str, values: Any) -> ConfigError:
    return ConfigError(
        f"sweep: {field}={values!r}, but it must be a list of values for each field;"
        " give sweep={'optimizer.learning_rate': [1e-4, 3e-4]}, for instance."
    )


def folder(out: Path) -> Path:
    """Returns the folder of a campaign's records, which need not be there.

    Raises:
      ConfigError: If it cannot be made, as below a file.
    """
    if why := obstacle(out):
        raise ConfigError(f"--out={out} can be no folder: {why}; give another --out.")
    return out
