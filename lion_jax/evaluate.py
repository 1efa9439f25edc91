"""Evaluates a trained model again: `python -m lion_jax.evaluate --workdir DIR`."""

import dataclasses
import json

from lion_jax import cli, model_flags
from lion_jax.files import finite
from lion_jax.model_flags import FAILURES, MISTAKES
from lion_jax.training.restored import evaluate, restore

__all__ = ["FAILURES", "MISTAKES", "evaluate", "main", "restore"]

PROG = "python -m lion_jax.evaluate"


@dataclasses.dataclass
class Flags(model_flags.ModelFlags):
    """Evaluates a state of a run on the validation and the test split.

    Prints the figures as JSON and leaves the folder as it is. --config.<field> sets a
    field that changes no numbers, such as devices or eval_batch_size, or where the file
    of a reference is now.
    """


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    line = model_flags.read(PROG, Flags, argv)
    places = model_flags.start(line)
    figures = evaluate(line.flags.folder, line.flags.checkpoint, places)
    print(json.dumps(finite(figures), indent=2))
    return 0


if __name__ == "__main__":
    cli.run(main, MISTAKES, FAILURES)
