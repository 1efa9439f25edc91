"""The points of a campaign: configurations, and values of the fields that are swept."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lion_jax import config as configs
from lion_jax import identity
from lion_jax.config import Config, ConfigError
from lion_jax.config.reference import located
from lion_jax.training import sharding


@dataclasses.dataclass(frozen=True)
class Point:
    """A configuration to run, without its seed."""

    label: str
    swept: dict[str, Any]
    config: Config


def plan(
    bases: Iterable[Config],
    configure: Callable[[Config, dict[str, Any]], Config],
    sweeps: Mapping[str, Sequence[Any]],
) -> list[Point]:
    """Lays out the grid of the sweeps over each configuration.

    Args:
      bases: Configurations.
      configure: Sets in one of them what is to be set in all, and further fields;
        checks the result.
      sweeps: Values of further fields; every combination is a point.

    Raises:
      ConfigError: If a field or a value is wrong, or a name occurs twice.
    """
    points: dict[str, Point] = {}
    for base in bases:
        for values in itertools.product(*sweeps.values()):
            config = configure(base, dict(zip(sweeps, values, strict=True)))
            swept = {field: configs.value_at(config, field) for field in sweeps}
            label = ",".join([base.name, *(f"{k}={v}" for k, v in swept.items())])
            if label in points:
                raise ConfigError(
                    f"{label!r} occurs twice among the configurations; give each"
                    " another name= and each swept value once."
                )
            points[label] = Point(label, swept, _settled(located(config)))
    return list(points.values())


def _settled(config: Config) -> Config:
    """Names the number of devices that vote, which another machine may not have."""
    if config.mesh.vote != "none" and not config.devices:
        config.devices = sharding.count_devices()
    return config


def resolve(points: list[Point]) -> dict[str, dict[str, Any]]:
    """Returns configurations as they are stored, but for the seed, by label."""
    return {point.label: identity.resolve(point.config) for point in points}
