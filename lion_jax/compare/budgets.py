"""What was spent on tuning, and whether it was the same for each configuration."""

import itertools
from typing import NamedTuple

from lion_jax.compare import markdown, pairs
from lion_jax.compare.markdown import counted
from lion_jax.compare.records import Record
from lion_jax.compare.titles import Title
from lion_jax.compare.tuning import Sweep, Trial


class Budget(NamedTuple):
    """What was spent on tuning the configurations of a model."""

    is_equal: bool  # as many trials, of the same seeds, for each configuration
    counts: str  # trials of each, in words
    text: str  # counts, and whether they are equal


def budgets(
    sweeps: list[Sweep], final: list[Record], named: dict[str, Title]
) -> list[Budget]:
    """Returns the budget of each model on each data set.

    A configuration that has final runs and no trial was not tuned, which counts as no
    budget at all.

    Args:
      sweeps: All sweeps.
      final: All final runs.
      named: Titles of the configurations by name.
    """
    trials = {sweep.name: sweep.trials for sweep in sweeps}
    trials |= {
        run.config["name"]: [] for run in final if run.config["name"] not in trials
    }
    problems: dict[str, dict[str, list[Trial]]] = {}
    for name, tried in trials.items():
        problems.setdefault(named[name].heading, {})[name] = tried
    found = []
    for _, own in sorted(problems.items()):
        seeds = {name: sorted(t.seeds for t in trials) for name, trials in own.items()}
        first, *others = seeds.values()
        is_equal = all(other == first for other in others)
        counts = ", ".join(f"{named[name]}: {_spent(seeds[name])}" for name in own)
        equal = "equal" if is_equal else "**not equal**"
        text = f"{counts} ({equal} budgets, in runs and seeds)."
        if not others:
            text = f"{counts}."
        if not any(own.values()):
            text = f"{counts}: whether they were tuned alike, these records do not say."
        found.append(Budget(is_equal, counts, text))
    return found


def unlike(
    swept: list[Record], final: list[Record], named: dict[str, Title]
) -> list[str]:
    """Warns of siblings without final runs whose trials had different protocols.

    Args:
      swept: Records of trials.
      final: Records of final runs, whose protocols are compared anyway.
      named: Titles of the configurations by name.
    """
    done = {run.config["name"] for run in final}
    bases: dict[str, dict[str, Record]] = {}  # of a problem: a trial by name
    fields: dict[str, list[str]] = {}
    for first, *_ in pairs.points(swept):
        name = first.config["name"]
        fields.setdefault(name, []).extend(first.swept)
        if name not in done:
            bases.setdefault(named[name].heading, {}).setdefault(name, first)
    return [
        f"**The trials of {named[a]} and of {named[b]} had different protocols:"
        f" {', '.join(different)}.**"
        for own in bases.values()
        for a, b in itertools.combinations(own, 2)
        if (different := pairs.unequal(own[a], own[b], (*fields[a], *fields[b])))
    ]


def _spent(seeds: list[tuple[int, ...]]) -> str:
    """Says how many trials of which seeds there were, given those of each trial."""
    runs = [seed for each in seeds for seed in each]
    if not runs:
        return "no trial"
    several = f" ({len(runs)} runs)" * (len(runs) != len(seeds))
    return f"{counted(len(seeds), 'trial')}{several}, {markdown.seeds(runs)}"
