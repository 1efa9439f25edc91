"""Checkpoints: the best and the latest state of a run, through Orbax.

A checkpoint is written whole or not at all. It holds the model (parameters and norm
statistics), the rest of the training state, and the history of the epochs; whatever
else a resumed run needs is a function of these and of the configuration.

Beside the folder of checkpoints, `checksums/` lists the sha256 of each one's files. A
checkpoint without a list was not finished; one that differs from its list is damaged,
is set aside, and the run goes on from the one before, which is kept for that.
"""

import contextlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, cast

import jax
import numpy as np
from jaxtyping import Array, PyTree
from orbax.checkpoint import v1 as ocp

from lion_jax.training import manifest
from lion_jax.training.step import TrainState

Which = Literal["best", "latest"]
Checkpointer = ocp.training.Checkpointer
_policies: Any = ocp.training.preservation_policies
_log = logging.getLogger(__name__)


class CheckpointError(Exception):
    """A checkpoint that is missing or cannot be restored."""


@contextlib.contextmanager
def open_folder(folder: Path, *, to_save: bool = True) -> Iterator[Checkpointer]:
    """Opens a folder of checkpoints, for a `with` statement.

    Args:
      folder: The folder; made if absent.
      to_save: Whether it is opened to save in; then what an interrupted save left
        there is removed, and what is damaged is moved to `damaged/` beside it. A
        reader must not: a run may be saving at the time.

    Raises:
      CheckpointError: If there are checkpoints to go on from, but all are damaged.
    """
    folder = folder.resolve()
    if to_save:
        _clear(folder)
    best = _policies.BestN(
        get_metric_fn=_rank, n=1, reverse=True, keep_checkpoints_without_metrics=False
    )
    # Otherwise a folder that cannot be written to leaves threads that wait for it, and
    # the process does not end before they time out, after five minutes.
    context = ocp.Context()
    context.asynchronous.create_directories_asynchronously = False
    checkpointer = Checkpointer(
        str(folder),
        context=context,
        preservation_policy=_policies.AnyPreservationPolicy(
            [_policies.LatestN(2), best]
        ),
        cleanup_tmp_directories=to_save,
    )
    try:
        yield checkpointer
    except BaseException:
        # A save that failed fails again here, and would be all that is told.
        with contextlib.suppress(Exception):
            checkpointer.close()
        raise
    checkpointer.close()


def save(
    checkpointer: Checkpointer,
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
      CheckpointError: If it cannot be saved, as on a full disk.
    """
    step = int(state.step)
    at_epoch_end = bool(history) and history[-1]["step"] == step
    folder = Path(checkpointer.directory)
    # Of a step that is saved again, the old list would call the new files damaged.
    _list_of(folder, step).unlink(missing_ok=True)
    try:
        saved = checkpointer.save_checkpointables(
            step,
            {"model": _model(state), "training": _training(state)},
            metrics=_metrics(history[-1]) if at_epoch_end else None,
            custom_metadata=cast(Any, {"history": history, "seconds": seconds}),
            force=True,
            overwrite=True,
        )
        if not saved:
            raise RuntimeError("Orbax declined")
        manifest.write(folder / str(step), _list_of(folder, step))
    except Exception as error:  # Orbax raises what its many parts raise
        raise CheckpointError(
            f"{folder}: the state of step {step} cannot be saved ({_short(error)});"
            " free space or make the folder writable, and give the same command again:"
            " it goes on from the last state saved."
        ) from error
    kept = {str(info.step) for info in checkpointer.checkpoints}
    for path in _list_of(folder, step).parent.iterdir():
        if path.stem not in kept:
            path.unlink()


def find(checkpointer: Checkpointer, which: Which) -> int | None:
    """Returns the step of the best or of the latest checkpoint, or None."""
    infos = checkpointer.checkpoints
    if which == "best":
        infos = sorted((i for i in infos if i.metrics), key=lambda i: _rank(i.metrics))
        return infos[0].step if infos else None
    return infos[-1].step if infos else None


def restore_model(
    checkpointer: Checkpointer, step: int, abstract: PyTree[Any]
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
    checkpointer: Checkpointer, step: int, abstract: PyTree[Any]
) -> tuple[TrainState, list[dict[str, Any]], float]:
    """Returns the state saved at a step, on its devices, the history, the seconds."""
    wanted = {"model": _model(abstract), "training": _training(abstract)}
    loaded = _load(checkpointer, step, wanted)
    state = TrainState(**loaded["model"], **loaded["training"])
    told: Any = checkpointer.checkpointables_metadata(step).custom_metadata
    return state, list(told["history"]), told["seconds"]


def _clear(folder: Path) -> None:
    """Removes unfinished checkpoints and sets damaged ones aside."""
    damaged, sound = {}, False
    for saved in sorted(folder.glob("[0-9]*")):
        if not saved.name.isdigit():
            continue
        listed = _list_of(folder, int(saved.name))
        if not listed.exists():
            _log.info("%s was not finished when its run ended: removed.", saved)
            shutil.rmtree(saved)
            continue
        try:
            manifest.check(saved, listed)
            sound = True
        except manifest.DamageError as error:
            damaged[saved] = error
    if damaged and not sound:
        raise CheckpointError(
            f"{'; '.join(map(str, damaged.values()))}: no sound checkpoint is left, and"
            f" nothing was changed; restore {folder} from a copy, or begin"
            " anew in another folder."
        )
    for saved, error in damaged.items():
        aside = folder.parent / "damaged"
        _log.warning("%s: step %s is set aside in %s.", error, saved.name, aside)
        shutil.rmtree(aside / saved.name, ignore_errors=True)
        aside.mkdir(exist_ok=True)
        saved.rename(aside / saved.name)
        _list_of(folder, int(saved.name)).unlink()


def _list_of(folder: Path, step: int) -> Path:
    return folder.parent / "checksums" / f"{step}.json"


def _short(error: Exception) -> str:
    """An error in some words: libraries append whole stack traces."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 400 else f"{text[:400]} ..."


def _load(checkpointer: Checkpointer, step: int, wanted: dict[str, Any]):
    folder = Path(checkpointer.directory)
    try:
        manifest.check(folder / str(step), _list_of(folder, step))
    except manifest.DamageError as error:
        raise CheckpointError(
            f"{error}: step {step} is damaged; restore {folder} from a copy, or"
            " begin anew in another folder."
        ) from error
    try:
        saved = checkpointer.checkpointables_metadata(step).metadata
        if different := _differences({name: saved[name] for name in wanted}, wanted):
            shown = ", ".join(different[:3]) + (", ..." if different[3:] else "")
            raise CheckpointError(
                f"{folder / str(step)} is of another model or optimizer: {shown}; use"
                " another folder, or the configuration that it was made with."
            )
        return checkpointer.load_checkpointables(step, wanted)
    except CheckpointError:
        raise
    except Exception as error:  # Orbax raises what its many parts raise
        raise CheckpointError(
            f"{folder / str(step)} cannot be restored ({_short(error)}); begin anew"
            " in another folder."
        ) from error


def _differences(saved: PyTree[Any], wanted: PyTree[Any]) -> list[str]:
    """Names the arrays that only one has, or that are of another shape or dtype.

    Orbax would cast to another dtype without a word.
    """
    there, asked = _describe(saved), _describe(wanted)
    return [
        f"{name} ({there.get(name, 'nothing')} there, {asked.get(name, 'nothing')}"
        " expected)"
        for name in sorted(there.keys() | asked.keys())
        if there.get(name) != asked.get(name)
    ]


def _describe(tree: PyTree[Any]) -> dict[str, str]:
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): (
            f"{x.dtype}[{','.join(map(str, x.shape))}]"
        )
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
    }


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
