"""Checkpoints: the best and the latest state of a run, through Orbax.

A checkpoint is written whole or not at all. It holds the model (parameters and norm
statistics), the rest of the training state, and the history of the epochs; whatever
else a resumed run needs is a function of these and of the configuration.
"""

from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from jaxtyping import Array, PyTree
from orbax.checkpoint import v1 as ocp

from lion_jax.step import TrainState

Which = Literal["best", "latest"]
_policies: Any = ocp.training.preservation_policies


class CheckpointError(Exception):
    """A checkpoint that is missing or cannot be restored."""


def open_folder(folder: Path, *, to_save: bool = True) -> ocp.training.Checkpointer:
    """Opens a folder of checkpoints.

    Args:
      folder: The folder; made if absent.
      to_save: Whether it is opened to save in; then what an interrupted save left
        there is removed. A reader must not: a run may be saving at the time.
    """
    best = _policies.BestN(
        get_metric_fn=_rank, n=1, reverse=True, keep_checkpoints_without_metrics=False
    )
    return ocp.training.Checkpointer(
        str(folder.resolve()),
        preservation_policy=_policies.AnyPreservationPolicy(
            [_policies.LatestN(1), best]
        ),
        cleanup_tmp_directories=to_save,
    )


def save(
    checkpointer: ocp.training.Checkpointer,
    state: TrainState,
    history: list[dict[str, Any]],
    seconds: float = 0.0,
) -> None:
    """Saves the state; waits until it is on the disk.

    Args:
      checkpointer: From `open_folder`.
      state: Any state of the run, at the end of an epoch or within one.
      history: One record an epoch that is over; the last one ranks the state, if the
        state is that epoch's end.
      seconds: Time that went into the epoch that is not over.

    Raises:
      CheckpointError: If Orbax did not save it.
    """
    step = int(state.step)
    at_epoch_end = bool(history) and history[-1]["step"] == step
    saved = checkpointer.save_checkpointables(
        step,
        {"model": _model(state), "training": _training(state)},
        metrics=_metrics(history[-1]) if at_epoch_end else None,
        custom_metadata=cast(Any, {"history": history, "seconds": seconds}),
        force=True,
        overwrite=True,
    )
    if not saved:
        raise CheckpointError(f"{checkpointer.directory}: step {step} was not saved.")


def find(checkpointer: ocp.training.Checkpointer, which: Which) -> int | None:
    """Returns the step of the best or of the latest checkpoint, or None."""
    infos = checkpointer.checkpoints
    if which == "best":
        infos = sorted((i for i in infos if i.metrics), key=lambda i: _rank(i.metrics))
        return infos[0].step if infos else None
    return infos[-1].step if infos else None


def restore_model(
    checkpointer: ocp.training.Checkpointer, step: int, abstract: PyTree[Any]
) -> tuple[PyTree[Array], PyTree[Array]]:
    """Returns parameters and norm statistics saved at a step.

    Args:
      checkpointer: From `open_folder`.
      step: From `find`.
      abstract: A `TrainState` of shapes, dtypes and shardings.
    """
    loaded = _load(checkpointer, step, {"model": _model(abstract)})
    return loaded["model"]["params"], loaded["model"]["batch_stats"]


def restore(
    checkpointer: ocp.training.Checkpointer, step: int, abstract: PyTree[Any]
) -> tuple[TrainState, list[dict[str, Any]], float]:
    """Returns the state saved at a step, on its devices, the history, the seconds."""
    wanted = {"model": _model(abstract), "training": _training(abstract)}
    loaded = _load(checkpointer, step, wanted)
    state = TrainState(**loaded["model"], **loaded["training"])
    told: Any = checkpointer.checkpointables_metadata(step).custom_metadata
    return state, list(told["history"]), told["seconds"]


def _load(checkpointer: ocp.training.Checkpointer, step: int, wanted: dict[str, Any]):
    try:
        return checkpointer.load_checkpointables(step, wanted)
    except Exception as error:  # Orbax raises what its many parts raise
        raise CheckpointError(
            f"{checkpointer.directory / str(step)} cannot be restored"
            f" ({type(error).__name__}); remove that folder to go on from an earlier"
            " state, or the run's folder to begin anew."
        ) from error


def _model(state: TrainState) -> dict[str, Any]:
    return {"params": state.params, "batch_stats": state.batch_stats}


def _training(state: TrainState) -> dict[str, Any]:
    names = ("step", "opt_state", "metrics")
    return {name: getattr(state, name) for name in names}


def _metrics(record: dict[str, Any]) -> dict[str, Any]:
    # Orbax sorts by these, and one NaN among them would make the order arbitrary.
    loss = record["val_loss"]
    finite = loss is not None and np.isfinite(loss)
    return {"val_loss": loss if finite else float("inf"), "epoch": record["epoch"]}


def _rank(metrics: Any) -> tuple[float, int]:
    """Orders by loss; of equal losses the earliest is the best."""
    return metrics["val_loss"], metrics["epoch"]
