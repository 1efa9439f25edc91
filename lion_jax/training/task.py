"""From a configuration and a data set to what a program is compiled from."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, UInt8

from lion_jax import data, models
from lion_jax.config import Config, ConfigError
from lion_jax.config.reference import parse
from lion_jax.training import averaging, calls, images, own, placement, sharding
from lion_jax.training.optimizers import make_optimizer
from lion_jax.training.signature import Signature
from lion_jax.training.state import Examples


class Splits(NamedTuple):
    """A data set cut in three, on the host."""

    train: Examples
    validation: Examples
    test: Examples


@dataclass(frozen=True)
class Task:
    """The fixed part of an experiment: what to compute, not with which numbers."""

    signature: Signature
    make_model: Callable[[nnx.Rngs], nnx.Module]
    optimizer: optax.GradientTransformation
    standardize: Callable[[UInt8[Array, "b h w c"]], Float[Array, "b h2 w2 c2"]]
    batch_size: int
    eval_batch_size: int
    augment: images.Augmentation
    call: calls.Call = calls.PLAIN
    label_smoothing: float = 0.0
    accumulate: int = 1
    layout: sharding.Layout = sharding.ONE_DEVICE
    stats_ema: optax.GradientTransformation | None = None  # of batch-norm statistics
    streamed: bool = False  # whether steps see windows of the splits

    def graph(self) -> nnx.GraphDef:
        """Returns the model's structure without its numbers; nothing is computed."""
        return graph_of(self.make_model)


def graph_of(make_model: Callable[[nnx.Rngs], nnx.Module]) -> nnx.GraphDef:
    """Returns a model's structure without its numbers; nothing is computed."""
    return nnx.graphdef(nnx.eval_shape(lambda: make_model(nnx.Rngs(0))))


def model_maker(
    config: Config, signature: Signature
) -> Callable[[nnx.Rngs], nnx.Module]:
    """Returns what makes a configuration's model from random keys.

    Raises:
      ConfigError: If its name refers to no function, or to one of another signature.
    """
    given = {
        "image_size": signature.image_size,
        "num_classes": signature.num_classes,
        "channels": signature.channels,
    }
    if parse(config.model.name):
        return own.model(config.model, given)
    # The model's name and the fields that it does not take stay behind.
    options = models.options(config.model.name, dataclasses.asdict(config.model))
    return lambda rngs: models.make(config.model.name, **given, rngs=rngs, **options)


def requested(config: Config) -> data.Request:
    """Returns which data set a configuration asks for, and how."""
    fields = config.data
    return data.Request(
        fields.name,
        fields.data_dir,
        fields.cache_dir,
        fields.image_size,
        json.dumps(fields.options) if fields.options else "",
    )


def split(config: Config, dataset: data.Dataset) -> Splits:
    """Cuts the training set by the configuration's split seed.

    Returns:
      The splits, whose images are read only when they are needed if they are streamed.

    Raises:
      ConfigError: If the data do not fill a batch or do not fit the channels.
    """
    train, validation = data.split(
        len(dataset.train_labels),
        config.data.validation_fraction,
        config.data.split_seed,
    )
    if not len(validation) or len(train) < config.batch_size:
        raise ConfigError(
            f"batch_size={config.batch_size}, data.validation_fraction="
            f"{config.data.validation_fraction}: {len(train)} training and"
            f" {len(validation)} validation images are left, but a whole batch and one"
            " image are needed; set a smaller --config.batch_size or another fraction."
        )
    channels = dataset.train_images.shape[-1]
    if channels not in (1, config.channels):
        raise ConfigError(
            f"channels={config.channels}, but the images of {dataset.name} have"
            f" {channels}; set --config.channels={channels}."
        )
    streamed = placement.is_streamed(config, dataset)

    def select(part: str, rows: np.ndarray) -> Examples:
        images: Any = data.Rows(dataset.arrays[f"{part}_images"], rows)
        labels = dataset.arrays[f"{part}_labels"][rows]
        return Examples(images if streamed else images[:], labels)

    test = np.arange(len(dataset.test_labels))
    return Splits(
        select("train", train), select("train", validation), select("test", test)
    )


def total_steps(config: Config, n: int) -> int:
    """Returns how many steps the run takes at most, with n training examples."""
    return config.epochs * (n // config.batch_size)


def make_task(
    config: Config, dataset: data.Dataset, splits: Splits, mesh: Mesh
) -> Task:
    """Makes the fixed part of the experiment."""
    signature = Signature.of(config, dataset, splits.train)
    steps = total_steps(config, len(splits.train.labels))
    make_model = model_maker(config, signature)
    layout = sharding.Layout.of(config, mesh)
    return Task(
        signature=signature,
        make_model=make_model,
        optimizer=make_optimizer(config.optimizer, steps, layout),
        standardize=signature.standardize,
        batch_size=config.batch_size,
        eval_batch_size=config.eval_batch_size,
        augment=images.Augmentation(**dataclasses.asdict(config.augment)),
        call=calls.of(
            config.model,
            make_model,
            mesh.devices.flat[0],
            fused_attention=not config.deterministic,
        ),
        label_smoothing=config.label_smoothing,
        accumulate=config.accumulate,
        layout=layout,
        stats_ema=averaging.of_statistics(config.optimizer.ema_decay),
        streamed=isinstance(splits.train.images, data.Rows),
    )
