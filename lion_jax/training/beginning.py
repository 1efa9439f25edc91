"""The state before the first step: by the seed alone, or from another run's weights."""

from pathlib import Path

from lion_jax.config import Config
from lion_jax.training import checkpoint, run_folder
from lion_jax.training.program import Program
from lion_jax.training.state import TrainState


def check(config: Config) -> None:
    """Checks the folder that `init_from` names, before anything is compiled.

    Raises:
      RunFolderError: If it holds no run with a best state.
    """
    if config.init_from and _best(config.init_from) is None:
        raise run_folder.RunFolderError(
            f"init_from={config.init_from!r} holds no best checkpoint of a run; give"
            " the folder of one that ended an epoch."
        )


def first_state(config: Config, program: Program) -> TrainState:
    """Returns the state that a run begins with.

    Order of the batches, augmentation and the optimizer's state are those of the seed
    in either case; only parameters and batch-norm statistics come from another run.

    Raises:
      RunFolderError: As `check`.
      CheckpointError: If `init_from` cannot be restored, or is of another model.
    """
    check(config)
    state = program.init(config.seed)
    if not config.init_from:
        return state
    with checkpoint.open_folder(_saves(config.init_from), to_save=False) as saved:
        step = checkpoint.find(saved, "best")
        assert step is not None  # as checked
        params, stats = checkpoint.restore_model(saved, step, program.abstract)
    return state._replace(params=params, batch_stats=stats)


def _best(folder: str) -> int | None:
    if not _saves(folder).is_dir():
        return None
    with checkpoint.open_folder(_saves(folder), to_save=False) as saved:
        return checkpoint.find(saved, "best")


def _saves(folder: str) -> Path:
    return Path(folder).expanduser() / run_folder.CHECKPOINTS
