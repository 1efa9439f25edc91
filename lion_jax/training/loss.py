"""The loss of a batch, or of a part of one: what a training step differentiates."""

import enum
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from lion_jax.training.state import Outputs
from lion_jax.training.task import Task


class Use(enum.IntEnum):
    """What a step's random key is used for; each use folds its number into the key.

    `images.Augmentation` draws from the key itself, and from its own numbers below 3.
    """

    MODEL = 3
    MIXUP = 4

    def key(self, key: Key[Array, ""], part: Int[Array, ""] | int) -> Key[Array, ""]:
        """Returns this use's own key for one of the parts of a step's batch."""
        return jax.random.fold_in(jax.random.fold_in(key, self.value), part)


class Batch(NamedTuple):
    """Part of a step's examples."""

    images: UInt8[Array, "b h w c"]
    labels: Int[Array, " b"]
    part: Int[Array, ""] | int  # its number within the step, for keys of its own


def loss_of(
    params: PyTree[Array],
    batch_stats: PyTree[Array],
    batch: Batch,
    key: Key[Array, ""],
    *,
    task: Task,
    graph: nnx.GraphDef,
) -> tuple[Float[Array, ""], Outputs]:
    """Computes a batch's mean loss in training.

    Args:
      params: The model's parameters.
      batch_stats: Its batch-norm statistics before.
      batch: Images, already cropped and mirrored, and labels.
      key: The step's key.
      task: The fixed part of the experiment.
      graph: `task.graph()`.

    Returns:
      The loss to differentiate; losses and logits per example, statistics after.
    """
    drawn = Use.MODEL.key(key, batch.part) if task.call.needs_key else None
    x = task.standardize(batch.images)
    x, mix = task.augment.mix(x, key=Use.MIXUP.key(key, batch.part))
    logits, batch_stats = task.call(
        graph, params, batch_stats, x, train=True, key=drawn
    )
    classes = jax.nn.one_hot(batch.labels, logits.shape[-1], dtype=jnp.float32)
    targets = mix(classes)
    targets = optax.smooth_labels(targets, task.label_smoothing)
    losses = optax.softmax_cross_entropy(logits, targets)
    return losses.mean(), Outputs(losses, logits, batch_stats)
