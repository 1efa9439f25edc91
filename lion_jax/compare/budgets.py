"""What was spent on tuning, and whether it was the same for each configuration."""

from typing import NamedTuple

from lion_jax.compare import markdown, titles
from lion_jax.compare.markdown import counted
from lion_jax.compare.records import Record
from lion_jax.compare.tuning import Sweep, Trial


class Budget(NamedTuple):
    """What was spent on tuning the configurations of a model."""

    is_equal: bool  # as many trials, of the same seeds, for each configuration
    counts: str  # trials of each, in words
    text: str  # counts, and whether they are equal


def budgets(
    sweeps: list[Sweep], final: list[Record], named: dict[str, str]
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
        problems.setdefault(titles.heading(named[name]), {})[name] = tried
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


def _spent(seeds: list[tuple[int, ...]]) -> str:
    """Says how many trials of which seeds there were, given those of each trial."""
    runs = [seed for each in seeds for seed in each]
    if not runs:
        return "no trial"
    several = f" ({len(runs)} runs)" * (len(runs) != len(seeds))
    return f"{counted(len(seeds), 'trial')}{several}, {markdown.seeds(runs)}"
