"""Evaluates a trained model again: `python -m lion_jax.evaluate --workdir DIR`."""

import json
from pathlib import Path

from lion_jax import cli, data, runtime
from lion_jax.training import checkpoint, run_folder
from lion_jax.training.restored import evaluate, read_config, restore

__all__ = ["evaluate", "main", "restore"]


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
    folder = arguments.workdir.expanduser()
    runtime.start(arguments.compilation_cache, **read_config(folder).arithmetic())
    figures = evaluate(folder, arguments.checkpoint)
    print(json.dumps(run_folder.finite(figures), indent=2))
    return 0


if __name__ == "__main__":
    mistakes = (data.DataError, run_folder.RunFolderError, checkpoint.CheckpointError)
    cli.run(main, mistakes, failures=(OSError,))
