"""What follows from a run's record of epochs: when it ends, why, what was best.

A record is what an epoch's line in metrics.jsonl says; None stands for a number that
was not finite. Everything here is a function of the records, so a resumed run needs
to remember nothing else.
"""

import math
import statistics
from typing import Any

import jax

from lion_jax.training import early_stopping

History = list[dict[str, Any]]

_update = jax.jit(early_stopping.update)


def is_finite(record: dict[str, Any]) -> bool:
    """Tells whether an epoch's losses, and the parameters after it, are finite."""
    losses = record["train_loss"], record["val_loss"]
    # Runs begun before parameters were looked at say nothing of them.
    return None not in losses and record.get("parameters_finite", True)


def diverged(history: History) -> bool:
    """Tells whether the last epoch left a loss or a parameter that is not finite."""
    return bool(history) and not is_finite(history[-1])


def fold(history: History, **rules: Any) -> early_stopping.EarlyStoppingState:
    """Folds early stopping over the epochs; `rules` are those of its `update`."""
    state = early_stopping.init()
    for record in history:
        loss = record["val_loss"] if is_finite(record) else math.inf
        state = _update(state, loss, record["epoch"], **rules)
    return state


def best(history: History) -> dict[str, Any] | None:
    """Returns the record of the lowest validation loss, or None before a finite one."""
    epoch = int(fold(history, patience=0).best_epoch)
    return history[epoch - 1] if epoch else None


def stop_reason(history: History, epochs: int, **rules: Any) -> str:
    """Says why training is over: diverged, early_stopping or epochs; else empty."""
    if diverged(history):
        return "diverged"
    if fold(history, **rules).stop:
        return "early_stopping"
    return "epochs" if len(history) >= epochs else ""


def summarize(history: History, epochs: int, **rules: Any) -> dict[str, Any]:
    """Returns the figures of the whole run that the records give."""
    found = best(history) or {}
    rates = [record["images_per_second"] for record in history]
    return {
        "best_epoch": found.get("epoch", 0),
        "stopped_epoch": len(history),
        "stop_reason": stop_reason(history, epochs, **rules),
        "val_loss": found.get("val_loss"),
        "val_accuracy": found.get("val_accuracy"),
        "seconds_train": sum(record["seconds"] for record in history),
        "images_per_second": statistics.median(rates),
    }
