"""The trials of sweeps as a table, the best of each configuration first."""

from lion_jax.compare import titles
from lion_jax.compare.budgets import Budget
from lion_jax.compare.markdown import escaped, fixed, items, table
from lion_jax.compare.tuning import Sweep


def section(sweeps: list[Sweep], budgets: list[Budget]) -> list[str]:
    """Returns Markdown parts: what each trial gave, the best of each first."""
    if not sweeps:
        return ["## Tuning", items(budget.text for budget in budgets)]
    rows = []
    for sweep in sweeps:
        for trial in sweep.trials:
            error = f" ± {trial.error:.2f}" if len(trial.seeds) > 1 else ""
            edges = [f"{side} {titles.of_field(f)}" for f, side in sweep.edges(trial)]
            rows.append(
                (
                    sweep.shown,
                    escaped(titles.of_values(trial.values)),
                    len(trial.seeds),
                    f"{trial.accuracy:.2f}{error}",
                    fixed(trial.loss, 4),
                    trial.diverged,
                    "**used**" if trial is sweep.used else "",
                    ", ".join(edges),
                )
            )
    heads = ("configuration", "values", "seeds", "accuracy, %", "loss", "diverged")
    return [
        "## Tuning, on the validation set alone",
        items(budget.text for budget in budgets),
        "A row per trial, the best of each configuration first: validation accuracy at"
        " the lowest validation loss and that loss, means over seeds (± the standard"
        " error over seeds, where there are several). A run that diverged at once"
        " counts as 0. *Used* is the trial whose values the final runs have.",
        table((*heads, "final runs", "edge of the grid"), rows),
    ]
