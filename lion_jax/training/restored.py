"""A trained model, restored from its run's folder and ready to use."""

import dataclasses
import functools
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, get_args

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PyTree

from lion_jax import config as configs
from lion_jax import data, identity
from lion_jax.files import expanded
from lion_jax.training import checkpoint, lowering, reading, run_folder, sharding
from lion_jax.training.evaluation import Evaluation, abstract_model
from lion_jax.training.places import placed
from lion_jax.training.signature import Signature
from lion_jax.training.state import Model
from lion_jax.training.task import make_task, model_maker, requested, split


@dataclasses.dataclass(frozen=True)
class Restored:
    """A trained model, ready to use; its data are read only if they are asked for."""

    step: int  # after which it was saved
    config: configs.Config
    signature: Signature
    params: PyTree[Array]
    batch_stats: PyTree[Array]
    apply: Callable[..., Any]  # from parameters, statistics and images to logits

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the logits."""
        return self.signature.class_names

    @functools.cached_property
    def dataset(self) -> data.Dataset:
        """The data that the model was trained on.

        Raises:
          DataError: If they are unavailable.
        """
        return _load_data(self.config)

    def predict(self, images: np.ndarray) -> Float[np.ndarray, "n k"]:
        """Computes the logits of images as the data set holds them.

        Args:
          images: uint8, 0 to 255, of shape (n, height, width, channels), with the
            channels of `signature.image_shape`.

        Raises:
          ValueError: If the images are anything else, such as scaled to [0, 1], which
            would be misread.

        Examples:
          >>> images = model.dataset.test_images[:2]  # doctest: +SKIP
          >>> model.predict(images).shape  # doctest: +SKIP
          (2, 10)
        """
        images = np.asarray(images)
        channels = self.signature.image_shape[-1]
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != channels:
            raise ValueError(
                f"images are {images.dtype} of shape {images.shape}, but must be uint8,"
                f" 0 to 255, of shape (n, height, width, {channels}); for pixels in"
                " [0, 1] give np.round(255 * images).astype(np.uint8)."
            )
        if not len(images):
            return np.zeros((0, self.signature.num_classes), np.float32)
        size = self.config.eval_batch_size
        batches = (images[i : i + size] for i in range(0, len(images), size))
        model = self.params, self.batch_stats
        return np.concatenate([np.asarray(self._compiled(*model, x)) for x in batches])

    @functools.cached_property
    def _compiled(self) -> Callable[..., Any]:
        """The model, compiled as for evaluation."""
        mesh = sharding.make_mesh(self.config.devices)
        options = lowering.compiler_options(self.config, mesh)
        return jax.jit(self.apply, compiler_options=options)

    def probabilities(self, images: np.ndarray) -> Float[np.ndarray, "n k"]:
        """Computes the probabilities of the classes; images as `predict` takes them."""
        return np.asarray(jax.nn.softmax(self.predict(images).astype(np.float32)))


def read_config(folder: Path) -> configs.Config:
    """Reads the configuration of a run; fields that it lacks have their defaults.

    Raises:
      RunFolderError: If the folder holds no run, or one of a newer version.
    """
    saved = run_folder.read_json(folder / run_folder.CONFIG)
    if saved is None:
        raise run_folder.RunFolderError(
            f"--workdir={folder} holds no {run_folder.CONFIG}; give a folder that"
            " lion_jax.train made."
        )
    run_folder.require_known(folder, saved)
    return configs.from_dict(identity.fill(saved))


def restore(
    folder: str | PathLike[str],
    which: checkpoint.Which = "best",
    places: dict[str, Any] | None = None,
) -> Restored:
    """Restores a saved state of a run, on as many devices as there are.

    Args:
      folder: The run's folder.
      which: `best` (lowest validation loss) or `latest`.
      places: Fields of the configuration that change no numbers, by dotted path, such
        as `devices`, `eval_batch_size`, `data.data_dir`, to set for this process.

    Raises:
      RunFolderError: If the folder holds no run.
      CheckpointError: If the run has no such checkpoint.
      ConfigError: If a field does change the numbers, or has a wrong value, or `which`
        is neither.
      DataError: If an earlier version saved it, without its signature, and its data
        are unavailable.

    Examples:
      >>> model = training.load("runs/mine")  # doctest: +SKIP
      >>> model.class_names[9]  # doctest: +SKIP
      'Ankle boot'
    """
    folder = expanded(folder)
    require_which(which)
    config = placed(read_config(folder), places or {})
    _require_code(folder, config, "model.name")
    saves = folder / run_folder.CHECKPOINTS
    run_folder.require_linked(folder)
    if not saves.is_dir():
        raise checkpoint.CheckpointError(f"{folder} holds no checkpoint; train first.")
    found = reading.read(saves, which, functools.partial(_read, config))
    if found is None:
        result = run_folder.read_result(folder)
        raise checkpoint.CheckpointError(
            f"{folder} diverged and holds no {which} checkpoint; train in another"
            " folder with a smaller learning rate."
            if result and result.stop_reason == "diverged"
            else f"{folder} holds no {which} checkpoint yet; train to the end of an"
            " epoch first."
        )
    step, (signature, make_model, model) = found
    apply = lowering.logits(config, make_model, signature)
    return Restored(step, config, signature, *model, apply)


def _read(
    config: configs.Config, checkpoints: checkpoint.Checkpoints, step: int
) -> tuple[Signature, Callable[[nnx.Rngs], nnx.Module], Model]:
    signature = checkpoint.signature_of(checkpoints, step)
    if signature is None:  # it is of an earlier version
        dataset = _load_data(config)
        signature = Signature.of(config, dataset, split(config, dataset).train)
    make_model = model_maker(config, signature)
    mesh = sharding.make_mesh(config.devices)
    abstract = abstract_model(config, make_model, mesh)
    return signature, make_model, checkpoint.restore_model(checkpoints, step, abstract)


def _load_data(config: configs.Config) -> data.Dataset:
    return data.load(*requested(config))


def require_which(which: object) -> None:
    """Refuses what names no saved state: a step, a split, another spelling.

    Raises:
      ConfigError: Names those that there are.
    """
    if which not in (choices := get_args(checkpoint.Which)):
        raise configs.ConfigError(
            f"which={which!r}, but it must be one of {', '.join(choices)}; leave it out"
            f" for {choices[0]!r}."
        )


def evaluate(
    folder: str | PathLike[str],
    which: checkpoint.Which = "best",
    places: dict[str, Any] | None = None,
) -> dict[str, float | int]:
    """Evaluates a saved state of a run on the validation and the test split.

    Args:
      folder: The run's folder.
      which: `best` (lowest validation loss) or `latest`.
      places: As of `load`.

    Returns:
      The state's step, and loss and accuracy on both splits.

    Raises:
      DataError: If its data are unavailable, or have changed.
      RunFolderError, CheckpointError, ConfigError: As `load`.

    Examples:
      >>> figures = training.evaluate("runs/mine")  # doctest: +SKIP
      >>> figures["test_accuracy"] == result.test_accuracy  # doctest: +SKIP
      True
    """
    with jax.transfer_guard("allow"):
        restored = restore(folder, which, places)
        _require_code(expanded(folder), restored.config, "data.name")
        return _evaluate(restored)


def _evaluate(restored: Restored) -> dict[str, float | int]:
    # The optimizer's code is not needed, and may be gone.
    config = dataclasses.replace(restored.config, optimizer=configs.OptimizerConfig())
    mesh = sharding.make_mesh(config.devices)
    splits = split(config, restored.dataset)
    task = make_task(config, restored.dataset, splits, mesh)
    task.signature.require_data_of(restored.signature)
    evaluation = Evaluation(config, task, splits, mesh)
    figures: dict[str, float | int] = {"step": restored.step}
    for name in ("validation", "test"):
        metrics = evaluation.evaluate(restored.params, restored.batch_stats, name)
        loss, accuracy = metrics.means()
        figures |= {f"{name}_loss": loss, f"{name}_accuracy": accuracy}
    return figures


def _require_code(folder: Path, config: configs.Config, field: str) -> None:
    """Refuses a reference to other code than the run was trained with."""
    saved = identity.fill(run_folder.read_json(folder / run_folder.CONFIG) or {})
    for text in identity.differences(saved, identity.resolve(config)):
        if text.startswith(field):
            raise run_folder.RunFolderError(
                f"{folder} was trained with other code: {text}."
            )
