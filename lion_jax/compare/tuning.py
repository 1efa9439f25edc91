"""What sweeps say: trials ranked on the validation set alone."""

from typing import Any

import numpy as np

from lion_jax.compare import comparison
from lion_jax.compare.markdown import number, table
from lion_jax.compare.records import Record

RATE = "optimizer.learning_rate"


def ranking(swept: list[Record]) -> list[str]:
    """Returns Markdown parts: what each trial gave, the best of each first."""
    rows = []
    bases: dict[str, list[tuple[float, str, list[Record]]]] = {}
    for label, runs in comparison.by_label(swept).items():
        bases.setdefault(runs[0].config["name"], []).append(
            (_validation(runs), label, runs)
        )
    for base, points in bases.items():
        for place, (accuracy, _, runs) in enumerate(
            sorted(points, key=lambda point: point[:2], reverse=True)
        ):
            rows.append(
                (
                    base if place == 0 else "",
                    _values(runs[0].swept),
                    len(runs),
                    number(accuracy),
                    sum(run.diverged for run in runs),
                )
            )
    return [
        "## Tuning, on the validation set alone",
        "\n".join(_budgets(swept)),
        "Mean over seeds of the validation accuracy at the lowest validation loss; a"
        " run that diverged at once counts as 0.",
        table(("configuration", "values", "runs", "accuracy, %", "diverged"), rows),
    ]


def _budgets(swept: list[Record]) -> list[str]:
    """Says for each network how many trials each configuration had."""
    said = []
    for model in sorted({run.config["model"]["name"] for run in swept}):
        trials: dict[str, dict[str, list[int]]] = {}
        for run in swept:
            if run.config["model"]["name"] == model:
                of_base = trials.setdefault(run.config["name"], {})
                of_base.setdefault(run.label, []).append(run.seed)
        counts = ", ".join(f"{base}: {len(of)} trials" for base, of in trials.items())
        runs = {sum(map(len, of.values())) for of in trials.values()}
        seeds = {tuple(seeds) for of in trials.values() for seeds in of.values()}
        equal = "equal" if len(runs) == len(seeds) == 1 else "**not equal**"
        said.append(f"- {model}: {counts} ({equal} budgets, in runs and seeds).")
    return said


def _validation(runs: list[Record]) -> float:
    return float(np.mean([100 * (run.result["val_accuracy"] or 0) for run in runs]))


def by_rate(swept: list[Record]) -> dict[str, list[tuple[float, float]]]:
    """Returns rates with accuracies, for each configuration and rest of the sweep."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for runs in comparison.by_label(swept).values():
        rest = dict(runs[0].swept)
        if rate := rest.pop(RATE, None):
            short = {field.rpartition(".")[2]: value for field, value in rest.items()}
            name = ", ".join(filter(None, [runs[0].config["name"], _values(short)]))
            lines.setdefault(name, []).append((rate, _validation(runs)))
    return lines


def _values(swept: dict[str, Any]) -> str:
    return ", ".join(
        f"{field}={value:g}" if isinstance(value, float) else f"{field}={value}"
        for field, value in swept.items()
    )
