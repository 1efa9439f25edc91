"""A configuration made runnable: data on the devices, task, compiled functions."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Int

from lion_jax import data, models
from lion_jax.config import Config, ConfigError
from lion_jax.training import images, sharding
from lion_jax.training.optimizers import make_optimizer, make_schedule
from lion_jax.training.step import (
    Examples,
    Metrics,
    Task,
    TrainState,
    epoch_order,
    eval_step,
    init_state,
    train_step,
    train_steps,
)

EVALUATED_AHEAD = 8  # batches between two looks for an interruption
# On a GPU, sums in a fixed order, and kernels not chosen by racing them.
DETERMINISTIC = {"xla_gpu_deterministic_ops": True, "xla_gpu_autotune_level": 0}


class Splits(NamedTuple):
    """A data set cut in three, on the host."""

    train: Examples
    validation: Examples
    test: Examples


@dataclasses.dataclass(frozen=True)
class Program:
    """What a run calls; nothing here moves data between host and devices."""

    abstract: TrainState  # shapes, dtypes and shardings of the state
    steps_per_epoch: int
    batch_size: int
    scan_steps: int  # most steps in one call of train_step
    init: Callable[[], TrainState]
    start_epoch: Callable[[Int[Array, ""]], tuple[Int[Array, " n"], Metrics]]
    # From state, the epoch's order and a number of steps (1 if not given) to the state
    # after them and the last one's loss.
    train_step: Callable[..., tuple[TrainState, Array]]
    compiled: jax.stages.Compiled | None  # of the training step
    learning_rate: Callable[[int], float]  # at a step, counted from 0
    # From parameters, norm statistics and a split's name ("validation" or "test") to
    # sums over the split; `interrupted`, if given and true, ends it early.
    evaluate: Callable[..., Metrics]
    all_finite: Callable[[TrainState], bool]  # parameters and norm statistics
    seeded: Callable[[int], "Program"]  # the same programs under another seed


def split(config: Config, dataset: data.Dataset) -> Splits:
    """Cuts the training set by the configuration's split seed.

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
    pixels, labels = dataset.train_images, dataset.train_labels
    return Splits(
        Examples(pixels[train], labels[train]),
        Examples(pixels[validation], labels[validation]),
        Examples(dataset.test_images, dataset.test_labels),
    )


def total_steps(config: Config, n: int) -> int:
    """Returns how many steps the run takes at most, with n training examples."""
    return config.epochs * (n // config.batch_size)


def make_task(
    config: Config, dataset: data.Dataset, splits: Splits, mesh: Mesh
) -> Task:
    """Makes the fixed part of the experiment."""
    mean, std = data.pixel_statistics(np.asarray(splits.train.images))
    steps = total_steps(config, len(splits.train.labels))
    # Its name and the fields that it does not take stay behind.
    options = models.options(config.model.name, dataclasses.asdict(config.model))
    return Task(
        make_model=lambda rngs: models.make(
            config.model.name,
            image_size=config.image_size,
            num_classes=dataset.num_classes,
            channels=config.channels,
            rngs=rngs,
            **options,
        ),
        optimizer=make_optimizer(config.optimizer, steps),
        standardize=partial(
            images.standardize,
            size=config.image_size,
            channels=config.channels,
            mean=mean,
            std=std,
        ),
        batch_size=config.batch_size,
        eval_batch_size=config.eval_batch_size,
        crop_padding=config.augment.crop_padding,
        flip=config.augment.flip,
        erasing=config.augment.erasing,
        mixup=config.augment.mixup,
        stochastic=config.model.drop_path > 0,
        label_smoothing=config.label_smoothing,
        accumulate=config.accumulate,
        batch_sharding=sharding.batch(mesh),
    )


def build(
    config: Config, task: Task, splits: Splits, mesh: Mesh, *, training: bool = True
) -> Program:
    """Puts the splits on the devices and compiles the two steps.

    Args:
      config: Seed and sharding.
      task: From `make_task`.
      splits: From `split`.
      mesh: The devices.
      training: Whether to compile the training step too.
    """
    whole = sharding.replicated(mesh)
    key = jax.device_put(jax.random.key(0), whole)
    shapes = jax.eval_shape(partial(init_state, task), key)
    shardings = sharding.state(shapes, mesh, sharded=config.shard_parameters)
    abstract = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        shapes,
        shardings,
    )
    init = jax.jit(
        partial(init_state, task),
        out_shardings=shardings,
        # Hundreds of small random draws: XLA's later passes take longer than they save.
        compiler_options={"xla_backend_optimization_level": 1},
    )
    n = len(splits.train.labels)
    start_epoch = jax.jit(
        lambda key, epoch: (epoch_order(key, epoch, n), Metrics.zeros()),
        out_shardings=whole,
    )
    schedule = make_schedule(config.optimizer, total_steps(config, n))
    graph = task.graph()
    options = DETERMINISTIC if config.deterministic else {}
    compiled, step = None, _not_built
    if training:
        train = jax.device_put(splits.train, whole)
        order = jax.eval_shape(start_epoch, key, jnp.int32(0))[0]
        order = jax.ShapeDtypeStruct(order.shape, order.dtype, sharding=whole)
        compiled, step = _compile_training(
            _scan_steps(config, n),
            task,
            graph,
            abstract,
            (train, order, key),
            options,
        )
    evaluate = _compile_evaluation(task, graph, abstract, splits, whole, options)
    finite = jax.jit(_all_finite, out_shardings=whole)

    def seeded(seed: int) -> Program:
        keys = jax.random.split(jax.random.key(seed), 3)
        init_key, order_key, augment_key = (jax.device_put(key, whole) for key in keys)
        return Program(
            abstract=abstract,
            steps_per_epoch=n // task.batch_size,
            batch_size=task.batch_size,
            scan_steps=_scan_steps(config, n),
            init=lambda: init(init_key),
            start_epoch=partial(start_epoch, order_key),
            train_step=partial(step, augment_key),
            compiled=compiled,
            learning_rate=lambda step: float(jnp.asarray(schedule(step))),
            evaluate=evaluate,
            all_finite=lambda state: bool(finite(state.params, state.batch_stats)),
            seeded=seeded,
        )

    return seeded(config.seed)


def _all_finite(*trees: Any) -> Array:
    leaves = [jnp.isfinite(x).all() for x in jax.tree.leaves(trees)]
    return jnp.stack(leaves).all()


def _not_built(*_: Any) -> Any:
    raise RuntimeError("This program was built with training=False.")


def _scan_steps(config: Config, n: int) -> int:
    """Returns how many steps one call takes: an epoch's at most."""
    return min(config.scan_steps, n // config.batch_size)


def _compile_training(
    scan_steps: int,
    task: Task,
    graph: nnx.GraphDef,
    abstract: TrainState,
    rest: tuple[Examples, Any, Array],
    options: dict[str, Any],
) -> tuple[jax.stages.Compiled, Callable[..., tuple[TrainState, Array]]]:
    """Compiles the training step, or up to `scan_steps` of them in one program.

    `rest` is examples, an epoch's order, a key of augmentation: the key of the seed
    that is trained is the first argument of what is returned.
    """
    train, order, key = rest
    whole = key.sharding
    one = scan_steps == 1
    jitted = jax.jit(
        partial(train_step if one else train_steps, task, graph),
        donate_argnums=0,
        out_shardings=(jax.tree.map(lambda x: x.sharding, abstract), whole),
        compiler_options=options,
    )
    if one:
        compiled = jitted.lower(abstract, train, order, key).compile()
        counts = {1: ()}
    else:
        # Placed beforehand: nothing is moved to the devices within an epoch.
        numbers = range(1, scan_steps + 1)
        counts = {i: (jax.device_put(np.int32(i), whole),) for i in numbers}
        compiled = jitted.lower(abstract, *counts[1], train, order, key).compile()
    return compiled, lambda key, state, order, steps=1: compiled(
        state, *counts[steps], train, order, key
    )


def _compile_evaluation(
    task: Task,
    graph: nnx.GraphDef,
    abstract: TrainState,
    splits: Splits,
    whole: jax.sharding.Sharding,
    options: dict[str, Any],
) -> Callable[..., Metrics]:
    """Compiles one program for both splits: the shorter one is filled up."""
    held_out = {"validation": splits.validation, "test": splits.test}
    counts = {name: len(examples.labels) for name, examples in held_out.items()}
    length = max(counts.values())
    padded = {
        name: (Examples(*(_pad(a, length) for a in examples)), np.int32(counts[name]))
        for name, examples in held_out.items()
    }
    placed = jax.device_put(padded, whole)
    zeros = jax.jit(Metrics.zeros, out_shardings=whole)
    step = jax.jit(
        partial(eval_step, task, graph),
        donate_argnums=4,
        out_shardings=whole,
        compiler_options=options,
    )
    step = step.lower(
        abstract.params, abstract.batch_stats, *placed["test"], zeros()
    ).compile()

    def evaluate(params, batch_stats, name: str, interrupted=lambda: False) -> Metrics:
        metrics = zeros()
        for batch in range(-(-counts[name] // task.eval_batch_size)):
            if batch % EVALUATED_AHEAD == 0:
                metrics.batches.block_until_ready()
                if interrupted():
                    break
            metrics = step(params, batch_stats, *placed[name], metrics)
        return metrics

    return evaluate


def _pad(array: Any, length: int) -> np.ndarray:
    missing = length - len(array)
    return np.pad(array, [(0, missing)] + [(0, 0)] * (array.ndim - 1))
