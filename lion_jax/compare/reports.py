"""From records to report.md, report.html, tables for other programs, and pictures."""

import math
from pathlib import Path

import numpy as np

from lion_jax.compare import (
    exports,
    figures,
    html,
    markdown,
    measures,
    pair_figures,
    pairs,
    protocol,
    results,
    trials_table,
    tuning_figures,
)
from lion_jax.compare.analysis import DEFAULTS, Analysis, Options, analyse
from lion_jax.compare.markdown import counted, digits, fixed, items, literal, table
from lion_jax.compare.paired import FEWEST_PAIRS, MOST_PAIRS
from lion_jax.compare.records import Record
from lion_jax.compare.stats import LEVEL, summarize
from lion_jax.compare.targets import Task, reached, task_of
from lion_jax.files import write_whole

REPORT = "report.md"
METHODS = f"""\
## Methods

A contrast is of two configurations that differ in their optimizer only (its kind,
rates, decay and betas, not schedule, warm-up, clipping, what decays or is trained). A
seed gives both the same initial weights, split, order of the batches and augmentation,
so runs are compared *in pairs*, per seed, and all that is said of two configurations
is of the same runs: the mean difference has Student's interval,
and p is that of the sign-flip test (of signed ranks where a run failed), exact up to
{MOST_PAIRS} pairs. It needs {FEWEST_PAIRS} pairs to reach 0.05; with fewer, or where
seeds are not shared, p is Mann and Whitney's, and without shared seeds the interval is
Welch's. Intervals are of {LEVEL:.0%}; how often they cover the truth at n = 5, 8 and 25
was measured (benchmarks/LOG.md). p is two-sided; p (Holm, k) is adjusted over k values:
by the primary measure over its own contrasts, by everything else over every other p in
this report. A12 (Vargha and Delaney) is the chance that a run of the first
configuration is better than one of the second, with Newcombe's fifth interval. *Best
validation* is the state of the lowest validation loss, *end of schedule* the last one:
where runs may stop early, the two answer different questions. A run that diverged
counts as worse than any other where it has no figure, and one that misses the target
takes infinitely long; none is left out."""


def write(runs: list[Record], out: Path, options: Options = DEFAULTS) -> list[Path]:
    """Writes the report in all its forms, with its pictures.

    Args:
      runs: All records; those of sweeps are reported apart.
      out: Where the files go.
      options: What was named beforehand.

    Returns:
      The files written.

    Raises:
      ConfigError: If the options do not fit each other or the records.
    """
    analysis = analyse(runs, options)
    pictures = _draw(analysis, out)
    text = markdown_of(analysis)
    written = [
        (out / REPORT, text),
        (out / "report.html", html.page(text, out)),
        *((out / name, content) for name, content in exports.texts(analysis).items()),
    ]
    for path, content in written:
        write_whole(path, content, shared=True)
    return [*(path for path, _ in written), *pictures]


def _draw(analysis: Analysis, out: Path) -> list[Path]:
    """Draws the pictures that the report shows, as PNG and SVG."""
    paths = []
    if analysis.groups:
        paths += pair_figures.draw(analysis, out / "runs")
        paths += figures.curves(analysis, out / "curves")
        paths += figures.time_against_accuracy(analysis, out / "time")
    if analysis.sweeps:
        paths += tuning_figures.draw(analysis.sweeps, out / "tuning")
    return paths


def markdown_of(analysis: Analysis) -> str:
    """Returns the whole report."""
    parts = ["# Comparison of runs", _head(analysis)]
    if analysis.groups:
        parts += _answer(analysis)
    if analysis.warnings:
        parts += ["## Warnings", items(analysis.warnings)]
    if analysis.groups:
        parts += _results(analysis)
        parts += _costs(analysis)
    if analysis.budgets:
        parts += trials_table.section(analysis.sweeps, analysis.budgets)
    if analysis.sweeps:
        parts.append("![Validation accuracy of every trial](tuning.svg)")
    parts += protocol.section(analysis.final or analysis.runs, analysis.shown)
    parts.append(METHODS)
    return literal("\n\n".join(parts)) + "\n"


def _head(analysis: Analysis) -> str:
    """Returns how many runs there are, on what data, of which commits."""
    there, asked = analysis.there, analysis.options.asked
    names = sorted({run.config["data"]["name"] for run in analysis.runs})
    data = ", ".join(map(markdown.escaped, names))
    made = [run.environment for run in analysis.runs]
    commits = {x["commit"] for x in made if x.get("commit")}  # an installation has none
    versions = {f"version {x['lion-jax']}" for x in made if x.get("lion-jax")}
    by = [f"commit {', '.join(sorted(commits))}"] if commits else sorted(versions)
    final = len(analysis.final)
    return (
        f"{counted(final, 'final run')} and"
        f" {counted(len(analysis.runs) - final, 'trial')} on {'; '.join([data, *by])}."
        + f" {len(there)} of {len(asked | there)} runs are there."
        * bool(asked)
    )


def _answer(analysis: Analysis) -> list[str]:
    """The primary measure: a sentence for each contrast, the table, the picture."""
    primary = analysis.options.primary
    title = {m.name: m.title for m in measures.test_measures()}.get(primary, primary)
    picture = "![Every run, lines between equal seeds; differences](runs.svg)"
    parts = [
        "## Results on the test set",
        f"Primary measure: {title.replace('_', ' ')} (`--primary={primary}`), to be"
        " named before the runs are made. Everything else below is exploratory.",
    ]
    if analysis.comparisons:
        parts.append(
            items(results.verdict(c, analysis.missing(c)) for c in analysis.primary)
        )
    else:
        parts.append("There are no two configurations to compare.")
    parts += results.tables(analysis, (primary,))
    return [*parts, *_errors(analysis), picture]


def _errors(analysis: Analysis) -> list[str]:
    """Sets the error over images beside the one over seeds."""
    images = protocol.images_of(analysis.final)
    accuracy = measures.test_measures()[0]
    runs = [runs for group in analysis.groups for runs in group.values()]
    summaries = [summarize(accuracy.of(same)) for same in runs]
    seeds = [s.sd / math.sqrt(s.n) for s in summaries if math.isfinite(s.sd)]
    if not images or not seeds:
        return []
    shares = [s.mean / 100 for s in summaries if math.isfinite(s.mean)]
    over = [100 * math.sqrt(p * (1 - p) / images[1]) for p in shares]
    return [
        "Two standard errors: of a mean over seeds, with these test images,"
        f" {_span(seeds)} points; of a single run's accuracy over other samples of"
        f" {images[1]:,} test images, {_span(over)} points. Intervals and p hold the"
        " former: they speak of other seeds on the same test set, and more seeds do not"
        " make the latter smaller."
    ]


def _span(values: list[float]) -> str:
    decimals = digits(values, 2)
    low, high = fixed(min(values), decimals), fixed(max(values), decimals)
    return low if low == high else f"{low} to {high}"


def _results(analysis: Analysis) -> list[str]:
    """Everything else on the test set, and the curves."""
    others = tuple(n for n in measures.TEST if n != analysis.options.primary)
    parts = ["## Exploratory results", *results.tables(analysis, others)]
    if analysis.comparisons:
        parts += [
            "Beside these tests, without pairs: whether a run of one configuration"
            " tends to be better than a run of the other.",
            results.by_ranks(analysis.comparisons),
        ]
    curves = (
        "![Validation accuracy and loss by epoch: median and quartiles of the runs"
        " that were still going on, diverged runs excluded; a thin line where they were"
        " fewer than half](curves.svg)"
    )
    return [*parts, curves]


def _costs(analysis: Analysis) -> list[str]:
    """Time and memory: to a target, of a step, of the whole run."""
    rows, shown_titles = [], analysis.shown
    for label, runs in pairs.by_label(analysis.final).items():
        speed = [run.result.images_per_second for run in runs]
        memory = runs[0].memory
        step = memory.get("step")
        rows.append(
            (
                shown_titles[label],
                _reached(analysis, runs),
                fixed(float(np.median(speed)), 0),
                fixed(memory["optimizer_state"] / memory["parameters"], 2),
                f"{step / 2**20:,.0f}" if step else "-",
            )
        )
    heads = ("configuration", "target reached", "images/s")
    heads += ("optimizer state / parameter bytes", "memory of a step, MiB")
    shown = tuple(n for n in measures.SPEED if n != analysis.options.primary)
    return [
        "## Time to target accuracy, and memory",
        items(_target(analysis, task) for task in analysis.targets),
        table(heads, rows),
        "Images/s is the median over seeds of training alone, on a machine that may"
        " have had other work; seconds are of training and validation. The memory of a"
        " step is the compiler's count.",
        *results.tables(analysis, shown),
        "![Validation accuracy by seconds of training: the same epochs](time.svg)",
    ]


def _reached(analysis: Analysis, runs: list[Record]) -> str:
    if math.isnan(analysis.targets[task_of(runs[0])]):
        return "-"
    epochs = measures.speeds(analysis.targets)[0].of(runs)
    return f"{np.isfinite(epochs).sum()} of {len(runs)}"


def _target(analysis: Analysis, task: Task) -> str:
    values = reached(analysis.groups)[task]
    title = markdown.escaped(analysis.title(task))
    value = analysis.targets[task]
    if math.isnan(value):
        return (
            f"{title}: no target, as half of the runs of each configuration reach less"
            " than 1 % on validation; name one beforehand with `--target`."
        )
    target = f"{title}: {fixed(100 * value, 2)} % on validation"
    if analysis.named(task):
        return f"{target}, named beforehand (`--target`)."
    none = [analysis.shown[label] for label, share in values.items() if share <= 0]
    without = f", without {' and '.join(none)}, of which half reach less than 1 %"
    return (
        f"{target}, **taken from these same runs** (what half of the runs of the worst"
        f" configuration reach{without * bool(none)}); name one beforehand with"
        " `--target`."
    )
