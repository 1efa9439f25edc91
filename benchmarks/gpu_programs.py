"""A configuration's programs, lowered for GPUs that are described and not there."""

import functools
import importlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from gpu_kernels import Gpu
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from lion_jax import data
from lion_jax.config import Config, check_devices
from lion_jax.training import lowering, sharding
from lion_jax.training.evaluation import abstract_state
from lion_jax.training.state import Examples, TrainState
from lion_jax.training.task import Task, make_task, requested, split

PER_HOST = 8  # GPUs
CUDNN = 91000  # 9.10, as in the descriptions
SIZES = {"fashion_mnist": (60_000, 10_000), data.SAMPLE: (5_000, 1_000)}


def described(gpu: Gpu, devices: int) -> Mesh:
    """Returns a mesh of GPUs, eight to a host."""
    hosts, each = -(-devices // PER_HOST), min(devices, PER_HOST)
    topology = topologies.get_topology_desc(
        platform="cuda",
        target_config=gpu.description,
        topology=f"1x{hosts}x{each}",
    )
    axes = (sharding.AXIS,), (AxisType.Auto,)
    return jax.make_mesh((devices,), *axes, devices=topology.devices[:devices])


def lowered(config: Config, mesh: Mesh) -> Iterator[tuple[str, jax.stages.Lowered]]:
    """Yields the programs of a run by name: all that take time on the devices."""
    # JAX asks the CUDA libraries, which ask for a driver.
    kernel: Any = importlib.import_module("jax._src.cudnn.fused_attention_stablehlo")
    kernel.check_cudnn_version = lambda: CUDNN
    check_devices(config, mesh.size)
    known = config.data.name in SIZES
    dataset = _images(config.data.name) if known else data.load(*requested(config))
    splits = split(config, dataset)
    task = make_task(config, dataset, splits, mesh)
    state, whole = abstract_state(config, task, mesh), sharding.replicated(mesh)

    def examples(length: int) -> Any:
        shape = length, *splits.train.images.shape[1:]
        arrays: list[Any] = [
            jax.ShapeDtypeStruct(shape, np.uint8, sharding=whole),
            jax.ShapeDtypeStruct((length,), np.int32, sharding=whole),
        ]
        return Examples(*arrays)

    n = len(splits.train.labels)
    steps = min(config.scan_steps, n // config.batch_size)
    train = lowering.training(config, task, state, examples(n), n, mesh, steps)
    yield "training", train
    held_out = examples(max(len(splits.validation.labels), len(splits.test.labels)))
    count = jax.ShapeDtypeStruct((), jnp.int32, sharding=whole)
    sums = _placed(jax.eval_shape(lowering.sums(task, mesh)), whole)
    model = state.params, state.batch_stats
    evaluation = lowering.evaluation(config, task, mesh)
    yield "evaluation", evaluation.lower(*model, held_out, count, sums)
    yield "optimizer", _optimizer(config, task, state, mesh)
    yield "init", lowering.init(task, state).lower(lowering.random_key(mesh))


def _optimizer(
    config: Config, task: Task, state: TrainState, mesh: Mesh
) -> jax.stages.Lowered:
    """Lowers the optimizer's step alone."""

    def step(params: Any, opt_state: Any, grads: Any) -> Any:
        updates, opt_state = task.optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    jitted = jax.jit(
        step,
        donate_argnums=(0, 1),
        out_shardings=lowering.shardings((state.params, state.opt_state)),
        compiler_options=lowering.compiler_options(config, mesh),
    )
    return jitted.lower(state.params, state.opt_state, state.params)


def _placed(tree: Any, place: jax.sharding.Sharding) -> Any:
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree
    )


@functools.cache
def _images(name: str) -> data.Dataset:
    """Returns random images with the shapes of Fashion-MNIST, or of its sample."""
    rng = np.random.default_rng(0)
    train, test = SIZES[name]

    def drawn(n: int) -> Any:
        return rng.integers(0, 256, (n, 28, 28, 1), np.uint8)

    return data.Dataset(
        name=name,
        version="shapes alone",
        source="random numbers",
        class_names=tuple("abcdefghij"),
        train_images=drawn(train),
        train_labels=np.zeros(train, np.int32),
        test_images=drawn(test),
        test_labels=np.zeros(test, np.int32),
    )
