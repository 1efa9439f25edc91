"""A run's record of epochs, and what follows from it: when it ends, why, what is best.

Everything here is a function of the epochs' records, so a resumed run needs to remember
nothing else.
"""

import dataclasses
import math
import statistics
from collections.abc import Mapping
from typing import Any

import jax

from lion_jax.config import Config
from lion_jax.training import early_stopping
from lion_jax.training.state import NEVER

_update = jax.jit(early_stopping.update)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Epoch:
    """One epoch's record, a line of metrics.jsonl; None for a non-finite number."""

    epoch: int  # from 1
    step: int  # optimizer steps so far
    train_loss: float | None
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float
    # After the epoch; runs of versions before it was checked have no such field.
    parameters_finite: bool = True
    learning_rate: float | None = None  # of the epoch's last step
    images_per_second: float
    seconds: float  # with evaluation, over all starts

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Epoch":
        """Reads a line of metrics.jsonl; absent fields have their defaults."""
        return Epoch(**_known(Epoch, values))

    def to_dict(self) -> dict[str, Any]:
        """Returns the record for JSON."""
        return dataclasses.asdict(self)

    @property
    def is_finite(self) -> bool:
        """Whether the losses, and the parameters after the epoch, are finite."""
        losses = self.train_loss, self.val_loss
        return None not in losses and self.parameters_finite


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """A finished run's record, result.json; None where there is nothing to report."""

    seed: int
    best_epoch: int  # of the lowest validation loss; 0 for none
    stopped_epoch: int
    stop_reason: str  # epochs, early_stopping or diverged
    val_loss: float | None  # of the best epoch
    val_accuracy: float | None
    seconds_train: float
    images_per_second: float  # median over epochs
    test_loss: float | None = None  # of the best state
    test_accuracy: float | None = None
    test_top5_accuracy: float | None = None  # of more than five classes
    test_class_accuracy: dict[str, float | None] | None = None  # by class name
    # Examples by true class (rows) and predicted class (columns), of few classes.
    test_confusion: list[list[int]] | None = None
    last_test_loss: float | None = None  # of the last state
    last_test_accuracy: float | None = None
    diverged: str | None = None  # what is not finite, and since which step
    seconds_compile: float = 0.0
    peak_host_bytes: int | None = None
    peak_device_bytes: int | None = None

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> "Result":
        """Reads result.json; absent fields have their defaults."""
        return Result(**_known(Result, values))

    def to_dict(self) -> dict[str, Any]:
        """Returns the record for JSON."""
        return dataclasses.asdict(self)


def _known(cls: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(cls)}
    return {name: value for name, value in values.items() if name in names}


History = list[Epoch]


def diverged(history: History) -> bool:
    """Returns whether the last epoch left a loss or a parameter that is not finite."""
    return bool(history) and not history[-1].is_finite


def what_diverged(history: History, first_bad_step: int) -> str | None:
    """Returns what is not finite, and since which step; None if all is.

    Args:
      history: The epochs' records.
      first_bad_step: Of the last epoch's metrics, the first step whose loss is not
        finite; NEVER for none.
    """
    if not diverged(history):
        return None
    record = history[-1]
    if first_bad_step != NEVER:
        return f"train_loss is not finite at step {first_bad_step}"
    if record.val_loss is None:
        return f"val_loss is not finite at step {record.step}"
    return f"a parameter or norm statistic is not finite at step {record.step}"


def fold(history: History, **rules: Any) -> early_stopping.EarlyStoppingState:
    """Folds early stopping over the epochs; `rules` are those of its `update`."""
    state = early_stopping.init()
    for record in history:
        loss = record.val_loss if record.is_finite else math.inf
        state = _update(state, loss, record.epoch, **rules)
    return state


def best(history: History) -> Epoch | None:
    """Returns the record of the lowest validation loss, or None before a finite one."""
    epoch = int(fold(history, patience=0).best_epoch)
    return history[epoch - 1] if epoch else None


def rules(config: Config) -> dict[str, Any]:
    """Returns when a run ends, as `stop_reason` takes it."""
    return {"epochs": config.epochs, **dataclasses.asdict(config.early_stopping)}


def stop_reason(history: History, epochs: int, **rules: Any) -> str:
    """Returns why training is over: diverged, early_stopping or epochs; else empty."""
    if diverged(history):
        return "diverged"
    if fold(history, **rules).stop:
        return "early_stopping"
    return "epochs" if len(history) >= epochs else ""


def summarize(history: History, epochs: int, **rules: Any) -> dict[str, Any]:
    """Returns those fields of a `Result` that follow from the epochs."""
    best_epoch = best(history)
    return {
        "best_epoch": best_epoch.epoch if best_epoch else 0,
        "stopped_epoch": len(history),
        "stop_reason": stop_reason(history, epochs, **rules),
        "val_loss": best_epoch.val_loss if best_epoch else None,
        "val_accuracy": best_epoch.val_accuracy if best_epoch else None,
        "seconds_train": sum(record.seconds for record in history),
        "images_per_second": statistics.median(x.images_per_second for x in history),
    }
