"""Under which conditions runs were made, which no configuration says."""

import itertools
from typing import Any

from lion_jax import environment
from lion_jax.compare import pairs
from lion_jax.compare.markdown import escaped, seeds
from lion_jax.compare.pairs import Group
from lion_jax.compare.records import Record, flat
from lion_jax.compare.titles import Title, vote
from lion_jax.training.conditions import EARLIER

# What an environment holds, in the words of a sentence; a package's is its version.
NAMES = {
    "processors": "number of processors",
    "processor_features": "vector instructions",
    "devices": "number of devices",
    "jax": "version of JAX",
    "xla_flags": "XLA_FLAGS",
}
# Of the data there is a warning of its own, as of a run's earlier conditions.
OTHERWISE = {"data", EARLIER}


def warnings(groups: list[Group], titles: dict[str, Title]) -> list[str]:
    """Warns of runs that are compared and were not made of the same data, or alike.

    Args:
      groups: Configurations that are compared.
      titles: Their titles by name.
    """
    return [
        warning
        for group in groups
        for check in (_of_other_data, _not_alike, _begun_elsewhere, _of_parts)
        for warning in check(group, titles)
    ]


def _of_other_data(group: Group, titles: dict[str, Title]) -> list[str]:
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


def _not_alike(group: Group, titles: dict[str, Title]) -> list[str]:
    """Warns of conditions that differ between a group's configurations."""
    different = []
    for field in _fields(group):
        both = itertools.combinations(group.values(), 2)
        if any(_differs(field, a, b) for a, b in both):
            by_values: dict[str, list[str]] = {}
            for label, runs in group.items():
                values = sorted({_text(_condition(run, field)) for run in runs})
                by_values.setdefault(", ".join(values), []).append(titles[label])
            said = [f"{v} ({'; '.join(own)})" for v, own in by_values.items()]
            different.append(f"{_name(field)} {' against '.join(said)}")
    if not different:
        return []
    return [
        f"**Configurations were not run alike: {'; '.join(different)}. Their figures of"
        " time do not compare, and what else differs may be due to that.**"
    ]


def _begun_elsewhere(group: Group, titles: dict[str, Title]) -> list[str]:
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


def _of_parts(group: Group, titles: dict[str, Title]) -> list[str]:
    """Warns of configurations whose devices vote, beside others whose do not."""
    votes = [label for label, runs in group.items() if vote(runs[0].config)]
    if not votes or len(votes) == len(group):
        return []
    return [
        f"**In {', '.join(titles[label] for label in votes)}, batch normalization,"
        " clipping and mixed images, where there are any, are of each device's part of"
        " a batch; in the others they are of the whole.**"
    ]


def _fields(group: Group) -> list[str]:
    """Names the conditions that were recorded and may change numbers, or their time."""
    left_out = environment.HARMLESS | OTHERWISE
    known = dict.fromkeys(
        field
        for runs in group.values()
        for run in runs
        for field in flat({k: v for k, v in run.environment.items() if k != EARLIER})
    )
    return [field for field in known if field not in left_out]


def _condition(run: Record, field: str) -> Any:
    """Returns a condition of a run; None where it was not recorded, or not set."""
    group, _, name = field.rpartition(".")
    return (run.environment.get(group, {}) if group else run.environment).get(name)


def _text(value: Any) -> str:
    return "none" if value in ("", None) else escaped(value)


def _name(field: str) -> str:
    """Returns a condition in the words of a sentence: `variables.X` is X."""
    version = f"version of {field}" if field in environment.PACKAGES else None
    return NAMES.get(field) or version or field.rpartition(".")[2]


def _differs(field: str, a: list[Record], b: list[Record]) -> bool:
    """Whether a condition differs between two configurations: within pairs, if any.

    A run whose version of lion_jax did not record it differs from none.
    """
    shared = pairs.common_seeds(a, b)
    first, second = (
        {run.seed: _condition(run, field) for run in runs if _has(run, field)}
        for runs in (a, b)
    )
    if shared:
        both = first.keys() & second.keys() & {*shared}
        return any(first[seed] != second[seed] for seed in both)
    known = first and second
    return bool(known) and {*first.values()} != {*second.values()}


def _has(run: Record, field: str) -> bool:
    """Whether a condition was looked for: variables that are not set are not listed."""
    return field.partition(".")[0] in run.environment
