"""From records to report.md and its pictures: tables, tests, and what they say."""

import math
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from lion_jax.compare import comparison, figures, stats, tuning
from lion_jax.compare.comparison import ALPHA, Comparison
from lion_jax.compare.markdown import number, p_value, table
from lion_jax.compare.records import Record
from lion_jax.files import write_whole

REPORT = "report.md"
METHODS = f"""\
## Methods

A row compares the runs of two configurations that differ in their optimizer only (its
kind, rates, decay and betas, not schedule, warm-up, clipping or what decays), one run a
seed; the network's initial weights, the split, the order of the batches and the
augmentation are the same for a seed. *Best validation* is the state of the lowest
validation loss, *end of schedule* the last one: where runs may stop early, the two
answer different questions. p is two-sided, of the Mann-Whitney U test: exact without
ties, else by permutation, as the row says; p (Holm) is adjusted over the comparisons
by the same measure. A12 (Vargha and Delaney) is the chance that a run of the first
configuration is better than one of the second, with Newcombe's fifth interval; the
difference is that of the means, first minus second, with the BCa bootstrap's interval
of {stats.RESAMPLES:,} resamples. Intervals are of {stats.LEVEL:.0%}. A run that
diverged counts as worse than any other where it has no figure, and one that misses the
target takes infinitely long; none is left out."""


def write(runs: list[Record], out: Path, target: float | None = None) -> list[Path]:
    """Writes the report and its pictures.

    Args:
      runs: All records; those of sweeps are reported apart.
      out: Where the files go.
      target: Validation accuracy to reach; None for one for each network that follows
        from the records.

    Returns:
      The files written.
    """
    runs = sorted(runs, key=lambda run: (run.label, run.seed))
    final = [run for run in runs if not run.swept]
    swept = [run for run in runs if run.swept]
    parts = ["# Comparison of runs", *_provenance(runs)]
    pictures: list[Path] = []

    def draw(name: str, caption: str, make: Callable[[Path], None]) -> None:
        pictures.append(out / f"{name}.png")
        make(pictures[-1])
        parts.append(f"![{caption}]({name}.png)")

    if final:
        groups = comparison.groups(final)
        targets = comparison.default_targets(groups)
        if target is not None:
            targets = dict.fromkeys(targets, target)
        measures = comparison.test_measures()
        parts += _configurations(groups)
        parts += _unfair(groups)
        parts += _tests(groups, measures)
        draw(
            "runs",
            "Test accuracy of every run beside its configuration's box",
            lambda path: figures.runs(groups, measures[:2], path),
        )
        draw(
            "curves",
            "Validation accuracy and loss by epoch: median and quartiles of the runs"
            " that were still going on, finite ones",
            lambda path: figures.curves(groups, path),
        )
        parts += _costs(groups, targets)
        draw(
            "time",
            "Validation accuracy by seconds of training",
            lambda path: figures.time_against_accuracy(groups, path),
        )
    if swept:
        parts += tuning.ranking(swept)
        if lines := tuning.by_rate(swept):
            draw(
                "sensitivity",
                "Best validation accuracy by learning rate",
                lambda path: figures.sensitivity(
                    lines, "validation accuracy, %, mean over seeds", path
                ),
            )
    parts.append(METHODS)
    write_whole(out / REPORT, "\n\n".join(parts) + "\n")
    return [out / REPORT, *pictures]


def verdict(found: Comparison) -> str:
    """Says in one sentence what a comparison shows."""
    n, m = (summary.n for summary in found.summaries)
    what = f"{found.a} against {found.b}, {found.measure.title}"
    p = p_value(found.p_holm)
    p = f"p {p if p.startswith('<') else f'= {p}'} after Holm"
    if not found.can_be_significant:
        return (
            f"{what}: **no answer**. {n} and {m} runs cannot show a difference at"
            f" {ALPHA:.0%} whatever they give (the smallest p possible is"
            f" {p_value(found.smallest_p)} after Holm); more seeds are needed."
        )
    if found.p_holm > ALPHA:
        return (
            f"{what}: **no difference shown** ({p}; A12 = {_interval(found.a12, 2)})."
        )
    better = found.a if found.a12.estimate > 0.5 else found.b
    gap = ""
    if math.isfinite(found.difference.estimate):
        unit = " points" if found.measure.unit == "%" else ""
        gap = f"; difference of the means {_interval(found.difference)}{unit}"
    return (
        f"{what}: **{better} is better** ({p}; A12 = {_interval(found.a12, 2)}{gap})."
    )


def _provenance(runs: list[Record]) -> list[str]:
    """Says where the numbers come from."""

    def all_of(*names: str) -> str:
        told = {
            " ".join(str(run.environment.get(name)) for name in names) for run in runs
        }
        return ", ".join(sorted(told))

    return [
        f"{len(runs)} runs. Commit {all_of('commit')}; jax {all_of('jax')}; device"
        f" {all_of('devices', 'device')} on {all_of('processors')} processors; data"
        f" {', '.join(sorted({run.config['data']['name'] for run in runs}))}."
    ]


def _configurations(groups: list[comparison.Group]) -> list[str]:
    rows = []
    for group in groups:
        for label, runs in group.items():
            optimizer = runs[0].config["optimizer"]
            rows.append(
                (
                    comparison.model_of(group),
                    label,
                    optimizer["name"],
                    f"{optimizer['learning_rate']:g}",
                    f"{optimizer['weight_decay']:g}",
                    runs[0].config["epochs"],
                    len(runs),
                    sum(run.diverged for run in runs),
                )
            )
    heads = ("network", "configuration", "optimizer", "learning rate", "weight decay")
    return [
        "## Configurations",
        table((*heads, "epochs at most", "runs", "diverged"), rows),
    ]


def _unfair(groups: list[comparison.Group]) -> list[str]:
    """Names pairs that are of one network and yet not compared, and why."""
    said = []
    for index, group in enumerate(groups):
        for other in groups[index + 1 :]:
            if comparison.model_of(group) == comparison.model_of(other):
                said.append(
                    f"- {', '.join(group)} and {', '.join(other)} are not compared:"
                    f" they differ in {', '.join(comparison.unequal(group, other))}."
                )
        seeds = {label: {run.seed for run in runs} for label, runs in group.items()}
        if len(set(map(frozenset, seeds.values()))) > 1:
            said.append(f"- The seeds of {', '.join(group)} are not the same.")
    return ["\n".join(said)] if said else []


def _tests(
    groups: list[comparison.Group], measures: list[comparison.Measure]
) -> list[str]:
    """The main table, and a sentence for each comparison of accuracies."""
    compared = [comparison.compare(groups, measure) for measure in measures]
    parts = ["## Results on the test set"]
    if not compared[0]:
        return [*parts, "There are no two configurations to compare.", _alone(groups)]
    said = [verdict(found) for by_measure in compared[:2] for found in by_measure]
    parts.append("\n".join(f"- {sentence}" for sentence in said))
    parts.append(_comparison_table(found for row in compared for found in row))
    single = [group for group in groups if len(group) == 1]
    return [*parts, *([_alone(single)] if single else [])]


def _alone(groups: list[comparison.Group]) -> str:
    rows = []
    for group in groups:
        for label, runs in group.items():
            for measure in comparison.test_measures():
                summary = stats.summarize(measure.of(runs))
                told = _summary(summary, measure)
                rows.append((label, _title(measure), summary.n, *told))
    return table(("configuration", "measure", "n", "median [IQR]", "mean, sd"), rows)


def _comparison_table(found: Iterable[Comparison]) -> str:
    rows = []
    for c in found:
        first, second = c.summaries
        told = [_summary(summary, c.measure) for summary in c.summaries]
        rows.append(
            (
                f"{c.a} / {c.b}",
                _title(c.measure),
                f"{first.n} / {second.n}",
                *(" / ".join(both) for both in zip(*told, strict=True)),
                _interval(c.difference),
                f"{c.test.u:g}, {c.test.method}",
                p_value(c.test.p),
                p_value(c.p_holm),
                _interval(c.a12, 2),
            )
        )
    heads = ("first / second", "measure", "n", "median [IQR]", "mean, sd")
    return table((*heads, "difference", "U", "p", "p (Holm)", "A12"), rows)


def _costs(groups: list[comparison.Group], targets: dict[str, float]) -> list[str]:
    """Time and memory: to a target, a step's, the whole run's."""
    rows = []
    for group in groups:
        for label, runs in group.items():
            times = comparison.speeds(targets)
            reached = np.isfinite(times[0].of(runs)).sum()
            speed = [run.result["images_per_second"] for run in runs]
            parameters = runs[0].memory["parameters"]
            step = runs[0].memory.get("step")
            rows.append(
                (
                    label,
                    f"{reached} of {len(runs)}",
                    *(_summary(stats.summarize(m.of(runs)), m)[0] for m in times),
                    number(float(np.median(speed)), 3),
                    f"{runs[0].memory['optimizer_state'] / parameters:.2f}",
                    f"{step / 2**20:,.0f}" if step else "-",
                )
            )
    heads = ("configuration", "reached", "epochs", "seconds", "images/s")
    told = [f"{model} {100 * target:g} %" for model, target in targets.items()]
    parts = [
        "## Time to a target, and memory",
        f"Targets, in validation accuracy: {', '.join(told)}.",
        table((*heads, "state / parameters", "a step's memory, MiB"), rows),
        "Medians over seeds, quartiles in brackets; the time is of training and"
        " validation, on a machine that may have had other work. State is the"
        " optimizer's, in bytes of the parameters; a step's memory is what the compiler"
        " says.",
    ]
    compared = [
        found
        for measure in comparison.speeds(targets)
        for found in comparison.compare(groups, measure)
    ]
    return [*parts, *([_comparison_table(compared)] if compared else [])]


def _title(measure: comparison.Measure) -> str:
    return f"{measure.title}, {measure.unit}" if measure.unit else measure.title


def _summary(summary: stats.Summary, measure: comparison.Measure) -> tuple[str, str]:
    """Median with quartiles; mean with standard deviation."""

    def told(value: float, digits: int = 4) -> str:
        return number(value, digits, measure.failure)

    quartiles = f"[{told(summary.lower_quartile)}, {told(summary.upper_quartile)}]"
    return f"{told(summary.median)} {quartiles}", (
        f"{told(summary.mean)}, {told(summary.sd, 2)}"
    )


def _interval(interval: stats.Interval, digits: int = 3) -> str:
    if math.isnan(interval.estimate):
        return "-"
    estimate, low, high = (number(x, digits) for x in interval)
    return f"{estimate} [{low}, {high}]"
