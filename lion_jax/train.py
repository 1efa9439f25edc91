"""Trains one network once: `python -m lion_jax.train --config configs/quickstart.py`.

Read from top to bottom, `train` is the experiment: data, task, folder, state,
compilation, epochs, test.
"""

import dataclasses
import functools
import math
import signal
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from orbax.checkpoint import v1 as ocp
from rich.console import Console

from lion_jax import checkpoint, cli, data, environment, logs, sharding
from lion_jax import program as programs
from lion_jax.config import Config, check_devices
from lion_jax.history import History, diverged, stop_reason, summarize
from lion_jax.program import Program
from lion_jax.step import NEVER, TrainState

USAGE = """\
Trains a network as a configuration file says, and tests it once at the end.

  python -m lion_jax.train --config FILE [--workdir=DIR] [--config.<field>=<value> ...]

The same command again goes on where the run stopped. Ctrl-C or SIGTERM saves first.

  --config FILE                                  Python file with get_config()"""
AHEAD = 2  # steps that may wait in the queue, so that an interruption is soon seen


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    parsed = cli.parse_config(
        argv, USAGE, workdir="the run's folder; default runs/<config name>/seed_<seed>"
    )
    if parsed is None:
        return 0
    config, flags = parsed
    default = Path("runs") / config.name / f"seed_{config.seed}"
    return train(config, Path(flags["workdir"] or default).expanduser(), Console())


def train(config: Config, folder: Path, console: Console) -> int:
    """Trains, or goes on training, a configuration in its folder.

    Args:
      config: A checked configuration.
      folder: The run's folder; made if absent.
      console: Where progress goes.

    Returns:
      The exit status: 0, 1 if the run diverged, 128 + n after signal n.

    Raises:
      ConfigError: If the data or the devices do not fit the configuration.
      DataError: If the data cannot be had.
      RunFolderError: If the folder holds something else.
    """
    say = functools.partial(console.print, highlight=False, soft_wrap=True)
    rules = {"epochs": config.epochs, **dataclasses.asdict(config.early_stopping)}

    # ----------------------------------------------------------------- devices, data
    devices = check_devices(config, jax.device_count())
    mesh = sharding.make_mesh(devices)
    dataset = data.load(config.data.name, config.data.data_dir, config.data.cache_dir)
    splits = programs.split(config, dataset)
    sizes = [len(part.labels) for part in splits]
    say(f"data: {dataset.name} {dataset.version}, from {dataset.source};")
    say("      {} training, {} validation, {} test images".format(*sizes))

    # ------------------------------------------------------------------------ folder
    logs.claim(folder, cli.as_dict(config))
    if result := logs.read_json(folder / logs.RESULT):
        say(f"This run is finished: {folder / logs.RESULT}")
        _say_result(say, result)
        return 0
    logs.write_json(folder / logs.ENVIRONMENT, environment.describe())

    with checkpoint.open_folder(folder / logs.CHECKPOINTS) as checkpointer:
        # ------------------------------------------------------- compilation, state
        say(f"compiling {config.model.name} ...")
        started = time.perf_counter()
        task = programs.make_task(config, dataset, splits, mesh)
        program = programs.build(config, task, splits, mesh)
        history: History = []
        if (latest := checkpoint.find(checkpointer, "latest")) is None:
            state = jax.block_until_ready(program.init())
        else:
            state, history = checkpoint.restore(checkpointer, latest, program.abstract)
        seconds_compile = time.perf_counter() - started
        parameters = sum(x.size for x in jax.tree.leaves(state.params))
        say(
            f"ready after {seconds_compile:.1f} s: {parameters:,} parameters on"
            f" {devices} x {jax.devices()[0].device_kind}, {config.optimizer.name}"
        )
        if latest is not None:
            say(f"resumed at step {latest}, with {len(history)} epochs done")

        # ------------------------------------------------------------------- epochs
        interrupted = _catch_signals()
        state = _run_epochs(
            program, state, history, rules, checkpointer, folder, interrupted, console
        )
        if interrupted():
            say(f"interrupted and saved at step {int(state.step)} in {folder};")
            say("the same command goes on from there.")
            return 128 + interrupted()

        # --------------------------------------------------------------------- test
        say("testing ...")
        tested = _test(program, state, history, checkpointer)

    result = {"seed": config.seed, **summarize(history, **rules), **tested}
    result |= {"seconds_compile": seconds_compile, **environment.peak_memory()}
    curves = logs.plot_curves(folder, history, f"{config.name}, seed {config.seed}")
    logs.write_json(folder / logs.RESULT, result)
    console.print(logs.epochs_table(history, result["best_epoch"]))
    _say_result(say, result)
    say(f"curves: {curves}")
    return 1 if result["stop_reason"] == "diverged" else 0


def _run_epochs(
    program: Program,
    state: TrainState,
    history: History,
    rules: dict[str, Any],
    checkpointer: ocp.training.Checkpointer,
    folder: Path,
    interrupted: Callable[[], int],
    console: Console,
) -> TrainState:
    """Trains until the end or an interruption; adds each epoch to history and logs."""
    say = functools.partial(console.print, highlight=False, soft_wrap=True)
    logs.rewrite_metrics(folder, history)
    tensorboard = logs.open_tensorboard(folder, resume_at=int(state.step) + 1)
    step, steps = int(state.step), program.steps_per_epoch
    epochs, batch = rules["epochs"], program.batch_size
    with logs.progress(console) as progress:
        bar = progress.add_task("", total=epochs * steps * batch)
        progress.update(bar, completed=step * batch)
        advance = functools.partial(progress.advance, bar, batch)
        while not interrupted() and not stop_reason(history, **rules):
            epoch = len(history) + 1
            progress.update(bar, description=f"epoch {epoch}/{epochs}")
            started = time.perf_counter()
            state = _train_epoch(program, state, epoch, interrupted, advance)
            seconds = time.perf_counter() - started
            taken, step = int(state.step) - step, int(state.step)
            if step < epoch * steps:
                if taken:
                    checkpoint.save(checkpointer, state, history)
                break
            record = _end_epoch(program, state, epoch)
            record["images_per_second"] = taken * batch / seconds
            record["seconds"] = time.perf_counter() - started
            history.append(record)
            if not diverged(history):
                checkpoint.save(checkpointer, state, history)
            logs.append_metrics(folder, record)
            logs.add_to_tensorboard(tensorboard, record)
            say(logs.epoch_line(record, epochs))
            if (bad := int(state.metrics.first_bad_step)) != NEVER:
                say(f"diverged: train_loss is not finite at step {bad}")
            elif record["val_loss"] is None:
                say(f"diverged: val_loss is not finite at step {step}")
    tensorboard.close()
    return state


def _train_epoch(
    program: Program,
    state: TrainState,
    epoch: int,
    interrupted: Callable[[], int],
    advance: Callable[[], None],
) -> TrainState:
    """Takes the steps that are left of an epoch; the host only dispatches them."""
    order, zeros = program.start_epoch(jnp.int32(epoch - 1))
    left = epoch * program.steps_per_epoch - int(state.step)
    if left == program.steps_per_epoch:
        state = state._replace(metrics=zeros)
    running: deque[jax.Array] = deque()
    with jax.transfer_guard("disallow"):
        for _ in range(left):
            if interrupted():
                break
            state, loss = program.train_step(state, order)
            running.append(loss)
            if len(running) > AHEAD:
                running.popleft().block_until_ready()
                advance()
    jax.block_until_ready(state)
    for _ in running:
        advance()
    return state


def _end_epoch(program: Program, state: TrainState, epoch: int) -> dict[str, Any]:
    """Evaluates the state on the validation split; returns the epoch's record."""
    train_loss, train_accuracy = state.metrics.means()
    val_loss, val_accuracy = program.evaluate(
        state.params, state.batch_stats, "validation"
    )
    rate = program.learning_rate(int(state.step) - 1)
    return {
        "epoch": epoch,
        "step": int(state.step),
        "train_loss": _finite(train_loss),
        "train_accuracy": train_accuracy,
        "val_loss": _finite(val_loss),
        "val_accuracy": val_accuracy,
        "learning_rate": rate,
    }


def _test(
    program: Program,
    state: TrainState,
    history: History,
    checkpointer: ocp.training.Checkpointer,
) -> dict[str, Any]:
    """Evaluates the best and the last state on the test split: its only use."""
    figures: dict[str, Any] = dict.fromkeys(
        ("test_loss", "test_accuracy", "last_test_loss", "last_test_accuracy")
    )
    if (best := checkpoint.find(checkpointer, "best")) is not None:
        model = checkpoint.restore_model(checkpointer, best, program.abstract)
        loss, accuracy = program.evaluate(*model, "test")
        figures |= {"test_loss": _finite(loss), "test_accuracy": accuracy}
    if not diverged(history):
        loss, accuracy = program.evaluate(state.params, state.batch_stats, "test")
        figures |= {"last_test_loss": _finite(loss), "last_test_accuracy": accuracy}
    return figures


def _say_result(say: Callable[[str], None], result: dict[str, Any]) -> None:
    for name, key in ("best", "test_accuracy"), ("last", "last_test_accuracy"):
        epoch = result["best_epoch" if name == "best" else "stopped_epoch"]
        if (accuracy := result[key]) is None:
            say(f"{name} state: none that could be tested")
        else:
            say(f"{name} state (epoch {epoch}): test accuracy {accuracy:.2%}")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _catch_signals() -> Callable[[], int]:
    """Makes SIGTERM and the first Ctrl-C a wish; returns a function that tells it."""
    received: list[int] = []

    def note(number, frame) -> None:
        del frame
        received.append(number)
        signal.signal(number, signal.SIG_DFL)  # the second one is obeyed at once

    signal.signal(signal.SIGTERM, note)
    signal.signal(signal.SIGINT, note)
    return lambda: received[0] if received else 0


if __name__ == "__main__":
    cli.run(main, (data.DataError, logs.RunFolderError))
