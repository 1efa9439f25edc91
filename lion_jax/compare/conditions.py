"""Under which conditions runs were made, which no configuration says."""

import itertools
from typing import Any

from lion_jax import environment
from lion_jax.compare import pairs
from lion_jax.compare.markdown import seeds
from lion_jax.compare.pairs import Group
from lion_jax.compare.records import Record
from lion_jax.training.conditions import EARLIER

# In an environment, by their names in a sentence.
FIELDS = {
    "platform": "platform",
    "device": "device",
    "processor": "processor",
    "jax": "version of JAX",
    "commit": "commit",
}


def warnings(groups: list[Group], titles: dict[str, str]) -> list[str]:
    """Warns of runs that are compared and were not made of the same data, or alike.

    Args:
      groups: Configurations that are compared.
      titles: Their titles by name.
    """
    return [
        warning
        for group in groups
        for check in (_of_other_data, _not_alike, _begun_elsewhere)
        for warning in check(group, titles)
    ]


def _of_other_data(group: Group, titles: dict[str, str]) -> list[str]:
    """Warns where a group's runs are not all of the same data."""
    made: dict[Any, dict[str, list[int]]] = {}
    for label, runs in group.items():
        for run in runs:
            of_data = made.setdefault(run.environment.get("data"), {})
            of_data.setdefault(label, []).append(run.seed)
    if len(made) < 2:
        return []
    said = [
        f"{' and '.join(f'{titles[x]}, {seeds(s)}' for x, s in by.items())}: {name}"
        for name, by in made.items()
    ]
    return [f"**Runs are of different data and do not compare: {'; '.join(said)}.**"]


def _not_alike(group: Group, titles: dict[str, str]) -> list[str]:
    """Warns of conditions that differ between a group's configurations."""
    different = []
    for field, name in FIELDS.items():
        both = itertools.combinations(group.values(), 2)
        if any(_differs(field, a, b) for a, b in both):
            by_values: dict[str, list[str]] = {}
            for label, runs in group.items():
                values = sorted({str(run.environment.get(field)) for run in runs})
                by_values.setdefault(", ".join(values), []).append(titles[label])
            said = [f"{v} ({'; '.join(own)})" for v, own in by_values.items()]
            different.append(f"{name} {' against '.join(said)}")
    if not different:
        return []
    return [
        f"**Configurations were not run alike: {'; '.join(different)}. Their figures of"
        " time do not compare, and what else differs may be due to that.**"
    ]


def _begun_elsewhere(group: Group, titles: dict[str, str]) -> list[str]:
    """Warns of runs that were resumed under conditions that may change numbers."""
    said = []
    for label, runs in group.items():
        by_change: dict[str, list[int]] = {}
        for run in runs:
            for before in run.environment.get(EARLIER, []):
                change = environment.differences(before, run.environment)
                by_change.setdefault(", ".join(change), []).append(run.seed)
        said += [f"{titles[label]}, {seeds(s)}: {x}" for x, s in by_change.items() if x]
    if not said:
        return []
    return [
        "**Runs were begun under other conditions than they ended under, so their"
        f" numbers may differ from undisturbed runs': {'; '.join(said)}.**"
    ]


def _differs(field: str, a: list[Record], b: list[Record]) -> bool:
    """Whether a condition differs between two configurations: within pairs, if any."""
    shared = pairs.common_seeds(a, b)
    first, second = (
        {run.seed: run.environment.get(field) for run in runs} for runs in (a, b)
    )
    if shared:
        return any(first[seed] != second[seed] for seed in shared)
    return {*first.values()} != {*second.values()}
