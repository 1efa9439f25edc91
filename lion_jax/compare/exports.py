"""The numbers of a report for other programs: JSON, CSV and LaTeX, with stable keys."""

import csv
import dataclasses
import io
import json
import math
from typing import Any

from lion_jax.compare import pairs, stats, targets
from lion_jax.compare.analysis import Analysis
from lion_jax.compare.markdown import bracket, digits, fixed, p_value
from lion_jax.compare.measures import Measure, speeds, test_measures
from lion_jax.compare.pairs import Comparison
from lion_jax.compare.records import Record
from lion_jax.compare.titles import Title

FORMAT = 1
COLUMNS = (
    *("model", "measure", "primary", "first", "second", "n_first", "n_second"),
    *("n_pairs", "mean_first", "sd_first", "mean_second", "sd_second"),
    *("difference", "difference_low", "difference_high", "test", "p", "p_holm"),
    *("family", "u", "p_mann_whitney", "p_mann_whitney_holm"),
    *("a12", "a12_low", "a12_high"),
)
SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": "$<$",
    ">": "$>$",
}


def texts(analysis: Analysis) -> dict[str, str]:
    """Returns the files' contents by name."""
    content = json.dumps(report(analysis), indent=1, allow_nan=False) + "\n"
    return {
        "report.json": content,
        "comparisons.csv": _csv(analysis),
        "comparisons.tex": _latex(analysis),
    }


def report(analysis: Analysis) -> dict[str, Any]:
    """Returns all numbers as JSON's types; None for what is not finite."""
    return {
        "format": FORMAT,
        "options": {
            "primary": analysis.options.primary,
            "targets": analysis.options.targets,
        },
        "targets": {
            name: _finite(
                {
                    "validation_accuracy": analysis.targets[task],
                    "named": analysis.named(task),
                }
            )
            for task, name in targets.short_names(analysis.targets).items()
        },
        "configurations": [
            _configuration(analysis, label, runs)
            for label, runs in pairs.by_label(analysis.final).items()
        ],
        "comparisons": [_comparison(comparison) for comparison in analysis.comparisons],
        "sweeps": [
            {
                "configuration": sweep.name,
                "used": sweep.used and sweep.used.label,
                "trials": [
                    _finite(dataclasses.asdict(trial)) for trial in sweep.trials
                ],
            }
            for sweep in analysis.sweeps
        ],
        "warnings": [text.strip("*") for text in analysis.warnings],
    }


def _configuration(
    analysis: Analysis, label: str, runs: list[Record]
) -> dict[str, Any]:
    config = {k: v for k, v in runs[0].config.items() if k != "seed"}
    every = [*test_measures(), *speeds(analysis.targets)]
    return {
        "label": label,
        "title": analysis.titles[label],
        "seeds": [run.seed for run in runs],
        "diverged": sum(run.diverged for run in runs),
        "commits": sorted({str(run.environment.get("commit")) for run in runs}),
        "memory": runs[0].memory,
        "images_per_second": [run.result.images_per_second for run in runs],
        "measures": {measure.name: _measure(measure, runs) for measure in every},
        "config": _finite(config),
    }


def _measure(measure: Measure, runs: list[Record]) -> dict[str, Any]:
    values = measure.of(runs)
    return _finite(
        {
            "unit": measure.unit,
            **stats.summarize(values)._asdict(),
            "failed": int(sum(map(math.isinf, values))),
            "values": values.tolist(),
        }
    )


def _comparison(comparison: Comparison) -> dict[str, Any]:
    c = comparison.contrast
    values = {
        "model": c.model,
        "measure": c.measure.name,
        "primary": comparison.primary,
        "first": c.labels[0],
        "second": c.labels[1],
        "n_pairs": len(c.seeds),
        **{f"difference{end}": x for end, x in _ends(c.difference)},
        "test": c.test.method if c.is_paired else f"Mann-Whitney U, {c.test.method}",
        "p": c.test.p,
        "p_holm": comparison.p_holm,
        "family": comparison.family,
        "u": c.unpaired.statistic,
        "p_mann_whitney": c.unpaired.p,
        "p_mann_whitney_holm": comparison.unpaired_p_holm,
        **{f"a12{end}": x for end, x in _ends(c.a12)},
    }
    for side, summary in zip(("first", "second"), c.summaries, strict=True):
        values |= {f"n_{side}": summary.n}
        values |= {f"mean_{side}": summary.mean, f"sd_{side}": summary.sd}
    ordered = {name: values[name] for name in COLUMNS}
    return _finite(
        ordered
        | {"also": list(c.measure.also), "seeds": list(c.seeds)}
        | {"differences": c.pairs.tolist()}
    )


def _ends(interval: stats.Interval) -> list[tuple[str, float]]:
    return [*zip(("", "_low", "_high"), interval, strict=True)]


def _finite(value: Any) -> Any:
    """Replaces what JSON has no number for by None."""
    if isinstance(value, dict):
        return {name: _finite(x) for name, x in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _csv(analysis: Analysis) -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(_comparison(comparison) for comparison in analysis.comparisons)
    return file.getvalue()


def _latex(analysis: Analysis) -> str:
    """Returns a table (booktabs) of the primary measure, then of the others."""
    lines = [
        r"% \usepackage{booktabs}",
        r"\begin{tabular}{lllrrrlrr}",
        r"\toprule",
        "Model & Contrast & Measure & $n$ & First & Second & Difference [95\\,\\%]"
        r" & $p$ & $p$ (Holm) \\",
    ]
    ordered = sorted(
        analysis.comparisons, key=lambda comparison: not comparison.primary
    )
    for place, comparison in enumerate(ordered):
        if place == 0 or ordered[place - 1].primary != comparison.primary:
            lines.append(r"\midrule")
        cells = _cells(comparison, analysis.titles)
        lines.append(" & ".join(map(escape, cells)) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _cells(comparison: Comparison, named: dict[str, Title]) -> list[str]:
    c = comparison.contrast
    both = [named[label] for label in c.labels]
    n = " + ".join(str(summary.n) for summary in c.summaries)
    if c.seeds:  # the means are of all runs
        every = all(summary.n == len(c.seeds) for summary in c.summaries)
        n = f"{len(c.seeds)}" if every else f"{len(c.seeds)} of {n}"
    decimals = digits(c.difference, c.measure.decimals)
    sides = [
        f"{fixed(s.mean, decimals, c.measure.failure)} ({fixed(s.sd, decimals)})"
        for s in c.summaries
    ]
    gap = fixed(c.difference.estimate, decimals)
    if math.isfinite(c.difference.low):
        gap += f" {bracket(c.difference.low, c.difference.high, decimals)}"
    return [
        both[0].heading,
        " / ".join(title.short for title in both),
        c.measure.heading,
        n,
        *sides,
        gap,
        p_value(c.test.p),
        p_value(comparison.p_holm),
    ]


def escape(text: str) -> str:
    """Returns text with LaTeX's special characters escaped."""
    return "".join(SPECIAL.get(character, character) for character in text)
