"""Weights that a run begins with: read from a file or a run, fitted to its model."""

import dataclasses
import json
import math
from collections.abc import Container, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from lion_jax.config import ConfigError
from lion_jax.files import expanded
from lion_jax.models import foreign
from lion_jax.training import checkpoint, reading, run_folder, stored

SUFFIX = ".safetensors"
PICKLED = (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".tar")
# What is raised for files that are damaged, or of dtypes that NumPy has not.
UNREADABLE = (OSError, safetensors.SafetensorError, KeyError, ValueError)
UNREADABLE += (AttributeError, TypeError)
NAMED = 6  # arrays in a message
COLOURS = 3  # channels of images, which other convolutions' inputs hardly have


@dataclasses.dataclass(frozen=True)
class Weights:
    """Arrays by their path in our models, and where they come from."""

    arrays: dict[str, np.ndarray]
    source: str  # in words
    unknown: list[str]  # names in the file that stand for nothing here
    class_names: tuple[str, ...] = ()  # of its head; () where that is not known


@dataclasses.dataclass(frozen=True)
class Fitted:
    """Those arrays that a model takes, in its shapes."""

    taken: dict[str, np.ndarray]
    changed: list[str]  # what was made to fit, in words
    new: list[str]  # what the model has of its own, with the shapes if these differ
    unused: list[str]  # names of the source that the model has not
    own: frozenset[str]  # the paths of what is new

    def lines(self, source: str) -> list[str]:
        """Returns what was taken and what was not, for the user."""
        total = len(self.taken) + len(self.new)
        lines = [f"init_from: {len(self.taken)} of {total} arrays from {source}"]
        lines += [f"  {words}" for words in self.changed]
        for words, names in ("new", self.new), ("not used", self.unused):
            if names:
                more = f" and {len(names) - NAMED} more" if names[NAMED:] else ""
                lines.append(f"  {words}: {', '.join(names[:NAMED])}{more}")
        return lines


def read(place: str) -> Weights:
    """Reads the weights that `init_from` names.

    Args:
      place: A safetensors file, in our naming or that of torchvision or timm, or the
        folder of a run, whose best state it is then.

    Raises:
      ConfigError: If the file is none, or cannot be read.
      RunFolderError: If the folder holds no run with a best state.
      CheckpointError: If that state is damaged.
    """
    path = expanded(place)
    suffix = path.suffix.lower()
    if suffix in PICKLED and not path.is_dir():
        raise ConfigError(
            f"init_from={place!r}: such files may run code when they are read; give"
            f" weights as {SUFFIX}, which timm, torchvision's users and"
            " safetensors.torch.save_file write."
        )
    if suffix == SUFFIX and not path.is_dir():
        try:
            arrays = safetensors.numpy.load_file(path)
            with safetensors.safe_open(path, framework="np") as file:
                about = json.loads((file.metadata() or {}).get("lion_jax", "{}"))
            classes = tuple(about.get("class_names", ()))
        except UNREADABLE as error:
            raise ConfigError(
                f"init_from={place!r} cannot be read ({error}); give a {SUFFIX} file,"
                " or the folder of a run."
            ) from error
        arrays, whose, unknown = foreign.translate(arrays)
        return Weights(arrays, f"{path.name}, named as in {whose}", unknown, classes)
    saves = path / run_folder.CHECKPOINTS
    found = saves.is_dir() and reading.read(
        saves, "best", lambda saved, step: stored.read_model(saved.folder, step)
    )
    if not found:
        raise run_folder.RunFolderError(
            f"init_from={place!r} holds no best checkpoint of a run; give the folder of"
            f" one that ended an epoch, or a {SUFFIX} file."
        )
    step, model = found
    trained = checkpoint.latest_signature(saves)
    classes = trained.class_names if trained else ()
    return Weights(model, f"the best state of {place}, step {step}", [], classes)


def fit(
    weights: Weights,
    wanted: Mapping[str, Any],
    head: Container[str] = (),
) -> Fitted:
    """Fits weights to a model: another image size, one channel, other classes.

    Position embeddings are resized (bicubic), a convolution's weights of three channels
    are summed where the model reads one, and what still differs in shape stays the
    model's own, and so does its head if that is given.

    Args:
      weights: From `read`.
      wanted: The model's arrays by path, or their shapes.
      head: The paths of the arrays that are of other classes in the source.

    Returns:
      The arrays taken, those of real numbers as float32, or as float64 where the
      model has it; others in the dtype that they have or that the model has, if that
      holds all their values.

    Raises:
      ConfigError: If none fits.
    """
    taken, changed, new = {}, [], []
    for name, target in wanted.items():
        if name not in weights.arrays:
            new.append(name)
            continue
        if name in head:
            new.append(f"{name} (of other classes there)")
            continue
        array = _cast(np.asarray(weights.arrays[name]), np.dtype(target.dtype))
        if array is None:
            there = weights.arrays[name].dtype
            new.append(f"{name} ({there} there, {target.dtype} here)")
            continue
        shape = tuple(target.shape)
        if array.shape != shape and (adapted := _adapted(name, array, shape, weights)):
            array, words = adapted
            changed.append(words)
        if array.shape == shape:
            taken[name] = array
        else:
            new.append(f"{name} ({_by(array.shape)} there, {_by(shape)} here)")
    unused = [name for name in weights.arrays if name not in wanted] + weights.unknown
    if not taken:
        there = unused or [text for text in new if text not in wanted]
        raise ConfigError(
            f"init_from: {weights.source} fits no array of the model, which has"
            f" {', '.join([*wanted][:3])} ...; it has {', '.join(there[:3])} ...; give"
            " weights of this model."
        )
    return Fitted(taken, changed, new, unused, frozenset(wanted.keys() - taken.keys()))


def _cast(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray | None:
    """Returns an array in a dtype that loses none of it; None if there is none."""
    if all(jnp.issubdtype(x, jnp.floating) for x in (array.dtype, dtype)):
        return array.astype(np.float64 if dtype == np.float64 else np.float32)
    return array.astype(dtype) if np.can_cast(array.dtype, dtype, "safe") else None


def _adapted(
    name: str, array: np.ndarray, shape: tuple[int, ...], weights: Weights
) -> tuple[np.ndarray, str] | None:
    ours = array.ndim == len(shape) == 3 and array.shape[0] == shape[0] == 1
    if name == "positions" and ours and array.shape[2] == shape[2]:
        return _resized(array, shape, "class_token" in weights.arrays)
    summed = (*array.shape[:2], 1, *array.shape[3:])
    if array.ndim == 4 and array.shape[2] == COLOURS and shape == summed:
        words = f"{name} summed over {array.shape[2]} channels"
        return array.sum(axis=2, keepdims=True), words
    return None


def _resized(
    array: np.ndarray, shape: tuple[int, ...], token_there: bool
) -> tuple[np.ndarray, str] | None:
    """Resizes position embeddings of shape (1, tokens, width), class token first."""
    grid = array[:, token_there:]
    old = math.isqrt(grid.shape[1])
    token_here = math.isqrt(shape[1]) ** 2 != shape[1]  # a square and one more
    new = math.isqrt(shape[1] - token_here)
    if old**2 != grid.shape[1] or new**2 != shape[1] - token_here:
        return None
    if token_here and not token_there:
        return None
    square = grid.reshape(old, old, -1)
    resized = jax.image.resize(square, (new, new, square.shape[2]), "bicubic")
    parts = [array[:, :1]] * token_here + [np.asarray(resized).reshape(1, new**2, -1)]
    words = f"positions resized from {old} x {old} to {new} x {new}"
    return np.concatenate(parts, axis=1), words


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
