"""What was run, and where: settings and environments, common ones apart from others."""

import json
from collections.abc import Callable
from typing import Any

from lion_jax.compare import pairs
from lion_jax.compare.markdown import escaped, items, spans, table
from lion_jax.compare.records import Record, flat, what_is_run
from lion_jax.compare.titles import Title
from lion_jax.config.reference import parse
from lion_jax.training import conditions

# Images of the training and of the test set, of data sets that have a fixed size.
IMAGES = {
    "fashion_mnist_sample": (5_000, 1_000),
    "fashion_mnist": (60_000, 10_000),
    "mnist": (60_000, 10_000),
    "kmnist": (60_000, 10_000),
    "cifar10": (50_000, 10_000),
}
RATES = ("learning_rate", "weight_decay", "b1", "b2", "momentum")
OWN = ("name", "model.name", *(f"optimizer.{field}" for field in ("name", *RATES)))


def section(runs: list[Record], named: dict[str, Title]) -> list[str]:
    """Returns Markdown parts: everything that made the numbers, and can make them.

    Args:
      runs: Final runs, or trials where there are no others.
      named: Titles of the configurations by name.
    """
    by_label = pairs.by_label(runs)
    return [
        "## What was run",
        table(*_configurations(by_label, named)),
        *_split(
            by_label, lambda run: flat(what_is_run(run.config)), "Settings of all", OWN
        ),
        "### Where",
        *_split(by_label, _where, "The same for all runs"),
    ]


def _where(run: Record) -> dict[str, Any]:
    """Returns where a run was ended; a warning says which were begun elsewhere."""
    return flat({k: v for k, v in run.environment.items() if k != conditions.EARLIER})


def _configurations(
    by_label: pairs.Group, named: dict[str, Title]
) -> tuple[tuple[str, ...], list[tuple]]:
    rows = []
    for label, runs in by_label.items():
        optimizer = runs[0].config["optimizer"]
        rows.append(
            (
                named[runs[0].config["name"]],
                f"`{label}`",
                f"{optimizer['learning_rate']:g}",
                decay(optimizer),
                betas(optimizer),
                spans([run.seed for run in runs]),
                len(runs),
                sum(run.diverged for run in runs),
            )
        )
    heads = ("configuration", "name", "learning rate", "weight decay", "betas")
    return (*heads, "seeds", "runs", "diverged"), rows


def decay(optimizer: dict[str, Any]) -> str:
    """Returns an optimizer's weight decay; empty where a function's default stands."""
    if parse(optimizer["name"]):
        return text(optimizer["options"].get("weight_decay"))
    return f"{optimizer['weight_decay']:g}"


def betas(optimizer: dict[str, Any]) -> str:
    """Returns an optimizer's decay rates of momenta, as `decay`."""
    if parse(optimizer["name"]):
        options = optimizer["options"]
        return ", ".join(text(options[x]) for x in ("b1", "b2") if x in options)
    if optimizer["name"] == "sgd":
        return f"momentum {optimizer['momentum']:g}"
    return f"{optimizer['b1']:g}, {optimizer['b2']:g}"


def images_of(runs: list[Record]) -> tuple[int, int] | None:
    """Returns how many images validated and tested runs; None if that is not known."""
    settings = {
        (run.config["data"]["name"], run.config["data"]["validation_fraction"])
        for run in runs
    }
    if len(settings) != 1 or (setting := settings.pop())[0] not in IMAGES:
        return None
    train, test = IMAGES[setting[0]]
    return round(train * setting[1]), test


def _split(
    by_label: pairs.Group,
    values: Callable[[Record], dict[str, Any]],
    title: str,
    apart: tuple[str, ...] = (),
) -> list[str]:
    """Lists what is the same for all runs, and tabulates what is not.

    Args:
      by_label: Runs by label.
      values: Leaves of a run's settings by dotted path.
      title: What the list is of.
      apart: Fields left out, as they stand elsewhere.
    """
    settings_of = {
        label: [values(run) for run in runs] for label, runs in by_label.items()
    }
    every = [leaves for many in settings_of.values() for leaves in many]
    fields = [*dict.fromkeys(field for leaves in every for field in leaves)]
    common: dict[str, list[str]] = {}
    differing = []
    for field in fields:
        if field in apart:
            continue
        different = {text(leaves.get(field)) for leaves in every}
        if len(different) > 1:
            differing.append(field)
        elif one := different.pop():
            part, _, name = field.rpartition(".")
            common.setdefault(part, []).append(f"{name} {escaped(one)}")
    lines = [
        f"{part}: {', '.join(settings)}" if part else ", ".join(settings)
        for part, settings in common.items()
    ]
    parts = [f"{title}:", items(lines)] if lines else []
    if differing:
        rows = [
            (label, *(_values(many, field) for field in differing))
            for label, many in settings_of.items()
        ]
        parts.append(table(("configuration", *differing), rows))
    return parts


def _values(many: list[dict[str, Any]], field: str) -> str:
    return ", ".join(sorted({escaped(text(leaves.get(field))) for leaves in many}))


def text(value: Any) -> str:
    """Returns a setting's value as text, empty where there is none."""
    if value is None or value == "":
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)
