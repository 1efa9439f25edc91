"""Whether a configuration can be run: checked before anything is written."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from lion_jax.config.fields import OPTIONS, ConfigError, Field, fields_of, flatten
from lion_jax.config.reference import FORMS, REFERABLE, parse, wrong_option
from lion_jax.config.schema import Config

# What the names of a field stand for: for each name, the parameters that it takes, with
# their defaults. By the field's path; the rooms that own the tables make them.
Tables = Mapping[str, Mapping[str, Mapping[str, Any]]]
NO_TABLES: Tables = {}


def check(config: Config, tables: Tables = NO_TABLES) -> None:
    """Checks everything that can be known without the data and the devices.

    Args:
      config: A configuration.
      tables: Models and optimizers by name. Without them, names and fields that apply
        to some of these alone are taken as they are, as for what was saved earlier.

    Raises:
      ConfigError: Names the first wrong field, its value, the rule and the remedy.
    """
    check_groups(config)
    values = flatten(config)
    for field in fields_of(Config).values():
        _check_value(field, values[field.path])
    if not re.fullmatch(r"[\w-][\w.-]*", config.name):
        rule = "must be of letters, digits, '_', '-' and '.': folders are named by it"
        raise _wrong(fields_of(Config)["name"], config.name, rule)
    if config.batch_size % config.accumulate:
        rule = f"must divide batch_size={config.batch_size}"
        raise _wrong(fields_of(Config)["accumulate"], config.accumulate, rule)
    for field in fields_of(Config).values():
        _check_needs(field, values)
        _check_reference(field, values)
        _check_table(field, values, tables)
    _check_patch(config, tables)
    _check_mesh(config)


def check_groups(config: Config) -> None:
    """Checks the types of what holds values: no flag can mend it, as it can a value.

    Raises:
      ConfigError: Names the first group, or the first options, of another type.
    """
    for item in dataclasses.fields(Config):
        if item.default_factory is dataclasses.MISSING:
            continue
        group, value = type(item.default_factory()), getattr(config, item.name)
        if not isinstance(value, group):
            raise ConfigError(
                f"{item.name}={value!r}, but it must be of type {group.__name__}; give"
                f" {item.name}={group.__name__}(...)."
            )
        for field in dataclasses.fields(value):
            options = getattr(value, field.name)
            if field.name in OPTIONS and not isinstance(options, dict):
                raise ConfigError(
                    f"{item.name}.{field.name}={options!r}, but it must be a dictionary"
                    f" of what a function takes; give {field.name}={{}}, for instance."
                )


def _check_value(field: Field, value: Any) -> None:
    allowed = (int, float) if field.type is float else (field.type,)
    if not isinstance(value, allowed) or (
        isinstance(value, bool) and field.type is not bool
    ):
        rule = f"must be of type {field.type.__name__}, not {type(value).__name__}"
        raise _wrong(field, value, rule)
    if isinstance(value, int) and value.bit_length() > 63:
        raise _wrong(field, hex(value), "must be a number of 64 bits")
    if not field.allows(value):
        raise _wrong(field, value, f"must be {field.rule}")


def _check_needs(field: Field, values: Mapping[str, Any]) -> None:
    needed = f"{field.group}.{field.about.needs}"
    if not field.about.needs or values[field.path] == field.default:
        return
    if values[needed] in (0, "none"):
        rule = f"must be {field.default!r} without {needed}"
        raise _wrong(field, values[field.path], rule)


def _check_reference(field: Field, values: Mapping[str, Any]) -> None:
    """Refuses a file without a function, and options of what is no reference."""
    value = values[field.path]
    if field.path in REFERABLE and value.endswith(".py"):
        raise ConfigError(
            f"{field.path}={value!r}, but it must name a function of the file; set"
            f" --config.{field.path}={value}:FUNCTION."
        )
    if field.about.own:
        (named,) = (name for name, own in REFERABLE.items() if own == field.path)
        if value and not parse(values[named]):
            rule = f"must be {{}} unless {named} is a reference, {FORMS}"
            raise _wrong(field, value, rule)
        if rule := wrong_option(value):
            raise _wrong(field, value, rule)


def _check_table(field: Field, values: Mapping[str, Any], tables: Tables) -> None:
    """Refuses a name that is in no table, and an option that would do nothing."""
    value, names = values[field.path], tables.get(field.path)
    if field.about.named and names and value not in names and not parse(value):
        rule = f"must be one of {', '.join(names)}, or a reference, {FORMS}"
        raise _wrong(field, value, rule)
    if value == field.default or not field.about.option:
        return
    name = values[field.sibling]
    if tables.get(field.sibling) and parse(name):
        raise ConfigError(
            f"{field.path}={value!r}, but it must be {field.default!r} where"
            f" {field.sibling} is a reference, {name}: give what the function takes as"
            f" --config.{REFERABLE[field.sibling]}.{field.name}={value}, for instance,"
            f" and set --config.{field.path}={field.default}."
        )
    takers = takers_of(field, tables)
    if takers and name not in takers:
        rule = f"must be {field.default!r} unless {field.sibling} is {_any_of(takers)}"
        raise _wrong(field, value, rule)


def takers_of(field: Field, tables: Tables) -> list[str]:
    """Returns the names to which an option applies; empty if it applies to all."""
    rows = tables.get(field.sibling, {}) if field.about.option else {}
    takers = [name for name, row in rows.items() if field.name in row]
    return takers if len(takers) < len(rows) else []


def _check_patch(config: Config, tables: Tables) -> None:
    row = tables.get("model.name", {}).get(config.model.name, {})
    patch = row.get("patch", 1)
    if config.image_size % patch:
        raise ConfigError(
            f"image_size={config.image_size}, but the patch of {config.model.name}"
            f" ({patch} pixels) must divide it; set --config.image_size="
            f"{max(1, round(config.image_size / patch)) * patch}."
        )


def _check_mesh(config: Config) -> None:
    """Refuses two modes at once, and signs where an optimizer's steps have others."""
    mode, vote, optimizer = config.mesh.mode, config.mesh.vote, config.optimizer
    field = fields_of(Config)["mesh.mode"]
    if config.shard_parameters and mode not in (field.default, "fsdp"):
        raise ConfigError(
            f"mesh.mode={mode!r}, but shard_parameters=True is an older name of"
            " mesh.mode=fsdp; set --config.shard_parameters=false."
        )
    if vote != "none" and config.mesh_mode != "data":
        raise ConfigError(
            f"mesh.vote={vote!r}, but mesh.mode={config.mesh_mode!r}: devices that vote"
            " have a whole momentum each; set --config.mesh.vote=none, or"
            " --config.mesh.mode=data (with --config.shard_parameters=false)."
        )
    if vote == "mean" and config.mesh.ties != "stand":
        raise ConfigError(
            f"mesh.ties={config.mesh.ties!r}, but a mean of votes has no ties; set"
            " --config.mesh.ties=stand."
        )
    if mode != "zero1" and vote == "none":
        return
    sends, remedy = (
        ("mesh.mode='zero1'", "mode=fsdp")
        if mode == "zero1"
        else (f"mesh.vote={vote!r}", "vote=none")
    )
    for name, value, signs in (
        ("name", optimizer.name, "lion"),
        ("mode", optimizer.mode, "hard"),
        ("cautious", optimizer.cautious, False),
    ):
        if value != signs:
            raise ConfigError(
                f"{sends}, but optimizer.{name}={value!r}: it sends the signs"
                f" of Lion's step, which has others unless optimizer.{name} is"
                f" {signs!r}; set --config.mesh.{remedy}."
            )


def check_devices(config: Config, available: int, *, processes: int = 1) -> int:
    """Checks the batch sizes against the devices and returns how many to use.

    Args:
      config: Its number of devices may be 0, for all.
      available: How many there are.
      processes: How many have them; several use all of theirs.

    Raises:
      ConfigError: If there are too few devices, or they do not divide a batch.
    """
    devices = config.devices or available
    if devices > available:
        raise ConfigError(
            f"devices={devices}, but JAX finds {available}; set --config.devices="
            f"{available}, or 0 for all."
        )
    divided = {"batch_size": config.accumulate, "eval_batch_size": 1}
    for name, parts in divided.items():
        size, multiple = getattr(config, name), devices * parts
        if size % multiple:
            times = f" times accumulate={parts}" if parts > 1 else ""
            fewer = max(
                count
                for count in range(1, devices)
                if not any(getattr(config, x) % (count * n) for x, n in divided.items())
            )
            wrong = f"{name}={size}, but the {devices} devices{times} must divide it"
            other = f"--config.{name}={max(1, round(size / multiple)) * multiple}"
            other += " or --config.accumulate" * (parts > 1)
            if processes > 1:
                raise ConfigError(
                    f"{wrong}; use processes that have {fewer} devices in all, or set,"
                    f" for another run, {other}."
                )
            raise ConfigError(
                f"{wrong}; set --config.devices={fewer}, or, for another run, {other}."
            )
    return devices


def _any_of(names: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _wrong(field: Field, value: Any, rule: str) -> ConfigError:
    # The default keeps every rule.
    return ConfigError(
        f"{field.path}={value!r}, but it {rule}; set --config.{field.path}="
        f"{field.default}, for instance."
    )
