"""One experiment from its configuration to its result, as the command runs it.

Read from top to bottom, `run` is the experiment: folder, devices, data, compilation;
then the run itself, and its result.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console

from lion_jax import data, environment, interruption
from lion_jax.config import Config, check_devices
from lion_jax.training import logs, loop, profiling, sharding
from lion_jax.training import program as programs
from lion_jax.training.program import Program


def run(
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
        interruption.caught_signals() as interrupted,
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
