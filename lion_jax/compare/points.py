"""The points of a campaign: configurations, and values of the fields that are swept."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

from lion_jax import cli, identity
from lion_jax import config as configs
from lion_jax.config import Config, ConfigError
from lion_jax.config.reference import located


@dataclasses.dataclass(frozen=True)
class Point:
    """A configuration to run, without its seed."""

    label: str
    swept: dict[str, Any]
    config: Config


def plan(
    paths: list[str],
    configure: Callable[[Config, dict[str, str]], Config],
    sweeps: dict[str, list[str]],
) -> list[Point]:
    """Reads configurations and lays out the grid of the sweeps over each.

    Args:
      paths: Configuration files.
      configure: Sets in a file's configuration what the command line sets in all, and
        further fields given as text; checks the result.
      sweeps: Values of further fields, as text; every combination is a point.

    Raises:
      ConfigError: If a file, a field or a value is wrong, or a name occurs twice.
    """
    points: dict[str, Point] = {}
    for path in paths:
        base = cli.load_config(path)
        for texts in itertools.product(*sweeps.values()):
            config = configure(base, dict(zip(sweeps, texts, strict=True)))
            swept = {field: configs.value_at(config, field) for field in sweeps}
            label = ",".join([base.name, *(f"{k}={v}" for k, v in swept.items())])
            if label in points:
                raise ConfigError(
                    f"--configs={','.join(paths)}: {label!r} occurs twice; give each"
                    " file another name= and each swept value once."
                )
            points[label] = Point(label, swept, located(config))
    return list(points.values())


def resolve(points: list[Point]) -> dict[str, dict[str, Any]]:
    """Returns configurations as they are stored, but for the seed, by label."""
    return {point.label: identity.resolve(point.config) for point in points}
