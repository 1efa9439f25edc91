"""One experiment from its configuration to its result, as the command runs it.

Read from top to bottom, `run` is the experiment: folder, devices, data, compilation;
then the run itself, and its result.
"""

import time
from collections.abc import Callable
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from rich.console import Console

from lion_jax import cluster, data, environment, identity
from lion_jax.config import Config
from lion_jax.config.reference import located
from lion_jax.files import expanded
from lion_jax.interruption import InterruptedRunError
from lion_jax.training import (
    agreement,
    beginning,
    checkpoint,
    classes,
    conditions,
    curves,
    fitting,
    history,
    loop,
    metrics,
    moved,
    placement,
    profiling,
    run_folder,
    sharding,
    tables,
    testing,
    voting,
)
from lion_jax.training.console import Print, epochs_table, printer, progress, unfailing
from lion_jax.training.history import Epoch, History, Result
from lion_jax.training.program import Program
from lion_jax.training.task import Splits, Task, make_task, requested, split


def run(
    config: Config,
    folder: str | PathLike[str],
    console: Console | None = None,
    *,
    profile: bool = False,
    on_epoch: Callable[[Epoch], None] = lambda _: None,
) -> Result:
    """Trains, or resumes training, a configuration in its folder.

    It may be called from a notebook, a test or any thread; signals are deferred in the
    main thread alone.

    Args:
      config: What is to be run.
      folder: The run's folder; made if absent.
      console: Where progress is shown; None for the standard output;
        `Console(quiet=True)` for nowhere.
      profile: Whether to trace some steps first, which change nothing.
      on_epoch: Called with each epoch's record once its state is saved. What it raises
        ends the run, which may be resumed.

    Returns:
      The run's result, also if it diverged or was finished before.

    Raises:
      InterruptedRunError: After a signal; its steps are saved, if it has taken any.
      ConfigError: If it cannot be run, or the data or the devices do not fit it.
      DataError: If the data are unavailable.
      RunFolderError: If the folder holds something else.
      CheckpointError: If the latest state cannot be restored, or saved.

    Examples:
      >>> from lion_jax import training
      >>> from lion_jax.config import Config, DataConfig, ModelConfig
      >>> config = Config(
      ...     epochs=1,
      ...     image_size=28,
      ...     data=DataConfig(name="fashion_mnist_sample"),
      ...     model=ModelConfig(name="resnet_nano"),
      ... )
      >>> result = training.run(config, "runs/mine")  # doctest: +SKIP
      >>> print(result.stop_reason, result.best_epoch)  # doctest: +SKIP
      epochs 1
    """
    tables.check(config)
    sharding.count_devices()  # says in one line why there are none
    console = (console or Console()) if cluster.is_primary() else Console(quiet=True)
    # What is moved to the devices here is meant, whatever the guard of the process.
    with unfailing(console), jax.transfer_guard("allow"):
        return _run(config, expanded(folder), console, profile, on_epoch)


def _run(
    config: Config,
    folder: Path,
    console: Console,
    profile: bool,
    on_epoch: Callable[[Epoch], None],
) -> Result:
    say = printer(console)

    # ------------------------------------------------------------------------ folder
    config = located(config)
    resolved = identity.resolve(config)
    other = run_folder.check(folder, resolved)
    result = run_folder.read_result(folder)
    agreement.on_run(resolved, finished=result is not None)
    if result and not _goes_on(config, folder, result):
        moved.require_same_data(config, folder, say)
        say(f"This run is finished: {folder / run_folder.RESULT}")
        testing.report(say, result)
        return result
    run_folder.require_states(folder)

    # ----------------------------------------------------------------- devices, data
    mesh = sharding.make_mesh(sharding.check_devices(config))
    task, splits, weights = _prepare(config, folder, mesh, say)
    occupied = run_folder.occupied(folder, resolved, reopened=result is not None)
    with (
        cluster.entered_by_primary(occupied),
        cluster.caught_signals() as interrupted,
    ):
        cluster.require_shared(folder, run_folder.LOCK)
        _describe(folder, resolved, other, say)

        # ---------------------------------------------------------------- compilation
        program, seconds_compile = _compile(config, task, splits, mesh, say)
        if profile:
            profiling.report(config, program, folder / run_folder.PROFILE, console)

        # ----------------------------------------------------------- epochs, then test
        images = config.epochs * program.steps_per_epoch * program.batch_size
        with progress(console, images) as show:
            result = loop.execute(
                loop.Run(
                    config,
                    program,
                    folder,
                    interrupted,
                    say,
                    say,
                    show,
                    weights=weights,
                    on_epoch=on_epoch,
                    draw=partial(_draw, config, folder, program),
                    lengthen=partial(run_folder.lengthen, folder, resolved),
                ),
                seconds_compile,
            )
        if result is None:
            say("rerun the same command to resume.")
            raise InterruptedRunError(interrupted())

    if cluster.is_primary():
        console.print(epochs_table(metrics.read(folder), result.best_epoch))
    say(f"curves: {folder / run_folder.CURVES}")
    testing.report(say, result)
    return result


def _describe(
    folder: Path, resolved: dict[str, Any], replaced: list[str], say: Print
) -> None:
    """Says what a run replaces, and writes under which conditions it goes on."""
    if replaced:
        said = f"a run that had kept nothing, of other {', '.join(replaced)}"
        say(f"note: replaced: {said}")
    packages = identity.packages(resolved)
    cluster.by_primary(
        lambda: conditions.describe(folder, packages | environment.describe(), say)
    )


def _prepare(
    config: Config, folder: Path, mesh: Mesh, say: Print
) -> tuple[Task, Splits, beginning.Weights | None]:
    """Loads the data; checks all that can be known before anything is compiled."""
    dataset = cluster.primary_first(lambda: data.load(*requested(config)))
    splits = split(config, dataset)
    sizes = [len(part.labels) for part in splits]
    say(f"data: {dataset.name} {dataset.version}, from {dataset.source};")
    say("      {} training, {} validation, {} test images".format(*sizes))
    if isinstance(splits.train.images, data.Rows):
        say(f"      {placement.describe(dataset)}")
    task = make_task(config, dataset, splits, mesh)
    agreement.on_data(task, dataset)
    saves, weights = folder / run_folder.CHECKPOINTS, None
    is_begun = saves.exists() and run_folder.is_begun(folder)
    fitting.check(config, task, dataset, resumed=is_begun)
    if is_begun:  # the weights to begin with are needed no more
        task.signature.require_data_of(checkpoint.latest_signature(saves))
    else:
        weights = beginning.check(config, task)
    return task, splits, weights


def _compile(
    config: Config, task: Task, splits: Splits, mesh: Mesh, say: Print
) -> tuple[Program, float]:
    """Compiles the steps, and says what they compute on; returns the seconds too."""
    say(f"compiling {config.model.name} ...")
    started = time.perf_counter()
    program = Program(config, task, splits, mesh)
    seconds = time.perf_counter() - started
    parameters = sum(x.size for x in jax.tree.leaves(program.abstract.params))
    say(
        f"ready after {seconds:.1f} s: {parameters:,} parameters on"
        f" {mesh.size} x {jax.devices()[0].device_kind}, {config.optimizer.name}"
    )
    if config.mesh_mode != "data":
        say(sharding.describe(config.mesh_mode, program.memory()))
    if task.layout.vote:
        say(voting.describe(task.layout, config.batch_size // mesh.size))
    return program, seconds


def _draw(
    config: Config, folder: Path, program: Program, records: History, result: Result
) -> None:
    if not cluster.is_primary():
        return
    with curves.optional(run_folder.CURVES):
        curves.plot(folder, records, f"{config.name}, seed {config.seed}")
    with curves.optional(run_folder.CONFUSION):
        classes.plot(folder, result.test_confusion, program.signature.class_names)


def _goes_on(config: Config, folder: Path, result: Result) -> bool:
    """Whether a finished run has epochs left under the configuration asked for."""
    if not (folder / run_folder.METRICS).exists():
        return False
    try:
        records = metrics.read(folder)
    except (ValueError, TypeError, AttributeError):
        return False  # damaged; the result holds what counts
    return len(records) == result.stopped_epoch and not history.stop_reason(
        records, **history.rules(config)
    )
