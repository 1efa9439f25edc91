"""Checkpoints: the best and the latest state of a run, through Orbax.

A checkpoint is written whole or not at all. It holds the model (parameters and
batch-norm statistics), the rest of the training state, and the history of the epochs;
whatever else a resumed run needs is a function of these and of the configuration.

Beside the folder of checkpoints, `checksums/` lists the sha256 of each one's files. A
checkpoint that differs from its list is damaged, is quarantined, and the run is resumed
from the one before, which is kept for that. The first checkpoint of a run is read back,
so that a disk or a path on which none can be restored shows at once.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, cast

from jaxtyping import PyTree
from orbax.checkpoint import v1 as ocp

from lion_jax import cluster
from lion_jax.training import averaging, manifest, quarantine, stored, voting
from lion_jax.training.history import Epoch, History
from lion_jax.training.signature import Signature
from lion_jax.training.state import Model, TrainState
from lion_jax.training.stored import CheckpointError

__all__ = ["CheckpointError", "Checkpoints", "find", "open_folder", "restore", "save"]

Which = Literal["best", "latest"]
_policies: Any = ocp.training.preservation_policies


@dataclasses.dataclass(frozen=True)
class Checkpoints:
    """An open folder of checkpoints."""

    folder: Path  # as it was given: it may be a link
    orbax: ocp.training.Checkpointer
    signature: Signature | None = None  # of the model that is saved

    @property
    def steps(self) -> list[int]:
        """The steps of which there is a checkpoint, ascending."""
        return [info.step for info in self.orbax.checkpoints]


@contextlib.contextmanager
def open_folder(
    folder: Path, *, to_save: bool = True, signature: Signature | None = None
) -> Iterator[Checkpoints]:
    """Opens a folder of checkpoints, for a `with` statement.

    Args:
      folder: The folder, or a link to it; made if absent.
      to_save: Whether to save in it: what an interrupted save left is removed, and what
        is damaged moved to `damaged/`. A reader must not: a run may be saving.
      signature: The model's, to be saved with each checkpoint.

    Raises:
      CheckpointError: If there are checkpoints to resume from, but all are damaged.
    """
    folder = folder.absolute()
    if to_save:
        folder.mkdir(parents=True, exist_ok=True)
        quarantine.set_damaged_aside(folder)
    best = _policies.BestN(
        get_metric_fn=stored.rank,
        n=1,
        reverse=True,
        keep_checkpoints_without_metrics=False,
    )
    # Otherwise a folder that cannot be written to leaves threads that wait for it, and
    # the process does not end before they time out, after five minutes.
    context = ocp.Context()
    context.asynchronous.create_directories_asynchronously = False
    with stored.plain_name(folder) as name:
        checkpointer = ocp.training.Checkpointer(
            name,
            context=context,
            preservation_policy=_policies.AnyPreservationPolicy(
                [_policies.LatestN(2), best]
            ),
            cleanup_tmp_directories=to_save,
        )
        try:
            yield Checkpoints(folder, checkpointer, signature)
        except BaseException:
            # A save that failed fails again here, and would be all that is reported.
            with contextlib.suppress(Exception):
                checkpointer.close()
            raise
        checkpointer.close()


def save(
    checkpoints: Checkpoints,
    state: TrainState,
    history: History,
    seconds: float = 0.0,
) -> None:
    """Saves the state; waits until it is on the disk.

    Args:
      checkpoints: From `open_folder`.
      state: Any state of the run, at the end of an epoch or within one.
      history: One record per epoch that is over; the last one ranks the state, if the
        state is that epoch's end.
      seconds: Time that went into the epoch that is not over.

    Raises:
      CheckpointError: If it cannot be saved, or is the run's first and not read back.
    """
    step, folder = int(state.step), checkpoints.folder
    at_epoch_end = bool(history) and history[-1].step == step
    first = not cluster.told_by_primary(lambda: "there" if checkpoints.steps else "")
    listed = stored.list_of(folder, step)
    # Of a step that is saved again, the old list would call the new files damaged.
    cluster.by_primary(lambda: listed.unlink(missing_ok=True))
    custom = {"history": [record.to_dict() for record in history], "seconds": seconds}
    if signature := checkpoints.signature:
        custom["signature"] = dataclasses.asdict(signature)
    parts = stored.parts_of(state, averaging.evaluated(state))
    try:
        if not checkpoints.orbax.save_checkpointables(
            step,
            {**parts},  # Orbax adds the metrics to it
            metrics=stored.metrics_of(history[-1]) if at_epoch_end else None,
            custom_metadata=cast(Any, custom),
            force=True,
            overwrite=True,
        ):
            raise RuntimeError("Orbax declined")
        if first:
            there = Path(str(checkpoints.orbax.directory)) / str(step)
            quarantine.require_equal(there, parts, folder)
        cluster.by_primary(lambda: manifest.write(folder / str(step), listed))
    except CheckpointError:
        raise
    except Exception as error:  # Orbax raises what its many parts raise
        raise CheckpointError(
            f"{folder}: the state of step {step} cannot be saved"
            f" ({stored.shortened(error)}); free space or make the folder writable, and"
            " rerun the same command: it resumes from the last state saved."
        ) from error
    kept = {stored.list_of(folder, step) for step in checkpoints.steps}
    others = {*listed.parent.glob("*.json")} - kept
    cluster.by_primary(lambda: [path.unlink() for path in others])
    cluster.progress()


def find(checkpoints: Checkpoints, which: Which) -> int | None:
    """Returns the step of the best or of the latest checkpoint, or None."""

    def step() -> str:
        infos = checkpoints.orbax.checkpoints
        if which == "best":
            ranked = (info for info in infos if info.metrics)
            infos = sorted(
                ranked, key=lambda info: stored.rank(info.metrics), reverse=True
            )
        return str(infos[-1].step) if infos else ""

    # Hosts may see a shared folder as it was at different times.
    found = cluster.told_by_primary(step)
    return int(found) if found else None


def restore_model(
    checkpoints: Checkpoints, step: int, abstract: Model | TrainState
) -> Model:
    """Returns parameters and batch-norm statistics saved at a step.

    Args:
      checkpoints: From `open_folder`.
      step: From `find`.
      abstract: Its shapes, dtypes and shardings.
    """
    loaded = _load(checkpoints, step, {"model": stored.model_of(abstract)})
    return Model(**loaded["model"])


def latest_signature(folder: Path) -> Signature | None:
    """Returns the signature of a folder's latest checkpoint, as far as it has one."""
    with contextlib.suppress(Exception), open_folder(folder, to_save=False) as saved:
        if (step := find(saved, "latest")) is not None:
            return signature_of(saved, step)
    return None


def signature_of(checkpoints: Checkpoints, step: int) -> Signature | None:
    """Returns the signature of the model saved at a step.

    None if an earlier version saved it, or if its metadata is damaged: what is restored
    from it says so.
    """
    with contextlib.suppress(Exception):  # Orbax raises what its many parts raise
        custom: Any = checkpoints.orbax.checkpointables_metadata(step).custom_metadata
        return Signature.from_dict(custom["signature"])
    return None


def restore(
    checkpoints: Checkpoints,
    step: int,
    abstract: PyTree[Any],
    voters: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[TrainState, History, float]:
    """Returns the state saved at a step, on its devices, the history, the seconds.

    Args:
      checkpoints: From `open_folder`.
      step: From `find`.
      abstract: Its shapes, dtypes and shardings.
      voters: Number of devices, if they vote: the state of another number of them
        becomes theirs.
      say: Told about that.
    """
    wanted = stored.parts_of(abstract, abstract)
    loaded = _load(checkpoints, step, wanted, voters)
    if voters:
        loaded = voting.as_wanted(loaded, wanted, say)
    state = TrainState(**(loaded["model"] | loaded["training"]))
    custom: Any = checkpoints.orbax.checkpointables_metadata(step).custom_metadata
    return state, [Epoch.from_dict(row) for row in custom["history"]], custom["seconds"]


def _load(
    checkpoints: Checkpoints, step: int, wanted: dict[str, Any], voters: int = 0
) -> dict[str, Any]:
    folder = checkpoints.folder
    cluster.by_primary(lambda: stored.require_sound(folder, step))
    try:
        saved = checkpoints.orbax.checkpointables_metadata(step).metadata
        saved = {name: saved[name] for name in wanted}
        wanted = voting.as_saved(wanted, saved, voters)
        if different := stored.differences(saved, wanted):
            shown = ", ".join(different[:3]) + (", ..." if different[3:] else "")
            raise CheckpointError(
                f"{folder / str(step)} is of another model or optimizer: {shown}; use"
                " another folder, or the configuration that it was made with."
            )
        return checkpoints.orbax.load_checkpointables(step, wanted)
    except CheckpointError:
        raise
    except Exception as error:  # Orbax raises what its many parts raise
        raise stored.unrestorable(folder, step, error) from error
