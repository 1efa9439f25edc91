"""Trains one network once: `python -m lion_jax.train --config configs/quickstart.py`.

Read from top to bottom, `train` is the experiment: data, task, folder, state,
compilation, epochs, test.
"""

import dataclasses
import functools
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from orbax.checkpoint import v1 as ocp
from rich.console import Console

from lion_jax import (
    checkpoint,
    cli,
    data,
    environment,
    logs,
    profiling,
    runtime,
    sharding,
)
from lion_jax import program as programs
from lion_jax.config import Config, check_devices
from lion_jax.history import (
    History,
    best_step,
    diverged,
    stop_reason,
    summarize,
)
from lion_jax.program import Program
from lion_jax.step import NEVER, TrainState

USAGE = """\
Trains a network as a configuration file says, and tests it once at the end.

  python -m lion_jax.train --config FILE [--workdir=DIR] [--profile]
      [--compilation_cache=DIR|off] [--config.<field>=<value> ...]

The same command again goes on where the run stopped. Ctrl-C or SIGTERM saves first.

  --config FILE                                  Python file with get_config()"""
AHEAD = 2  # calls that may wait in the queue, so that an interruption is soon seen


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    parsed = cli.parse_config(
        argv,
        USAGE,
        texts={
            "workdir": "the run's folder; default runs/<config name>/seed_<seed>",
            "compilation_cache": cli.COMPILATION_CACHE,
        },
        switches={"profile": "first trace some steps into the run's folder, profile/"},
    )
    if parsed is None:
        return 0
    config, flags = parsed
    runtime.start(flags["compilation_cache"])
    default = Path("runs") / config.name / f"seed_{config.seed}"
    folder = Path(flags["workdir"] or default).expanduser()
    return train(config, folder, Console(), profile=flags["profile"])


def train(
    config: Config, folder: Path, console: Console, *, profile: bool = False
) -> int:
    """Trains, or goes on training, a configuration in its folder.

    Args:
      config: A checked configuration.
      folder: The run's folder; made if absent.
      console: Where progress goes.
      profile: Whether to trace some steps first, which change nothing.

    Returns:
      The exit status: 0, 1 if the run diverged, 128 + n after signal n.

    Raises:
      ConfigError: If the data or the devices do not fit the configuration.
      DataError: If the data cannot be had.
      RunFolderError: If the folder holds something else.
      CheckpointError: If the latest state cannot be restored, or saved.
    """
    say = _sayer(console)
    rules = {"epochs": config.epochs, **dataclasses.asdict(config.early_stopping)}

    # ------------------------------------------------------------------------ folder
    logs.check(folder, dataclasses.asdict(config))
    if result := logs.read_json(folder / logs.RESULT):
        say(f"This run is finished: {folder / logs.RESULT}")
        return _say_result(say, result)

    # ----------------------------------------------------------------- devices, data
    devices = check_devices(config, jax.device_count())
    mesh = sharding.make_mesh(devices)
    dataset = data.load(config.data.name, config.data.data_dir, config.data.cache_dir)
    splits = programs.split(config, dataset)
    sizes = [len(part.labels) for part in splits]
    say(f"data: {dataset.name} {dataset.version}, from {dataset.source};")
    say("      {} training, {} validation, {} test images".format(*sizes))
    with (
        logs.occupied(folder, dataclasses.asdict(config)),
        cli.caught_signals() as interrupted,
        checkpoint.open_folder(folder / logs.CHECKPOINTS) as checkpointer,
    ):
        logs.write_json(folder / logs.ENVIRONMENT, environment.describe())

        # ------------------------------------------------------- compilation, state
        say(f"compiling {config.model.name} ...")
        started = time.perf_counter()
        task = programs.make_task(config, dataset, splits, mesh)
        program = programs.build(config, task, splits, mesh)
        history: History = []
        spent = 0.0
        if (latest := checkpoint.find(checkpointer, "latest")) is None:
            state = jax.block_until_ready(program.init())
        else:
            state, history, spent = checkpoint.restore(
                checkpointer, latest, program.abstract
            )
        seconds_compile = time.perf_counter() - started
        if profile:
            _profile(program, folder / logs.PROFILE, console)
        parameters = sum(x.size for x in jax.tree.leaves(state.params))
        say(
            f"ready after {seconds_compile:.1f} s: {parameters:,} parameters on"
            f" {devices} x {jax.devices()[0].device_kind}, {config.optimizer.name}"
        )
        if latest is not None:
            say(f"resumed at step {latest}, with {len(history)} epochs done")

        # ------------------------------------------------------------------- epochs
        run = Run(program, rules, checkpointer, folder, interrupted, console)
        state = _run_epochs(run, state, history, spent)
        if interrupted():
            saved = checkpoint.find(checkpointer, "latest") or 0
            say(f"interrupted after step {saved}, saved in {folder};")
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
    say(f"curves: {curves}")
    return _say_result(say, result)


def _profile(program: Program, folder: Path, console: Console) -> None:
    """Traces steps of a state of its own and says what they spend their time on."""
    state = program.init()
    order, _ = program.start_epoch(jnp.int32(0))

    def step() -> None:
        nonlocal state
        state, loss = program.train_step(state, order)
        loss.block_until_ready()

    profiling.record(folder, step)
    assert program.compiled is not None
    console.print(profiling.table(profiling.costliest(folder, program.compiled)))
    _sayer(console)(f"trace: {folder}")


@dataclasses.dataclass(frozen=True)
class Run:
    """What the epochs of a run share."""

    program: Program
    rules: dict[str, Any]  # number of epochs, and those of early stopping
    checkpointer: ocp.training.Checkpointer
    folder: Path
    interrupted: Callable[[], int]  # number of the signal received, or 0
    console: Console


def _run_epochs(
    run: Run, state: TrainState, history: History, spent: float
) -> TrainState:
    """Trains until the end or an interruption; adds each epoch to history and logs.

    `spent` is the time that went into the epoch before the run was interrupted.
    """
    say, program, epochs = _sayer(run.console), run.program, run.rules["epochs"]
    logs.rewrite_metrics(run.folder, history)
    tensorboard = logs.open_tensorboard(run.folder, resume_at=int(state.step) + 1)
    images = program.steps_per_epoch * program.batch_size
    with logs.progress(run.console) as progress:
        bar = progress.add_task("", total=epochs * images)
        progress.update(bar, completed=int(state.step) * program.batch_size)

        def advance(steps: int) -> None:
            progress.advance(bar, steps * program.batch_size)

        while not run.interrupted() and not stop_reason(history, **run.rules):
            epoch = len(history) + 1
            progress.update(bar, description=f"epoch {epoch}/{epochs}")
            started = time.perf_counter() - spent
            before = int(state.step)
            state = _train_epoch(program, state, epoch, run.interrupted, advance)
            trained = time.perf_counter() - started
            record = _end_epoch(program, state, epoch, run.interrupted)
            spent = time.perf_counter() - started
            if record is None:
                if int(state.step) > before:
                    checkpoint.save(run.checkpointer, state, history, spent)
                break
            record |= {"images_per_second": images / trained, "seconds": spent}
            spent = 0.0
            history.append(record)
            logs.append_metrics(run.folder, record)
            logs.add_to_tensorboard(tensorboard, record)
            say(logs.epoch_line(record, epochs))
            if not diverged(history):
                checkpoint.save(run.checkpointer, state, history)
            elif (bad := int(state.metrics.first_bad_step)) != NEVER:
                say(f"diverged: train_loss is not finite at step {bad}")
            else:
                say(f"diverged: val_loss is not finite at step {record['step']}")
    tensorboard.close()
    return state


def _train_epoch(
    program: Program,
    state: TrainState,
    epoch: int,
    interrupted: Callable[[], int],
    advance: Callable[[int], None],
) -> TrainState:
    """Takes the steps that are left of an epoch; the host only dispatches them."""
    order, zeros = program.start_epoch(jnp.int32(epoch - 1))
    left = epoch * program.steps_per_epoch - int(state.step)
    if left == program.steps_per_epoch:
        state = state._replace(metrics=zeros)
    running: deque[tuple[jax.Array, int]] = deque()
    with jax.transfer_guard("disallow"):
        while left and not interrupted():
            steps = min(left, program.scan_steps)
            state, loss = program.train_step(state, order, steps)
            left -= steps
            running.append((loss, steps))
            if len(running) > AHEAD:
                loss, steps = running.popleft()
                loss.block_until_ready()
                advance(steps)
    jax.block_until_ready(state)
    for _, steps in running:
        advance(steps)
    return state


def _end_epoch(
    program: Program, state: TrainState, epoch: int, interrupted: Callable[[], int]
) -> dict[str, Any] | None:
    """Evaluates on the validation split; returns the epoch's record.

    None if the epoch is not over, or its evaluation was interrupted.
    """
    if int(state.step) < epoch * program.steps_per_epoch:
        return None
    validation = program.evaluate(
        state.params, state.batch_stats, "validation", interrupted
    )
    if interrupted():
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
        "learning_rate": program.learning_rate(int(state.step) - 1),
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
    best = checkpoint.find(checkpointer, "best")
    if best != (wanted := best_step(history)):
        raise checkpoint.CheckpointError(
            f"{checkpointer.directory}: the best state, of step {wanted}, is lost (its"
            " checkpoint was damaged or removed); restore it from a copy, or give"
            " another --workdir to begin anew."
        )
    if best is not None:
        model = checkpoint.restore_model(checkpointer, best, program.abstract)
        loss, accuracy = program.evaluate(*model, "test").means()
        figures |= {"test_loss": loss, "test_accuracy": accuracy}
    if best == int(state.step):
        figures |= {f"last_{name}": figures[name] for name in list(figures)[:2]}
    elif not diverged(history):
        metrics = program.evaluate(state.params, state.batch_stats, "test")
        loss, accuracy = metrics.means()
        figures |= {"last_test_loss": loss, "last_test_accuracy": accuracy}
    return logs.finite(figures)


def _say_result(say: Callable[[str], None], result: dict[str, Any]) -> int:
    """Says the test figures; returns the exit status that they deserve."""
    for name, epoch in ("best", "best_epoch"), ("last", "stopped_epoch"):
        accuracy = result["test_accuracy" if name == "best" else "last_test_accuracy"]
        if accuracy is None:
            say(f"{name} state: none that could be tested")
        else:
            say(f"{name} state (epoch {result[epoch]}): test accuracy {accuracy:.2%}")
    return 1 if result["stop_reason"] == "diverged" else 0


def _sayer(console: Console) -> Callable[[str], None]:
    """Prints lines as they are: paths may hold what rich would take for markup."""
    return functools.partial(
        console.print, highlight=False, markup=False, soft_wrap=True
    )


if __name__ == "__main__":
    cli.run(
        main,
        mistakes=(data.DataError, logs.RunFolderError),
        failures=(checkpoint.CheckpointError, OSError),
    )
