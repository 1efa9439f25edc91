"""Writes a model for others: `python -m lion_jax.export --workdir DIR --out FILE`."""

import dataclasses
from pathlib import Path
from typing import Annotated

from lion_jax import cli, model_flags
from lion_jax.config import About, ConfigError
from lion_jax.config.reference import short
from lion_jax.files import expanded
from lion_jax.model_flags import FAILURES, MISTAKES
from lion_jax.training import exported, load, run_folder, trackers

PROG = "python -m lion_jax.export"
NAME = "model.safetensors"
# What a run keeps in its folder.
FILES = {run_folder.CONFIG, run_folder.RESULT, run_folder.METRICS, run_folder.LOCK}
FILES |= {run_folder.ENVIRONMENT, trackers.TRACKER_ID, trackers.MLFLOW_ID}
FILES |= {run_folder.CURVES, "curves.svg", run_folder.CONFUSION, "confusion.svg"}
FOLDERS = {run_folder.CHECKPOINTS, run_folder.CHECKSUMS}
FOLDERS |= {run_folder.DAMAGED, run_folder.PROFILE}


@dataclasses.dataclass
class Flags(model_flags.ModelFlags):
    """Writes the trained model of a run's folder for other programs.

    A file that ends in .safetensors gets the weights alone, by name. Any other gets a
    program of jax.export with its weights, from uint8 images to logits, which runs
    without lion_jax on a CPU and on CUDA; FILE.json beside it names the classes.
    --config.<field> sets a field that changes no numbers, such as devices, or where
    the file of a reference is now.
    """

    out: Annotated[
        Path | None,
        About("the file, such as model.jaxexport or model.safetensors (required)"),
    ] = None


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    line = model_flags.read(PROG, Flags, argv)
    flags = line.flags
    if flags.out is None:
        raise ConfigError(f"--out is missing; give a file, such as {NAME}.")
    out = expanded(flags.out).resolve()
    if out.is_dir():
        raise ConfigError(f"--out={out} is a folder; give a file in it.")
    if out.exists() and not out.is_file():  # a device or a pipe, which it would replace
        raise ConfigError(f"--out={out} is no regular file; give one such as {NAME}.")
    for written in (out, out.with_name(f"{out.name}.json")):
        if own := _own(flags.folder, written):
            raise ConfigError(
                f"--out={out} would change the run's own {own}; give another file, such"
                f" as {NAME}."
            )
    model = load(flags.folder, flags.checkpoint, model_flags.start(line))
    out.parent.mkdir(parents=True, exist_ok=True)
    weights = flags.out.suffix.lower() == exported.WEIGHTS  # a link may lead elsewhere
    write = exported.write_weights if weights else exported.write_program
    write(model, out)
    what = "weights" if weights else f"program for {' and '.join(exported.PLATFORMS)}"
    name, kilobytes = short(model.config.model.name), out.stat().st_size / 1000
    print(f"{out}: {what} of {name}, {kilobytes:,.0f} kB")
    return 0


def _own(folder: Path, path: Path) -> str:
    """Returns the run's file or folder that a path without links is, or is in."""
    for name in FOLDERS:
        if path.is_relative_to((folder / name).resolve()):
            return name
    is_inside = path.parent == folder.resolve() and path.name in FILES
    return path.name if is_inside else ""


if __name__ == "__main__":
    cli.run(main, MISTAKES, FAILURES)
