"""Evaluates a trained model again: `python -m lion_jax.evaluate --workdir DIR`."""

import dataclasses
import json

from lion_jax import cli, data, runtime
from lion_jax.config import Config, flatten
from lion_jax.flags import CommandLine
from lion_jax.training import checkpoint, run_folder
from lion_jax.training.restored import evaluate, read_config, restore

__all__ = ["evaluate", "main", "restore"]

PROG = "python -m lion_jax.evaluate"
MISTAKES = (data.DataError, run_folder.RunFolderError, checkpoint.CheckpointError)
FAILURES = (OSError,)


@dataclasses.dataclass
class Flags(cli.ModelFlags):
    """Evaluates a state of a run on the validation and the test split.

    Prints the figures as JSON and leaves the folder as it is. --config.<field> sets a
    field that changes no numbers, such as devices or eval_batch_size.
    """

    def load(self) -> Config:
        """Returns the run's configuration; without a folder, the default one."""
        return read_config(self.folder) if self.workdir else Config()


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    line = CommandLine(PROG, Flags, argv, file_of=Flags.load)
    flags, folder = line.flags, line.flags.folder
    config = line.configure(flags.load())
    values = flatten(config)
    runtime.start(flags.compilation_cache, **config.arithmetic())
    places = {path: values[path] for path in line.overridden}
    figures = evaluate(folder, flags.checkpoint, places)
    print(json.dumps(run_folder.finite(figures), indent=2))
    return 0


if __name__ == "__main__":
    cli.run(main, MISTAKES, FAILURES)
