"""The identity of a run: those fields of its configuration that change its numbers.

One list for run folders, records and evaluation. Configurations are nested dictionaries
here, as they are stored, so that those of other versions can be compared too.
"""

import dataclasses
import math
from typing import Any

from lion_jax.config import Config, ConfigError, flatten

# Where and how a run is computed: these may differ between two starts of one run. The
# batch of evaluation and the number of devices change the last bits of sums.
PLACES = frozenset(
    {
        "devices",
        "eval_batch_size",
        "scan_steps",
        "save_every_minutes",
        "data.data_dir",
        "data.cache_dir",
        "data.placement",
    }
)
PATIENCE = "early_stopping.patience"


def fill(saved: dict[str, Any]) -> dict[str, Any]:
    """Returns a stored configuration with the fields that came after it was written.

    A field that was not there had what is its default today.

    Raises:
      ConfigError: If a group of fields is something else.
    """
    return _fill(dataclasses.asdict(Config()), saved)


def _fill(defaults: dict[str, Any], saved: Any) -> dict[str, Any]:
    if not isinstance(saved, dict):
        raise ConfigError(f"{saved!r} is no group of fields")
    filled = defaults | saved
    for name, default in defaults.items():
        if isinstance(default, dict):
            filled[name] = _fill(default, saved.get(name, {}))
    return filled


def unknown_fields(saved: dict[str, Any]) -> list[str]:
    """Names the fields that this version does not know: a newer one wrote them."""
    known = dataclasses.asdict(Config())
    return sorted(flatten(saved).keys() - flatten(known).keys() - known.keys())


def without(config: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """Returns a nested configuration without some of its leaves."""

    def cut(values: dict[str, Any], prefix: str) -> dict[str, Any]:
        return {
            key: cut(value, f"{prefix}{key}.") if isinstance(value, dict) else value
            for key, value in values.items()
            if prefix + key not in names
        }

    return cut(config, "")


def differences(
    saved: dict[str, Any], wanted: dict[str, Any], ignored: frozenset[str] = PLACES
) -> list[str]:
    """Names the fields in which two configurations compute something else."""
    there, asked = (flatten(without(x, ignored)) for x in (saved, wanted))
    return [
        f"{name} ({there.get(name)!r} there, {asked.get(name)!r} asked for)"
        for name in sorted(there.keys() | asked.keys())
        if name not in there or name not in asked or there[name] != asked[name]
    ]


def conflicts(
    saved: dict[str, Any], wanted: dict[str, Any], *, may_grow: bool = True
) -> list[str]:
    """Names the fields for which a run cannot be resumed under a configuration.

    Its name, its places and, if it is only to take longer, its length may differ.
    """
    saved, wanted = fill(saved), fill(wanted)
    ignored = PLACES | {"name"}
    if may_grow and grows(saved, wanted):
        ignored |= {"epochs", PATIENCE}
    fields = differences(saved, wanted, ignored)
    depends = (
        may_grow and not _is_constant(wanted) and saved["epochs"] != wanted["epochs"]
    )
    return [
        f"{text}, on which the learning rate's schedule depends: begin another run from"
        " these weights with --config.init_from"
        if depends and text.startswith("epochs ")
        else text
        for text in fields
    ]


def grows(saved: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether a run is to take longer, and as it would have from the beginning.

    More epochs change the steps before only through the learning rate's schedule; more
    patience changes none.
    """
    epochs = saved["epochs"], wanted["epochs"]
    patience = [flatten(x)[PATIENCE] or math.inf for x in (saved, wanted)]
    if epochs[0] != epochs[1] and not _is_constant(wanted):
        return False
    return epochs[0] <= epochs[1] and patience[0] <= patience[1]


def _is_constant(config: dict[str, Any]) -> bool:
    """Whether the learning rate's schedule is the same for any number of epochs."""
    optimizer = config["optimizer"]
    return optimizer["schedule"] == "constant" and not optimizer["warmup_fraction"]
