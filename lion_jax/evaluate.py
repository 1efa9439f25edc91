"""Tests a trained state again: `python -m lion_jax.evaluate --workdir DIR`."""

import json
from pathlib import Path

import jax

from lion_jax import checkpoint, cli, data, logs, runtime, sharding
from lion_jax import config as configs
from lion_jax import program as programs


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    parser = cli.ArgumentParser(
        prog="python -m lion_jax.evaluate",
        description="Restores a state of a run, evaluates it on the validation and the"
        " test split, and prints the figures as JSON. Leaves the folder as it is.",
    )
    parser.add_argument("--workdir", type=Path, required=True, help="the run's folder")
    parser.add_argument(
        "--checkpoint",
        choices=("best", "latest"),
        default="best",
        help="best: lowest validation loss (default); latest: last saved",
    )
    parser.add_argument("--compilation_cache", default="", help=cli.COMPILATION_CACHE)
    arguments = parser.parse_args(argv)
    runtime.start(arguments.compilation_cache)
    figures = evaluate(arguments.workdir.expanduser(), arguments.checkpoint)
    print(json.dumps(logs.finite(figures), indent=2))
    return 0


def evaluate(folder: Path, which: checkpoint.Which = "best") -> dict[str, float | int]:
    """Evaluates a saved state of a run on the validation and the test split.

    Args:
      folder: The run's folder.
      which: `best` (lowest validation loss) or `latest`.

    Returns:
      The state's step, and loss and accuracy on both splits.

    Raises:
      RunFolderError: If the folder holds no run.
      CheckpointError: If the run has no such checkpoint.
    """
    saved = logs.read_json(folder / logs.CONFIG)
    if saved is None:
        raise logs.RunFolderError(
            f"--workdir={folder} holds no {logs.CONFIG}; give a folder that"
            " lion_jax.train made."
        )
    config = configs.from_dict(saved)
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
        model = checkpoint.restore_model(checkpointer, step, program.abstract)
    figures: dict[str, float | int] = {"step": step}
    for name in ("validation", "test"):
        loss, accuracy = program.evaluate(*model, name).means()
        figures |= {f"{name}_loss": loss, f"{name}_accuracy": accuracy}
    return figures


if __name__ == "__main__":
    mistakes = (data.DataError, logs.RunFolderError, checkpoint.CheckpointError)
    cli.run(main, mistakes)
