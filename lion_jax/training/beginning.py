"""The state before the first step: by the seed alone, or from another run's weights."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp

from lion_jax.config import Config, ConfigError
from lion_jax.config.reference import parse
from lion_jax.training import checkpoint, run_folder, stored
from lion_jax.training.checkpoint import Checkpoints
from lion_jax.training.program import Program
from lion_jax.training.state import TrainState


def check(config: Config) -> None:
    """Checks the folder that `init_from` names, before anything is compiled.

    Raises:
      RunFolderError: If it holds no run with a best state.
    """
    if config.init_from:
        with _best(config.init_from):
            pass


def first_state(config: Config, program: Program) -> TrainState:
    """Returns the state that a run begins with.

    Order of the batches, augmentation and the optimizer's state are those of the seed
    in either case; only parameters and batch-norm statistics come from another run.

    Raises:
      ConfigError: If a model of the user's own begins with values that are not finite.
      RunFolderError: As `check`.
      CheckpointError: If `init_from` cannot be restored, or is of another model.
    """
    state = program.init(config.seed)
    if parse(config.model.name) and not program.all_finite(state):
        model = {"parameters": state.params, "statistics": state.batch_stats}
        bad = [
            path
            for path, x in stored.leaves(model).items()
            if not jnp.isfinite(x).all()
        ]
        raise ConfigError(
            f"model.name={config.model.name!r}: before the first step {bad[0]} has"
            " values that are not finite; correct how they are initialized."
        )
    if not config.init_from:
        return state
    with _best(config.init_from) as (saved, step):
        params, stats = checkpoint.restore_model(saved, step, program.abstract)
    return state._replace(params=params, batch_stats=stats)


@contextlib.contextmanager
def _best(folder: str) -> Iterator[tuple[Checkpoints, int]]:
    """Opens the checkpoints of a run's folder; yields them and the best one's step."""
    saves = Path(folder).expanduser() / run_folder.CHECKPOINTS
    missing = run_folder.RunFolderError(
        f"init_from={folder!r} holds no best checkpoint of a run; give the folder of"
        " one that ended an epoch."
    )
    if not saves.is_dir():
        raise missing
    with checkpoint.open_folder(saves, to_save=False) as saved:
        step = checkpoint.find(saved, "best")
        if step is None:
            raise missing
        yield saved, step
