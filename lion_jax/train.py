"""Trains one network once: `python -m lion_jax.train --config configs/quickstart.py`.

Read from top to bottom, `train` is the experiment: folder, devices, data, compilation;
then the trial itself, and what came of it.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from rich.console import Console

from lion_jax import cli, data, environment, runtime
from lion_jax.config import About, Config, check_devices
from lion_jax.flags import CommandLine
from lion_jax.training import checkpoint, logs, loop, profiling, sharding
from lion_jax.training import program as programs
from lion_jax.training.program import Program
from lion_jax.training.tables import TABLES

PROG = "python -m lion_jax.train"
MISTAKES = (data.DataError, logs.RunFolderError)
FAILURES = (checkpoint.CheckpointError, OSError)


@dataclasses.dataclass
class Flags:
    """Trains a model as a configuration file describes; tests it once at the end.

    Rerun the same command to resume. Ctrl-C and SIGTERM save first; a second one exits
    at once, and the steps since the last save are taken again.
    """

    file: Annotated[str, About("Python file with get_config()", flag="config")] = ""
    workdir: Annotated[
        Path | None,
        About(
            "the run's folder; default: runs/<config.name>/seed_<config.seed>",
            also=("output_dir", "out", "logdir", "log_dir", "save_dir", "resume"),
        ),
    ] = None
    profile: Annotated[
        bool, About("first trace some steps into the run's folder, profile/")
    ] = False
    compilation_cache: cli.CompilationCache = ""

    def load(self) -> Config:
        """Returns the file's configuration; without a file, the default one."""
        return cli.load_config(self.file) if self.file else Config()


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    line = CommandLine(PROG, Flags, argv, file_of=Flags.load, tables=TABLES)
    config = line.configure(cli.load_config(line.flags.file))
    runtime.start(line.flags.compilation_cache, **config.arithmetic())
    default = Path("runs") / config.name / f"seed_{config.seed}"
    folder = (line.flags.workdir or default).expanduser()
    return train(config, folder, Console(), profile=line.flags.profile)


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
    say = logs.sayer(console)

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
    ):
        logs.write_json(folder / logs.ENVIRONMENT, environment.describe())

        # ---------------------------------------------------------------- compilation
        say(f"compiling {config.model.name} ...")
        started = time.perf_counter()
        task = programs.make_task(config, dataset, splits, mesh)
        program = programs.build(config, task, splits, mesh)
        seconds_compile = time.perf_counter() - started
        parameters = sum(x.size for x in jax.tree.leaves(program.abstract.params))
        say(
            f"ready after {seconds_compile:.1f} s: {parameters:,} parameters on"
            f" {devices} x {jax.devices()[0].device_kind}, {config.optimizer.name}"
        )
        if profile:
            _profile(program, folder / logs.PROFILE, console)

        # ----------------------------------------------------------- epochs, then test
        images = config.epochs * program.steps_per_epoch * program.batch_size
        with logs.progress(console, images) as show:
            result = loop.run(
                loop.Trial(config, program, folder, interrupted, say, show),
                seconds_compile,
            )
        if result is None:
            say("the same command goes on from there.")
            return 128 + interrupted()

    records = logs.read_metrics(folder)
    console.print(logs.epochs_table(records, result["best_epoch"]))
    say(f"curves: {folder / logs.CURVES}")
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
    logs.sayer(console)(f"trace: {folder}")


def _say_result(say: Callable[[str], None], result: dict[str, Any]) -> int:
    """Says the test figures; returns the exit status that they deserve."""
    for name, epoch in ("best", "best_epoch"), ("last", "stopped_epoch"):
        accuracy = result["test_accuracy" if name == "best" else "last_test_accuracy"]
        if accuracy is None:
            say(f"{name} state: none that could be tested")
        else:
            say(f"{name} state (epoch {result[epoch]}): test accuracy {accuracy:.2%}")
    return 1 if result["stop_reason"] == "diverged" else 0


if __name__ == "__main__":
    cli.run(main, MISTAKES, FAILURES)
