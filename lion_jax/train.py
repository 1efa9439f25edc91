"""Trains one model once: `python -m lion_jax.train --config configs/quickstart.py`."""

from pathlib import Path

from rich.console import Console

from lion_jax import cli, data, runtime, training
from lion_jax.config import Config
from lion_jax.training import checkpoint, run_folder

USAGE = """\
Trains a network as a configuration file says, and tests it once at the end.

  python -m lion_jax.train --config FILE [--workdir=DIR] [--profile]
      [--compilation_cache=DIR|off] [--config.<field>=<value> ...]

The same command again goes on where the run stopped. Ctrl-C or SIGTERM saves first; a
second one leaves at once, and the steps since the last save are taken again.

  --config FILE                                  Python file with get_config()"""
MISTAKES = (data.DataError, run_folder.RunFolderError)
FAILURES = (checkpoint.CheckpointError, OSError)


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
    runtime.start(flags["compilation_cache"], **config.arithmetic())
    default = Path("runs") / config.name / f"seed_{config.seed}"
    folder = Path(flags["workdir"] or default).expanduser()
    return train(config, folder, Console(), profile=flags["profile"])


def train(
    config: Config, folder: Path, console: Console, *, profile: bool = False
) -> int:
    """Trains, or resumes, as `training.run`; returns the exit status.

    It is 0, 1 if the run diverged, 128 + n after signal n.
    """
    try:
        result = training.run(config, folder, console, profile=profile)
    except training.InterruptedRunError as interruption:
        return 128 + interruption.number
    return 1 if result.stop_reason == "diverged" else 0


if __name__ == "__main__":
    cli.run(main, MISTAKES, FAILURES)
