"""Tests a trained state again: `python -m lion_jax.evaluate --workdir DIR`."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PyTree, UInt8

from lion_jax import cli, data, runtime
from lion_jax import config as configs
from lion_jax.config import About, ConfigError
from lion_jax.flags import CommandLine
from lion_jax.training import checkpoint, logs, sharding
from lion_jax.training import program as programs

PROG = "python -m lion_jax.evaluate"


@dataclasses.dataclass
class Flags:
    """Evaluates a state of a run on the validation and the test split.

    Prints the figures as JSON and leaves the folder as it is.
    """

    workdir: Annotated[Path | None, About("the run's folder (required)")] = None
    checkpoint: Annotated[
        Literal["best", "latest"],
        About("best: lowest validation loss; latest: last saved"),
    ] = "best"
    compilation_cache: cli.CompilationCache = ""


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    flags = CommandLine(PROG, Flags, argv).flags
    if flags.workdir is None:
        raise ConfigError("--workdir is missing; give the folder of a run.")
    folder = flags.workdir.expanduser()
    runtime.start(flags.compilation_cache, **read_config(folder).arithmetic())
    figures = evaluate(folder, flags.checkpoint)
    print(json.dumps(logs.finite(figures), indent=2))
    return 0


@dataclasses.dataclass(frozen=True)
class Restored:
    """A trained network, ready to use, with the data that it was trained on."""

    step: int  # after which it was saved
    config: configs.Config
    dataset: data.Dataset
    program: programs.Program
    predict: Callable[[UInt8[np.ndarray, "n h w c"]], Float[np.ndarray, "n k"]]
    params: PyTree[Array]
    batch_stats: PyTree[Array]


def read_config(folder: Path) -> configs.Config:
    """Reads the configuration of a run.

    Raises:
      RunFolderError: If the folder holds no run.
    """
    saved = logs.read_json(folder / logs.CONFIG)
    if saved is None:
        raise logs.RunFolderError(
            f"--workdir={folder} holds no {logs.CONFIG}; give a folder that"
            " lion_jax.train made."
        )
    return configs.from_dict(saved)


def restore(folder: Path, which: checkpoint.Which = "best") -> Restored:
    """Restores a saved state of a run.

    Args:
      folder: The run's folder.
      which: `best` (lowest validation loss) or `latest`.

    Returns:
      The network; its `predict` maps images as the data set holds them to logits.

    Raises:
      RunFolderError: If the folder holds no run.
      CheckpointError: If the run has no such checkpoint.
      DataError: If its data cannot be had.
    """
    config = read_config(folder)
    mesh = sharding.make_mesh(configs.check_devices(config, jax.device_count()))
    saves = folder / logs.CHECKPOINTS
    if not saves.is_dir():
        raise checkpoint.CheckpointError(f"{folder} holds no checkpoint; train first.")
    with checkpoint.open_folder(saves, to_save=False) as checkpointer:
        step = checkpoint.find(checkpointer, which)
        if step is None:
            raise checkpoint.CheckpointError(
                f"{folder} holds no {which} checkpoint yet; train to the end of an"
                " epoch first."
            )
        dataset = data.load(
            config.data.name, config.data.data_dir, config.data.cache_dir
        )
        splits = programs.split(config, dataset)
        task = programs.make_task(config, dataset, splits, mesh)
        program = programs.build(config, task, splits, mesh, training=False)
        params, batch_stats = checkpoint.restore_model(
            checkpointer, step, program.abstract
        )
    graph = task.graph()

    @jax.jit
    def apply(params, batch_stats, images):
        return nnx.merge(graph, params, batch_stats)(
            task.standardize(images), train=False
        )

    def predict(images):
        size = config.eval_batch_size
        starts = range(0, len(images), size)
        batches = (images[start : start + size] for start in starts)
        return np.concatenate([apply(params, batch_stats, x) for x in batches])

    return Restored(step, config, dataset, program, predict, params, batch_stats)


def evaluate(folder: Path, which: checkpoint.Which = "best") -> dict[str, float | int]:
    """Evaluates a saved state of a run on the validation and the test split.

    Args:
      folder: The run's folder.
      which: `best` (lowest validation loss) or `latest`.

    Returns:
      The state's step, and loss and accuracy on both splits.

    Raises:
      As `restore`.
    """
    restored = restore(folder, which)
    model = restored.params, restored.batch_stats
    figures: dict[str, float | int] = {"step": restored.step}
    for name in ("validation", "test"):
        loss, accuracy = restored.program.evaluate(*model, name).means()
        figures |= {f"{name}_loss": loss, f"{name}_accuracy": accuracy}
    return figures


if __name__ == "__main__":
    mistakes = (data.DataError, logs.RunFolderError, checkpoint.CheckpointError)
    cli.run(main, mistakes, failures=(OSError,))
