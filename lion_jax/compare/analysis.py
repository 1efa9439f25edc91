"""All numbers of a report, computed once; report, pictures and exports show them."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

from lion_jax.compare import (
    conditions,
    measures,
    paired,
    pairs,
    requested,
    targets,
    titles,
    tuning,
)
from lion_jax.compare.budgets import Budget, budgets, unlike
from lion_jax.compare.markdown import seeds
from lion_jax.compare.measures import Measure
from lion_jax.compare.pairs import Comparison, Group
from lion_jax.compare.records import Record
from lion_jax.compare.targets import Targets, Task
from lion_jax.compare.titles import Title
from lion_jax.config import ConfigError


class Options(NamedTuple):
    """What is known before the records are read."""

    primary: str = measures.PRIMARY  # one of measures.NAMES
    targets: Mapping[str, float] | None = None  # as `targets.checked` returns them
    asked: frozenset[requested.Run] = frozenset()  # for which runs; empty: not known


DEFAULTS = Options()
SCALE = ("learning_rate", "weight_decay")


@dataclasses.dataclass(frozen=True)
class Analysis:
    """What the records of an experiment show."""

    options: Options
    runs: list[Record]  # all, trials included
    titles: dict[str, Title]  # of configurations, by name
    headings: dict[str, str]  # of a configuration and those it is compared with
    groups: list[Group]  # of final runs
    targets: Targets
    measures: list[list[Measure]]  # of each group, the primary one first
    comparisons: list[Comparison]  # of all groups and measures
    sweeps: list[tuning.Sweep]
    budgets: list[Budget]  # of the models that were tuned
    warnings: list[str]

    @property
    def shown(self) -> dict[str, Title]:
        """The titles of configurations by name, for Markdown."""
        return titles.escaped_all(self.titles)

    @property
    def final(self) -> list[Record]:
        """The runs that are no trials."""
        return [run for run in self.runs if not run.swept]

    @property
    def primary(self) -> list[Comparison]:
        """The comparisons by the measure that was named beforehand."""
        return [comparison for comparison in self.comparisons if comparison.primary]

    def missing(self, comparison: Comparison) -> int:
        """Returns how many runs of a comparison were requested and are not there."""
        absent = self.options.asked - self.there
        return sum(label in comparison.contrast.labels for label, _ in absent)

    @property
    def there(self) -> frozenset[requested.Run]:
        """The runs that have records."""
        return _there(self.runs)

    def named(self, task: Task) -> bool:
        """Returns whether a task's target was named, not taken from the runs."""
        return targets.naming(task, self.options.targets or {}) is not None

    def heading(self, group: Group) -> str:
        """Returns the title of what the configurations of a group share."""
        return self.headings[next(iter(group))]

    def title(self, task: Task) -> str:
        """Returns a task's title, with its configurations where others share it."""
        labels: dict[Task, str] = {}  # the first of each
        for group in self.groups:
            for label, runs in group.items():
                labels.setdefault(targets.task_of(runs[0]), label)
        plain = [self.titles[label].heading for label in labels.values()]
        title = self.titles[labels[task]].heading
        return self.headings[labels[task]] if plain.count(title) > 1 else title

    def of(self, group: Group, names: tuple[str, ...]) -> list[Measure]:
        """Returns those of a group's measures that have one of some names."""
        candidates = self.measures[self.groups.index(group)]
        return [measure for measure in candidates if measure.name in names]


def analyse(runs: list[Record], options: Options = DEFAULTS) -> Analysis:
    """Computes everything that a report says.

    Raises:
      ConfigError: If the options do not fit each other or the records.
    """
    runs = sorted(runs, key=lambda run: (run.label, run.seed))
    final = [run for run in runs if not run.swept]
    groups = pairs.groups(final)
    to_reach = _targets(groups, options)
    by_group = [_measures(group, to_reach, options.primary) for group in groups]
    swept = [run for run in runs if run.swept]
    named = titles.of_configurations(final + swept)
    shown = titles.escaped_all(named)
    contrasts = [
        contrast
        for group, own in zip(groups, by_group, strict=True)
        for contrast in pairs.contrasts(group, own, shown)
    ]
    sweeps = tuning.sweeps(swept, final, named)
    spent = budgets(sweeps, final, shown)
    return Analysis(
        options,
        runs,
        named,
        titles.of_groups([[*group] for group in groups], named),
        groups,
        to_reach,
        by_group,
        pairs.adjust(contrasts, options.primary),
        sweeps,
        spent,
        _missing(runs, options.asked)
        + _unfair(groups)
        + conditions.warnings(groups, shown)
        + _of_lions_scale(groups, shown)
        + [
            f"**The tuning was not equal: {budget.counts}.**"
            for budget in spent
            if not budget.is_equal
        ]
        + [text for sweep in sweeps for text in sweep.warnings]
        + unlike(swept, final, shown),
    )


def _targets(groups: list[Group], options: Options) -> Targets:
    """Returns what each model is to reach on its data."""
    named = options.targets or {}
    by_task = targets.for_tasks(named, targets.defaults(groups)) if groups else {}
    unnamed = [task for task in by_task if targets.naming(task, named) is None]
    if options.primary in measures.SPEED and (unnamed or not named):
        names = targets.short_names(by_task)
        whose = f"{min(names[task] for task in unnamed)}=" if named else ""
        raise ConfigError(
            f"--primary={options.primary} needs a target that is named beforehand, for"
            f" every model; set --target={whose}0.9, say."
        )
    return by_task


def _measures(group: Group, to_reach: Targets, primary: str) -> list[Measure]:
    runs = [run for same in group.values() for run in same]
    every = measures.distinct(measures.test_measures(), runs, primary)
    if not math.isnan(to_reach[targets.task_of(runs[0])]):
        every += measures.speeds(to_reach)
    return sorted(every, key=lambda measure: measure.name != primary)


def _missing(runs: list[Record], asked: frozenset[requested.Run]) -> list[str]:
    """Names runs that were requested and are not there."""
    there = _there(runs)
    missing = requested.missing(asked, there)
    if not missing:
        return []
    count = len(asked - there)
    named = "; ".join(f"{x}, {seeds(s)}" for x, s in missing.items())
    verb = "is" if count == 1 else "are"
    return [f"**{count} of {len(asked | there)} runs {verb} missing: {named}.**"]


def _there(runs: list[Record]) -> frozenset[requested.Run]:
    return frozenset((run.label, run.seed) for run in runs)


def _unfair(groups: list[Group]) -> list[str]:
    """Names pairs that are of one model and yet not compared, and why."""
    found = []
    for index, group in enumerate(groups):
        for other in groups[index + 1 :]:
            if pairs.model_of(group) == pairs.model_of(other):
                found.append(
                    f"**{', '.join(group)} and {', '.join(other)} are not compared:"
                    f" they differ in {', '.join(_apart(group, other))}.**"
                )
        if len({frozenset(run.seed for run in runs) for runs in group.values()}) > 1:
            found.append(_other_seeds(group))
    return found


def _apart(a: Group, b: Group) -> list[str]:
    return pairs.unequal(pairs.first_of(a), pairs.first_of(b))


def _of_lions_scale(groups: list[Group], named: dict[str, Title]) -> list[str]:
    """Names rivals of a Lion that have its learning rate and its weight decay.

    They are the defaults of a configuration, and of a scale that is Lion's alone: Chen
    et al. (2023) take 3 to 10 times smaller rates than AdamW's, and larger decays.
    """
    found = []
    for group in groups:
        firsts = [runs[0].config for runs in group.values()]
        lions = [x for x in firsts if x["optimizer"]["name"] == "lion"]
        rivals = [x for x in firsts if x["optimizer"]["name"] in ("adamw", "sgd")]
        for lion, other in itertools.product(lions, rivals):
            values = [{f: x["optimizer"][f] for f in SCALE} for x in (lion, other)]
            if values[0] == values[1]:
                shown = titles.of_values(
                    {f"optimizer.{field}": x for field, x in values[0].items()}
                )
                found.append(
                    f"**{named[other['name']]} has the values of {named[lion['name']]}:"
                    f" {shown}. Optimizers need their own: tune each.**"
                )
    return found


def _other_seeds(group: Group) -> str:
    """Says what becomes of runs whose seeds are not those of their siblings."""
    both = [*itertools.combinations(group, 2)]
    alone = [(a, b) for a, b in both if not pairs.common_seeds(group[a], group[b])]
    said = [
        f"fewer than {paired.FEWEST_PAIRS}, or than half, are shared by {a} and {b},"
        " which are compared without pairs"
        for a, b in alone
    ]
    if len(alone) < len(both):
        said.append("runs without a partner are left out of the differences per seed")
    return f"**The seeds of {', '.join(group)} are not the same; {'; '.join(said)}.**"
