"""Stored checkpoints: their names, lists of checksums and arrays."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree
from orbax.checkpoint import v1 as ocp

from lion_jax.training import manifest
from lion_jax.training.history import Epoch
from lion_jax.training.run_folder import CHECKSUMS, DAMAGED, STEP
from lion_jax.training.state import Model, TrainState

# To glob Orbax gives paths as they are, and tensorstore takes a backslash for a slash.
MAGIC = frozenset("*?[\\")


class CheckpointError(Exception):
    """A checkpoint that is missing or cannot be saved or restored."""


@contextlib.contextmanager
def plain_name(folder: Path) -> Iterator[str]:
    """Yields a name of a folder under which Orbax can work.

    Orbax looks for files by `glob` without escaping the path, so that it finds none
    below a folder such as `lr[1e-3]`, and takes no path that is not in UTF-8. Such a
    folder is used through a temporary symlink.
    """
    resolved = str(folder.resolve())
    if not MAGIC & set(resolved) and not _has_other_bytes(resolved):
        yield resolved
        return
    with tempfile.TemporaryDirectory(prefix="lion_jax_") as place:
        link = Path(place).resolve() / folder.name
        link.symlink_to(resolved)
        yield str(link)


def _has_other_bytes(path: str) -> bool:
    """Whether a path has bytes that Python could not decode, and so escaped."""
    return any("\udc80" <= letter <= "\udcff" for letter in path)


def list_of(folder: Path, step: int) -> Path:
    """Returns where the checksums of a step's files are listed."""
    return folder.parent / CHECKSUMS / f"{step}.json"


def steps_in(folder: Path) -> list[Path]:
    """Returns the checkpoints that lie in a folder, by step, the latest last.

    Copies beside them, such as `0012` or `12_copy`, are none.
    """
    named = [path for path in folder.iterdir() if STEP.fullmatch(path.name)]
    return sorted((x for x in named if x.is_dir()), key=lambda path: int(path.name))


def read(path: Path, only: str = "") -> PyTree[np.ndarray]:
    """Reads a checkpoint to the host, or a part of it; `path` is a plain name."""
    described = ocp.checkpointables_metadata(str(path)).metadata
    wanted = {name: x for name, x in described.items() if only in ("", name)}
    abstract = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), wanted)
    # One after the other: of several, a failure would leave the others unawaited.
    return {
        name: ocp.load_checkpointables(str(path), {name: tree})[name]
        for name, tree in abstract.items()
    }


def require_sound(folder: Path, step: int) -> None:
    """Compares a checkpoint with its list of checksums, if there is one.

    Raises:
      CheckpointError: If they differ.
    """
    listed = list_of(folder, step)
    try:
        if listed.exists():
            manifest.check(folder / str(step), listed)
    except manifest.DamageError as error:
        raise CheckpointError(
            f"{error}: step {step} is damaged; restore {folder} from a copy, or"
            " begin anew in another folder."
        ) from error


def read_model(folder: Path, step: int) -> dict[str, np.ndarray]:
    """Reads a step's parameters and batch-norm statistics to the host, by their path.

    Raises:
      CheckpointError: If it is damaged or cannot be read.
    """
    require_sound(folder, step)
    try:
        with plain_name(folder) as name:
            model = read(Path(name) / str(step), "model")["model"]
    except Exception as error:  # Orbax raises what its many parts raise
        raise unrestorable(folder, step, error) from error
    return named((model["params"], model["batch_stats"]))


def unrestorable(folder: Path, step: int, error: Exception) -> CheckpointError:
    """Returns the error of a step that a library cannot restore."""
    return CheckpointError(
        f"{folder / str(step)} cannot be restored ({shortened(error)});"
        " begin anew in another folder."
    )


def named(parts: Iterable[PyTree[Any]]) -> dict[str, Any]:
    """Returns the arrays of several trees by their paths in them."""
    return {
        name_of(path): leaf
        for part in parts
        for path, leaf in jax.tree_util.tree_leaves_with_path(part)
    }


def name_of(path: tuple[Any, ...]) -> str:
    """Returns the name of an array at a path, such as `blocks.0.layer1.conv.kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def require_equal(path: Path, state: PyTree[Any], folder: Path) -> None:
    """Reads a checkpoint back and compares it with what was saved from this host.

    Args:
      path: The checkpoint, by its plain name.
      state: What was saved.
      folder: That of the checkpoints, as it was given, for the message.

    Raises:
      CheckpointError: If it cannot be restored or differs.
    """
    try:
        there, saved = leaves(read(path)), leaves(state)
        if there.keys() != saved.keys():
            raise ValueError(f"{len(there)} of {len(saved)} arrays were restored")
        for name, array in saved.items():
            for shard in array.addressable_shards:
                if shard.data.tobytes() != there[name][shard.index].tobytes():
                    raise ValueError(f"{name} has other values")
    except Exception as error:  # Orbax raises what its many parts raise
        raise CheckpointError(
            f"{folder}: the first checkpoint was saved, but cannot be read back"
            f" ({shortened(error)}), and is moved to {DAMAGED}/ beside it; nothing was"
            " lost yet: rerun with another folder (--workdir or --out), or on another"
            " disk."
        ) from error


def leaves(tree: PyTree[Any]) -> dict[str, Any]:
    """Returns the leaves of a state by path, alike before and after it is stored."""
    return {
        key_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def key_of(path: tuple[Any, ...]) -> str:
    """Returns the name under which `leaves` has what lies at a path."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def differences(saved: PyTree[Any], wanted: PyTree[Any]) -> list[str]:
    """Names the arrays that only one has, or that are of another shape or dtype.

    Orbax would cast to another dtype without a warning.
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
        name: f"{x.dtype}[{','.join(map(str, x.shape))}]"
        for name, x in leaves(tree).items()
    }


def shortened(error: Exception) -> str:
    """Returns an error in a few words: libraries append whole stack traces."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 400 else f"{text[:400]} ..."


def metrics_of(record: Epoch) -> dict[str, Any]:
    """Returns what checkpoints are ranked by, of an epoch's record."""
    # One NaN among them would make the order arbitrary.
    loss = record.val_loss
    finite = loss is not None and np.isfinite(loss)
    return {"val_loss": loss if finite else float("inf"), "epoch": record.epoch}


def rank(metrics: Any) -> tuple[float, int]:
    """Orders by loss; of equal losses the earliest is the best."""
    return metrics["val_loss"], metrics["epoch"]


def model_of(state: Model | TrainState) -> dict[str, Any]:
    """Returns the part of a state that is saved as its model."""
    return {"params": state.params, "batch_stats": state.batch_stats}


def parts_of(state: TrainState, model: Model | TrainState) -> dict[str, Any]:
    """Returns what is saved: the model that is used, and the rest of the state."""
    names = ("step", "opt_state", "metrics")
    if state.stats_ema is not None:  # the model saved is the average
        names += ("params", "batch_stats", "stats_ema")
    rest = {name: getattr(state, name) for name in names}
    return {"model": model_of(model), "training": rest}
