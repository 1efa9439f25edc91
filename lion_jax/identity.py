"""The identity of a run: those fields of its configuration that change its numbers.

One list for run folders, records and evaluation. Configurations are nested dictionaries
here, as they are stored, so that those of other versions can be compared too.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

from lion_jax import references
from lion_jax.config import Config, ConfigError, flatten
from lion_jax.config.reference import (
    REFERABLE,
    REFERENCES,
    located,
    references_of,
    short,
)

# Where and how a run is computed: these may differ between two starts of one run. The
# batch of evaluation, the number of devices and what each of them holds change the last
# bits of sums.
PLACES = frozenset(
    {
        "devices",
        "eval_batch_size",
        "scan_steps",
        "save_every_minutes",
        "shard_parameters",
        "mesh.mode",
        "data.data_dir",
        "data.cache_dir",
        "data.placement",
    }
)
FREE = PLACES | {"name"}
PATIENCE = "early_stopping.patience"
OF_PATIENCE = {"early_stopping.min_delta", "early_stopping.start_epoch"}


def resolve(config: Config) -> dict[str, Any]:
    """Returns a configuration as it is stored: with what its references refer to.

    Under `references` stand, by field, the sha256 of files or the version of a package,
    as `references.fingerprint` has them; that of `init_from` too, if it is a file that
    is there. Files have absolute paths.
    """
    config = located(config)
    resolved = dataclasses.asdict(config)
    found = {
        path: references.fingerprint(name)
        for path, name in references_of(config).items()
    }
    if weights := references.of_file(Path(config.init_from)):
        found["init_from"] = weights
    return resolved | ({REFERENCES: found} if found else {})


def portable(config: dict[str, Any]) -> dict[str, Any]:
    """Returns a stored configuration whose files are named without their places."""
    moved = {**config, "init_from": short(config.get("init_from", ""))}
    for path in REFERABLE:
        group, field = path.split(".")
        moved[group] = {**moved[group], field: short(moved[group][field])}
    if place := moved["data"].get("data_dir", ""):
        moved["data"]["data_dir"] = Path(place).name
    return moved


def code_of(config: dict[str, Any]) -> dict[str, str]:
    """Returns in words what a stored configuration's references refer to, by field."""
    return {
        path: " ".join(
            (code["package"], code["version"])
            if "package" in code
            else (f"{file} {_digest(x)}" for file, x in code.get("sha256", {}).items())
        )
        for path, code in config.get(REFERENCES, {}).items()
    }


def packages(resolved: dict[str, Any]) -> dict[str, str]:
    """Returns the versions of the packages that a configuration's references name."""
    return {
        code["package"]: code["version"]
        for code in resolved.get(REFERENCES, {}).values()
        if "package" in code
    }


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
    saved = {name: value for name, value in saved.items() if name != REFERENCES}
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
    """Names the fields in which two configurations compute something else.

    Where a file lies is no difference; what is in it is.
    """
    there, asked = (_compared(x, ignored) for x in (saved, wanted))
    return [
        f"{name} ({there.get(name)!r} there, {asked.get(name)!r} asked for)"
        for name in sorted(there.keys() | asked.keys())
        if name not in there or name not in asked or there[name] != asked[name]
    ] + changed_files(saved, wanted)


def _compared(config: dict[str, Any], ignored: frozenset[str]) -> dict[str, Any]:
    leaves = flatten(without(config, ignored | {REFERENCES}))
    named = REFERABLE.keys() | {"init_from"}
    return {
        name: short(value) if name in named and isinstance(value, str) else value
        for name, value in leaves.items()
    }


def changed_files(saved: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Names the files of references that have changed between two configurations.

    Other versions of a package are none: environment.json has them.
    """
    found = []
    for path, code in wanted.get(REFERENCES, {}).items():
        before = saved.get(REFERENCES, {}).get(path, {}).get("sha256", {})
        now = code.get("sha256", {})
        if short(flatten(saved).get(path, "")) != short(flatten(wanted)[path]):
            continue  # another function, which the names show
        found += [
            f"{path}, whose {file} has changed (sha256 {_digest(before.get(file))}"
            f" there, {_digest(now.get(file))} now; restore the file to resume)"
            for file in sorted(before.keys() | now.keys())
            if before and now and before.get(file) != now.get(file)
        ]
    return found


def _digest(sha256: str | None) -> str:
    return f"{sha256[:12]}..." if sha256 else "none"


def conflicts(
    saved: dict[str, Any], wanted: dict[str, Any], *, may_grow: bool = True
) -> list[str]:
    """Names the fields for which a run cannot be resumed under a configuration.

    Its name, its places and, if it is only to take longer, its length may differ.
    """
    saved, wanted = fill(saved), fill(wanted)
    ignored = FREE
    if may_grow and grows(saved, wanted):
        ignored |= {"epochs", PATIENCE}
        if not flatten(wanted)[PATIENCE]:  # then it never stops early
            ignored |= OF_PATIENCE
    fields = differences(saved, wanted, ignored)
    depends = (
        may_grow and not _is_constant(wanted) and saved["epochs"] != wanted["epochs"]
    )
    remedies = {}
    if saved["init_from"] and wanted["init_from"]:
        remedies["init_from "] = (
            ", of which nothing is read again: if it has moved, give the old name to"
            " resume"
        )
    if depends:
        remedies["epochs "] = (
            ", on which the learning rate's schedule depends: begin another run from"
            " these weights with --config.init_from"
        )
    return [
        text + "".join(more for name, more in remedies.items() if text.startswith(name))
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
