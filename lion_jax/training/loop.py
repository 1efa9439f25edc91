"""One run of compiled programs: from its last saved state to the end, and its test."""

import contextlib
import dataclasses
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import jax

from lion_jax import cluster, environment
from lion_jax.config import Config
from lion_jax.files import finite
from lion_jax.interruption import Interrupted
from lion_jax.training import checkpoint, curves, history, metrics, run_folder, testing
from lion_jax.training.averaging import evaluated
from lion_jax.training.beginning import Weights, first_state
from lion_jax.training.checkpoint import Checkpoints
from lion_jax.training.console import Print, Show, epoch_line
from lion_jax.training.history import Epoch, History, Result
from lion_jax.training.interval import Interval
from lion_jax.training.program import Program
from lion_jax.training.state import TrainState

AHEAD = 2  # calls that may wait in the queue, so that an interruption is soon noticed


@dataclasses.dataclass(frozen=True)
class Run:
    """One seed of one configuration: what to do, where, and where to report it."""

    config: Config
    program: Program
    folder: Path
    interrupted: Interrupted
    print: Print  # what becomes of it
    note: Print  # what it begins with, and what is unusual in that
    show: Show
    tested: bool = True  # whether the test set is used in the end
    weights: Weights | None = None  # of init_from, if they were read before
    on_epoch: Callable[[Epoch], None] = lambda _: None  # once its state is saved
    draw: Callable[[History, Result], None] = lambda *_: None  # before it is written
    lengthen: Callable[[], None] = lambda: None  # before the end of an epoch is saved


def execute(run: Run, seconds_compile: float) -> Result | None:
    """Trains from the last saved state to the end, tests, and writes the result.

    Args:
      run: Its folder is the run's and held by this process.
      seconds_compile: How long the programs took to compile, for the result.

    Returns:
      What result.json holds; None if it was interrupted.

    Raises:
      CheckpointError: If the latest state, or the first, cannot be restored, or saved.
      RunFolderError: If it is finished, is to be longer, and has no state left.
      DataError: If the latest state was trained on other data.
    """
    config = run.config
    saves, signature = run.folder / run_folder.CHECKPOINTS, run.program.signature
    with checkpoint.open_folder(saves, signature=signature) as checkpoints:
        latest = checkpoint.find(checkpoints, "latest")
        records, elapsed = [], 0.0
        if latest is None:
            run_folder.require_states(run.folder)
            state = first_state(config, run.program, run.note, run.weights)
        else:
            signature.require_data_of(checkpoint.signature_of(checkpoints, latest))
            program = run.program
            state, records, elapsed = checkpoint.restore(
                checkpoints, latest, program.abstract, program.voters, run.note
            )
            run.note(f"resumed at step {latest}, with {len(records)} epochs done")
        if not (run.folder / run_folder.RESULT).exists():  # else `_lengthen` does
            metrics.rewrite(run.folder, records)
        events = curves.Events(run.folder, resume_at=int(state.step) + 1)
        with contextlib.closing(events):
            state = _run_epochs(run, checkpoints, state, records, elapsed, events)
        if run.interrupted():
            saved = checkpoint.find(checkpoints, "latest")
            place = f"after step {saved}, saved in {run.folder}"
            run.print(f"interrupted {place if saved else 'before the first save'};")
            return None
        tested = _test(run, checkpoints, state, records) if run.tested else {}
        if run.interrupted():
            run.print(f"interrupted while testing; all steps are in {run.folder};")
            return None
    memory: dict[str, Any] = environment.peak_memory()
    result = Result(
        seed=config.seed,
        **history.summarize(records, **history.rules(config)),
        **tested,
        diverged=history.what_diverged(records, int(state.metrics.first_bad_step)),
        seconds_compile=seconds_compile,
        **memory,
    )
    metrics.rewrite(run.folder, records)
    run.draw(records, result)
    run_folder.write_json(run.folder / run_folder.RESULT, result.to_dict())
    return result


def _run_epochs(
    run: Run,
    checkpoints: Checkpoints,
    state: TrainState,
    records: History,
    elapsed: float,
    events: curves.Events,
) -> TrainState:
    """Trains until the end or an interruption; adds each epoch to records and logs.

    `elapsed` is the time that went into the epoch before the run was interrupted.
    """
    interval = Interval(run.config.save_every_minutes)
    while not run.interrupted() and not history.stop_reason(
        records, **history.rules(run.config)
    ):
        epoch = len(records) + 1
        started = perf_counter() - elapsed
        before = int(state.step)

        def save(state: TrainState, started=started) -> None:
            if interval.is_over():
                if run.program.is_finite(state):
                    elapsed = perf_counter() - started
                    checkpoint.save(checkpoints, state, records, elapsed)
                interval.restart()

        state = _train_epoch(run, state, epoch, save)
        trained = perf_counter() - started
        record = _end_epoch(run, state, epoch)
        elapsed = perf_counter() - started
        if record is None:
            if int(state.step) > before and run.program.is_finite(state):
                checkpoint.save(checkpoints, state, records, elapsed)
            break
        images = run.program.steps_per_epoch * run.program.batch_size
        record = dataclasses.replace(
            record, images_per_second=images / trained, seconds=elapsed
        )
        elapsed = 0.0
        cluster.by_primary(partial(_lengthen, run, records))
        records.append(record)
        if record.is_finite:  # first: nothing that is reported can be lost then
            checkpoint.save(checkpoints, state, records)
            interval.restart()
        _report(run, events, state, records)
    return state


def _lengthen(run: Run, records: History) -> None:
    """Makes a finished run one that goes on after some of its epochs, or all."""
    if (run.folder / run_folder.RESULT).exists():
        run.lengthen()
        metrics.rewrite(run.folder, records)


def _report(
    run: Run, events: curves.Events, state: TrainState, records: History
) -> None:
    """Adds the last epoch to the logs; what cannot be written there is no failure."""
    with curves.optional(run_folder.METRICS):
        metrics.append(run.folder, records[-1])
    events.add(records[-1])
    run.print(epoch_line(records[-1], run.config.epochs))
    if what := history.what_diverged(records, int(state.metrics.first_bad_step)):
        run.print(f"diverged: {what}")
    if cluster.is_primary():
        run.on_epoch(records[-1])


def _train_epoch(
    run: Run, state: TrainState, epoch: int, save: Callable[[TrainState], None]
) -> TrainState:
    """Takes the steps that are left of an epoch; the host only dispatches them.

    `save` is called with every state that it may save.
    """
    program = run.program
    step, end = int(state.step), epoch * program.steps_per_epoch
    done = step - (end - program.steps_per_epoch)
    inputs = program.start_epoch(run.config.seed, epoch - 1, done)
    if not done:
        state = state._replace(metrics=inputs.zeros)
    text = f"epoch {epoch}/{run.config.epochs}"
    running: deque[tuple[jax.Array, int]] = deque()
    with jax.transfer_guard("disallow"):
        while step < end and not run.interrupted():
            steps = min(end - step, program.scan_steps)
            state, loss = program.train_step(state, inputs, steps)
            step += steps
            running.append((loss, step))
            if len(running) > AHEAD:
                loss, done = running.popleft()
                shown = f"{text}, loss {float(jax.device_get(loss)):.4f}"
                run.show(shown, done * program.batch_size)
                cluster.progress()
            if step < end:
                with jax.transfer_guard("allow"):
                    save(state)
    jax.block_until_ready(state)
    run.show(f"{text}, validation", step * program.batch_size)
    return state


def _end_epoch(run: Run, state: TrainState, epoch: int) -> Epoch | None:
    """Evaluates on the validation split; returns the epoch's record, not yet timed.

    None if the epoch is not over, or its evaluation was interrupted.
    """
    program = run.program
    if int(state.step) < epoch * program.steps_per_epoch:
        return None
    model = evaluated(state)
    validation = program.evaluate(*model, "validation", run.interrupted)
    if run.interrupted():
        return None
    train_loss, train_accuracy = state.metrics.means()
    val_loss, val_accuracy = validation.means()
    return Epoch(
        epoch=epoch,
        step=int(state.step),
        train_loss=finite(train_loss),
        train_accuracy=train_accuracy,
        val_loss=finite(val_loss),
        val_accuracy=val_accuracy,
        parameters_finite=program.all_finite(state),
        learning_rate=program.learning_rate(int(state.step) - 1),
        images_per_second=0.0,
        seconds=0.0,
    )


def _test(
    run: Run, checkpoints: Checkpoints, state: TrainState, records: History
) -> dict[str, Any]:
    run.print("testing ...")
    run.show("testing", int(state.step) * run.program.batch_size)
    return testing.best_and_last(
        run.program, checkpoints, state, records, run.interrupted
    )
