"""The steps of a run, lowered from shapes: for devices that JAX finds, or described."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import PyTree

from lion_jax.config import Config
from lion_jax.training import calls, sharding
from lion_jax.training.signature import Signature
from lion_jax.training.state import Evaluated, Examples, TrainState
from lion_jax.training.step import eval_step, init_state, train_step, train_steps
from lion_jax.training.task import Task, graph_of

# On a GPU: sums in a fixed order, and kernels not chosen by racing them. Triton has no
# kernel for matrix products that it may use without a race.
DETERMINISTIC = {
    "xla_gpu_deterministic_ops": True,
    "xla_gpu_autotune_level": 0,
    "xla_gpu_enable_triton_gemm": False,
}


# On a GPU: bfloat16 where the program says so. What a GPU adds in float32 only, as an
# A100 does, XLA would keep and write in float32: twice the bytes of a layer's sum.
AS_WRITTEN = {"xla_allow_excess_precision": False}


def compiler_options(config: Config, mesh: Mesh) -> dict[str, Any]:
    """Returns the options with which a configuration's steps are compiled."""
    options = DETERMINISTIC if config.deterministic else {}
    return options | (AS_WRITTEN if mesh.devices.flat[0].platform == "gpu" else {})


def shardings(abstract: PyTree[Any]) -> PyTree[jax.sharding.Sharding]:
    """Returns where the arrays of an abstract state lie."""
    return jax.tree.map(lambda x: x.sharding, abstract)


def init(task: Task, abstract: TrainState) -> Any:
    """Returns the jitted function that makes a seed's first state from its key.

    XLA's later passes would take longer than they save: it is hundreds of small random
    draws.
    """
    level = 0 if jax.config.read("jax_disable_most_optimizations") else 1
    return jax.jit(
        partial(init_state, task),
        out_shardings=shardings(abstract),
        compiler_options={"xla_backend_optimization_level": level},
    )


def training(
    config: Config,
    task: Task,
    abstract: TrainState,
    examples: Examples,
    n: int,
    mesh: Mesh,
    steps: int = 1,
) -> jax.stages.Lowered:
    """Lowers some training steps as one program.

    Args:
      config: Compiler options.
      task: From `make_task`.
      abstract: The state, from `abstract_state`.
      examples: The training split or a window of it, or their shapes and shardings.
      n: The length of the order of examples that the program reads.
      mesh: The devices.
      steps: How many.
    """
    whole = sharding.replicated(mesh)
    step = train_step if steps == 1 else partial(train_steps, steps)
    jitted = jax.jit(
        partial(step, task, task.graph()),
        donate_argnums=0,
        out_shardings=(shardings(abstract), whole),
        compiler_options=compiler_options(config, mesh),
    )
    order = jax.ShapeDtypeStruct((n,), jnp.int32, sharding=whole)
    return jitted.lower(abstract, examples, order, random_key(mesh))


def evaluation(config: Config, task: Task, mesh: Mesh) -> Any:
    """Returns the jitted evaluation step; it consumes the sums that it adds to."""
    return jax.jit(
        partial(eval_step, task, task.graph()),
        donate_argnums=4,
        out_shardings=sharding.replicated(mesh),
        compiler_options=compiler_options(config, mesh),
    )


def logits(
    config: Config, make_model: Callable[[nnx.Rngs], nnx.Module], signature: Signature
) -> Callable[..., Any]:
    """Returns the jitted model of a run that is over.

    It has no compiler options, which JAX takes at the top alone: it may be a part of
    something larger.

    Args:
      config: The run's configuration.
      make_model: From `model_maker`.
      signature: Of the run.

    Returns:
      A function from parameters, statistics and images to logits.
    """
    graph, fused = graph_of(make_model), not config.deterministic
    call = calls.of(config.model, make_model, fused_attention=fused)

    @jax.jit
    def apply(params, batch_stats, images):
        x = signature.standardize(images)
        return call(graph, params, batch_stats, x, train=False)[0]

    return apply


def sums(task: Task, mesh: Mesh) -> Any:
    """Returns the jitted function that makes an evaluation's sums before its first."""
    zeros = partial(Evaluated.zeros, task.signature.num_classes)
    return jax.jit(zeros, out_shardings=sharding.replicated(mesh))


def random_key(mesh: Mesh) -> Any:
    """Returns the shape and dtype of a random key, a copy on every device."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.ShapeDtypeStruct((), key.dtype, sharding=sharding.replicated(mesh))
