"""How a model is called: merged with its numbers, for training or evaluation."""

import contextlib
import dataclasses
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from lion_jax.config import ModelConfig
from lion_jax.config.reference import parse
from lion_jax.models.layers import attention

# Of what a model holds, these are no statistics: random streams, which each step makes
# anew from its key, and values that the model notes while it runs.
TRANSIENT = nnx.RngState, nnx.Intermediate


@dataclasses.dataclass(frozen=True)
class Call:
    """How a model is called.

    Args:
      takes: Which of `train` and `key` it takes.
      streams: Shapes of the random streams that it holds, as dropout layers do.
      foreign: Whether it is the user's own: its layers may have modes of their own for
        training, and its logits another dtype.
      matmul_precision: `model.matmul_precision`.
      device: One of those that it is compiled for; None: JAX's default device.
      fused_attention: Whether attention may be cuDNN's.
    """

    takes: frozenset[str] = frozenset({"train"})
    streams: PyTree[Any] = None
    foreign: bool = False
    matmul_precision: str = "default"
    device: Any = None
    fused_attention: bool = True

    @property
    def needs_key(self) -> bool:
        """Whether training draws random numbers."""
        return "key" in self.takes or bool(jax.tree.leaves(self.streams))

    def __call__(
        self,
        graph: nnx.GraphDef,
        params: PyTree[Array],
        batch_stats: PyTree[Array],
        images: Float[Array, "b h w c"],
        *,
        train: bool,
        key: Key[Array, ""] | None = None,
    ) -> tuple[Float[Array, "b k"], PyTree[Array]]:
        """Computes logits.

        Args:
          graph: `Task.graph()`.
          params: The model's parameters.
          batch_stats: Its batch-norm statistics, and what else it holds.
          images: Standardized images.
          train: Whether this is training.
          key: Random key of the batch; None in evaluation.

        Returns:
          Logits, and the statistics after.
        """
        outputs, batch_stats = self.raw(
            graph, params, batch_stats, images, train=train, key=key
        )
        return outputs.astype(jnp.float32) if self.foreign else outputs, batch_stats

    def raw(self, graph, params, batch_stats, images, *, train, key=None) -> Any:
        """Does the same; returns what the model returned as it is."""
        states = [params, batch_stats]
        if self.streams:
            states.append(_streams(self.streams, key))
        model = nnx.merge(graph, *states)
        if self.foreign:
            (model.train if train else model.eval)()
        options = {"train": train, "key": key}
        target = attention.compiling_for(self.device, fused=self.fused_attention)
        with target, self._precision():
            given = {name: options[name] for name in self.takes}
            if train and isinstance(model, nnx.bridge.ToNNX):
                given["mutable"] = ["batch_stats"]  # Linen's norms ask for leave
            outputs = model(images, **given)
        *_, batch_stats = nnx.state(model, nnx.Param, TRANSIENT, ...)
        return outputs, nnx.to_pure_dict(batch_stats)

    def _precision(self) -> contextlib.AbstractContextManager[None]:
        """Sets the precision of products; their derivatives take it over."""
        if self.matmul_precision == "default":  # JAX_DEFAULT_MATMUL_PRECISION may say
            return contextlib.nullcontext()
        return jax.default_matmul_precision(self.matmul_precision)


PLAIN = Call()


def of(
    config: ModelConfig,
    make_model: Callable[[nnx.Rngs], nnx.Module],
    device: Any = None,
    *,
    fused_attention: bool = True,
) -> Call:
    """Returns how a configuration's model is called; nothing is computed.

    Args:
      config: The configuration.
      make_model: From `task.model_maker`.
      device: One of those that it is compiled for; None: JAX's default device.
      fused_attention: Whether attention may be cuDNN's.
    """
    make = partial(
        Call,
        matmul_precision=config.matmul_precision,
        device=device,
        fused_attention=fused_attention,
    )
    if not parse(config.name):
        return make(frozenset({"train", "key"} if config.drop_path > 0 else {"train"}))
    model = nnx.eval_shape(lambda: make_model(nnx.Rngs(0)))
    takes = {"train", "key"} & parameters_of(model).keys()
    streams = nnx.to_pure_dict(nnx.state(model, nnx.RngState))
    return make(frozenset(takes), streams, True)


def parameters_of(model: nnx.Module) -> Mapping[str, inspect.Parameter]:
    """Returns what a model takes; of a wrapped Linen module, what that itself names."""
    own = model.to_nnx__module if isinstance(model, nnx.bridge.ToNNX) else model
    return inspect.signature(own.__call__).parameters


def parts_of(model: nnx.Module) -> tuple[PyTree[Array], PyTree[Array]]:
    """Returns a model's parameters, and its statistics."""
    _, params, _, batch_stats = nnx.split(model, nnx.Param, TRANSIENT, ...)
    return nnx.to_pure_dict(params), nnx.to_pure_dict(batch_stats)


def _streams(shapes: PyTree[Any], key: Key[Array, ""] | None) -> PyTree[Array]:
    """Makes a model's random streams from a step's key."""
    key = jax.random.key(0) if key is None else key
    leaves, structure = jax.tree.flatten(shapes)
    streams = []
    for number, leaf in enumerate(leaves):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            stream = jax.random.fold_in(key, number)
            streams.append(
                jax.random.split(stream, leaf.shape) if leaf.shape else stream
            )
        else:
            streams.append(jnp.zeros(leaf.shape, leaf.dtype))
    return jax.tree.unflatten(structure, streams)
