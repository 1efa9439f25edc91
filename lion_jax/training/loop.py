"""One run of compiled programs: from its last saved state to the end, and its test."""

import dataclasses
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import jax
import jax.numpy as jnp

from lion_jax import environment
from lion_jax.config import Config
from lion_jax.training import checkpoint, history, logs
from lion_jax.training.program import Program
from lion_jax.training.step import NEVER, TrainState

AHEAD = 2  # calls that may wait in the queue, so that an interruption is soon seen


@dataclasses.dataclass(frozen=True)
class Trial:
    """A run: what to do, where, and whom to tell."""

    config: Config
    program: Program
    folder: Path
    interrupted: Callable[[], int]  # number of the signal received, or 0
    say: Callable[[str], None]
    show: logs.Show
    tested: bool = True  # whether the test set is looked at in the end

    @property
    def rules(self) -> dict[str, Any]:
        """When the run ends."""
        stopping = dataclasses.asdict(self.config.early_stopping)
        return {"epochs": self.config.epochs, **stopping}


def run(trial: Trial, seconds_compile: float) -> dict[str, Any] | None:
    """Trains from the last saved state to the end, tests, and writes the result.

    Args:
      trial: Its folder is the run's and held by this process.
      seconds_compile: How long the programs took to compile, for the result.

    Returns:
      What result.json holds; None if it was interrupted.

    Raises:
      CheckpointError: If the latest state cannot be restored, or saved.
    """
    with checkpoint.open_folder(trial.folder / logs.CHECKPOINTS) as checkpointer:
        latest = checkpoint.find(checkpointer, "latest")
        if latest is None:
            state, records, spent = trial.program.init(), [], 0.0
        else:
            state, records, spent = checkpoint.restore(
                checkpointer, latest, trial.program.abstract
            )
            trial.say(f"resumed at step {latest}, with {len(records)} epochs done")
        state = _run_epochs(trial, checkpointer, state, records, spent)
        if trial.interrupted():
            saved = checkpoint.find(checkpointer, "latest") or 0
            trial.say(f"interrupted after step {saved}, saved in {trial.folder};")
            return None
        tested = _test(trial, checkpointer, state, records)
        if trial.interrupted():
            trial.say(f"interrupted while testing; all steps are in {trial.folder};")
            return None
    config, diverged = trial.config, history.diverged(records)
    result = {
        "seed": config.seed,
        **history.summarize(records, **trial.rules),
        **tested,
        "diverged": _what_diverged(state, records) if diverged else None,
        "seconds_compile": seconds_compile,
        **environment.peak_memory(),
    }
    logs.plot_curves(trial.folder, records, f"{config.name}, seed {config.seed}")
    logs.write_json(trial.folder / logs.RESULT, result)
    return result


def _run_epochs(
    trial: Trial,
    checkpointer: checkpoint.Checkpointer,
    state: TrainState,
    records: history.History,
    spent: float,
) -> TrainState:
    """Trains until the end or an interruption; adds each epoch to records and logs.

    `spent` is the time that went into the epoch before the run was interrupted.
    """
    program, epochs = trial.program, trial.config.epochs
    logs.rewrite_metrics(trial.folder, records)
    tensorboard = logs.open_tensorboard(trial.folder, resume_at=int(state.step) + 1)
    images = program.steps_per_epoch * program.batch_size
    while not trial.interrupted() and not history.stop_reason(records, **trial.rules):
        epoch = len(records) + 1
        started = perf_counter() - spent
        before = int(state.step)
        state = _train_epoch(trial, state, epoch)
        trained = perf_counter() - started
        record = _end_epoch(trial, state, epoch)
        spent = perf_counter() - started
        if record is None:
            if int(state.step) > before:
                checkpoint.save(checkpointer, state, records, spent)
            break
        record |= {"images_per_second": images / trained, "seconds": spent}
        spent = 0.0
        records.append(record)
        logs.append_metrics(trial.folder, record)
        logs.add_to_tensorboard(tensorboard, record)
        trial.say(logs.epoch_line(record, epochs))
        if history.diverged(records):
            trial.say(f"diverged: {_what_diverged(state, records)}")
        else:
            checkpoint.save(checkpointer, state, records)
    tensorboard.close()
    return state


def _train_epoch(trial: Trial, state: TrainState, epoch: int) -> TrainState:
    """Takes the steps that are left of an epoch; the host only dispatches them."""
    program = trial.program
    order, zeros = program.start_epoch(jnp.int32(epoch - 1))
    step, end = int(state.step), epoch * program.steps_per_epoch
    if end - step == program.steps_per_epoch:
        state = state._replace(metrics=zeros)
    text = f"epoch {epoch}/{trial.config.epochs}"
    running: deque[tuple[jax.Array, int]] = deque()
    with jax.transfer_guard("disallow"):
        while step < end and not trial.interrupted():
            steps = min(end - step, program.scan_steps)
            state, loss = program.train_step(state, order, steps)
            step += steps
            running.append((loss, step))
            if len(running) > AHEAD:
                loss, done = running.popleft()
                loss.block_until_ready()
                trial.show(text, done * program.batch_size)
    jax.block_until_ready(state)
    trial.show(text, step * program.batch_size)
    return state


def _end_epoch(trial: Trial, state: TrainState, epoch: int) -> dict[str, Any] | None:
    """Evaluates on the validation split; returns the epoch's record.

    None if the epoch is not over, or its evaluation was interrupted.
    """
    program = trial.program
    if int(state.step) < epoch * program.steps_per_epoch:
        return None
    validation = program.evaluate(
        state.params, state.batch_stats, "validation", trial.interrupted
    )
    if trial.interrupted():
        return None
    train_loss, train_accuracy = state.metrics.means()
    val_loss, val_accuracy = validation.means()
    return {
        "epoch": epoch,
        "step": int(state.step),
        "train_loss": logs.finite(train_loss),
        "train_accuracy": train_accuracy,
        "val_loss": logs.finite(val_loss),
        "val_accuracy": val_accuracy,
        "parameters_finite": program.all_finite(state),
        "learning_rate": program.learning_rate(int(state.step) - 1),
    }


def _what_diverged(state: TrainState, records: history.History) -> str:
    record = records[-1]
    if (bad := int(state.metrics.first_bad_step)) != NEVER:
        return f"train_loss is not finite at step {bad}"
    if record["val_loss"] is None:
        return f"val_loss is not finite at step {record['step']}"
    return f"a parameter or norm statistic is not finite at step {record['step']}"


def _test(
    trial: Trial,
    checkpointer: checkpoint.Checkpointer,
    state: TrainState,
    records: history.History,
) -> dict[str, Any]:
    """Evaluates the best and the last state on the test split: its only use."""
    names = ("test_loss", "test_accuracy")
    figures: dict[str, Any] = dict.fromkeys((*names, *(f"last_{x}" for x in names)))
    if not trial.tested:
        return figures
    trial.say("testing ...")

    def test(*model: Any) -> dict[str, float]:
        metrics = trial.program.evaluate(*model, "test", trial.interrupted)
        if trial.interrupted():
            return {}
        return dict(zip(names, metrics.means(), strict=True))

    step = checkpoint.find(checkpointer, "best")
    best = history.best(records)
    if step != (wanted := best and best["step"]):
        raise checkpoint.CheckpointError(
            f"{checkpointer.directory}: the best state, of step {wanted}, is lost (its"
            " checkpoint was damaged or removed); restore it from a copy, or"
            " begin anew in another folder."
        )
    if step is not None:
        figures |= test(
            *checkpoint.restore_model(checkpointer, step, trial.program.abstract)
        )
    if step == int(state.step):
        figures |= {f"last_{name}": figures[name] for name in names}
    elif not history.diverged(records):
        last = test(state.params, state.batch_stats)
        figures |= {f"last_{name}": value for name, value in last.items()}
    return logs.finite(figures)
