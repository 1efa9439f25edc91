"""A checkpoint of a run that may still be training, and so remove it meanwhile."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lion_jax.training import checkpoint
from lion_jax.training.checkpoint import CheckpointError, Checkpoints

T = TypeVar("T")
ATTEMPTS = 10  # a run that saves every second leaves two checkpoints for one


def read(
    saves: Path, which: checkpoint.Which, use: Callable[[Checkpoints, int], T]
) -> tuple[int, T] | None:
    """Reads the best or the latest checkpoint; the next one if a run removes it.

    Args:
      saves: The folder of checkpoints.
      which: The best or the latest.
      use: Reads what is wanted of a step.

    Returns:
      The step, and what was read of it; None if there is no such checkpoint.

    Raises:
      CheckpointError: If it is there and cannot be read.
    """
    attempts = ATTEMPTS
    while True:
        attempts -= 1
        with checkpoint.open_folder(saves, to_save=False) as saved:
            if (step := checkpoint.find(saved, which)) is None:
                return None
            try:
                return step, use(saved, step)
            except (CheckpointError, OSError):
                if not attempts or (saves / str(step)).exists():
                    raise
