"""The training and the evaluation step: pure functions of pytrees, to be jitted.

Nothing here looks at the host: batches are cut out of arrays that lie on the devices,
and sums for loss and accuracy stay there until an epoch ends.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, UInt8

from lion_jax.training import images

NEVER = jnp.iinfo(jnp.int32).max


class Examples(NamedTuple):
    """A split of a data set, whole, on the host or on the devices."""

    images: UInt8[Array | np.ndarray, "n h w c"]
    labels: Int[Array | np.ndarray, " n"]


class Metrics(NamedTuple):
    """Sums over the batches seen so far."""

    batches: Int[Array, ""]
    loss: Float[Array, ""]  # sum over examples
    correct: Int[Array, ""]
    examples: Int[Array, ""]
    first_bad_step: Int[Array, ""]  # first of non-finite loss, from 1, or NEVER

    @classmethod
    def zeros(cls) -> "Metrics":
        """Returns the sums of nothing."""
        batches, correct, examples = (jnp.zeros([], jnp.int32) for _ in range(3))
        never = jnp.full([], NEVER, jnp.int32)
        return cls(batches, jnp.zeros([]), correct, examples, never)

    def means(self) -> tuple[float, float]:
        """Returns mean loss (a float32 value) and accuracy, on the host."""
        n = int(self.examples)
        return float(np.float32(float(self.loss) / n)), int(self.correct) / n


class TrainState(NamedTuple):
    """Everything that a step changes."""

    step: Int[Array, ""]  # steps taken so far
    params: PyTree[Array]
    batch_stats: PyTree[Array]
    opt_state: optax.OptState
    metrics: Metrics  # of the current epoch


@dataclass(frozen=True)
class Task:
    """The fixed part of an experiment: what to compute, not with which numbers."""

    make_model: Callable[[nnx.Rngs], nnx.Module]
    optimizer: optax.GradientTransformation
    standardize: Callable[[UInt8[Array, "b h w c"]], Float[Array, "b h2 w2 c2"]]
    batch_size: int
    eval_batch_size: int
    crop_padding: int = 0
    flip: bool = False
    erasing: float = 0.0
    mixup: float = 0.0
    stochastic: bool = False  # whether the model takes a random key in training
    label_smoothing: float = 0.0
    accumulate: int = 1
    batch_sharding: jax.sharding.Sharding | None = None

    def graph(self) -> nnx.GraphDef:
        """Returns the model's structure without its numbers; nothing is computed."""
        model = nnx.eval_shape(lambda: self.make_model(nnx.Rngs(0)))
        return nnx.graphdef(model)


def init_state(task: Task, key: Key[Array, ""]) -> TrainState:
    """Makes the state before the first step from the seed's key."""
    model = task.make_model(nnx.Rngs(params=key))
    _, params, batch_stats = nnx.split(model, nnx.Param, ...)
    params = nnx.to_pure_dict(params)
    return TrainState(
        step=jnp.zeros([], jnp.int32),
        params=params,
        batch_stats=nnx.to_pure_dict(batch_stats),
        opt_state=task.optimizer.init(params),
        metrics=Metrics.zeros(),
    )


def epoch_order(key: Key[Array, ""], epoch: Int[Array, ""], n: int) -> Int[Array, " n"]:
    """Returns the order of n examples in an epoch, a function of key and epoch only."""
    return jax.random.permutation(jax.random.fold_in(key, epoch), n).astype(jnp.int32)


def train_step(
    task: Task,
    graph: nnx.GraphDef,
    state: TrainState,
    examples: Examples,
    order: Int[Array, " n"],
    key: Key[Array, ""],
) -> tuple[TrainState, Float[Array, ""]]:
    """Takes one step of the optimizer on the next batch of the epoch.

    Args:
      task: The fixed part of the experiment.
      graph: `task.graph()`.
      state: The state before.
      examples: The training split.
      order: The epoch's order; the batch is the slice that follows those already in
        `state.metrics`.
      key: Key of the run's augmentation; each step folds its own number into it.

    Returns:
      The state after, and the batch's mean loss (with label smoothing, if any).
    """
    start = state.metrics.batches * task.batch_size
    rows = jax.lax.dynamic_slice(order, (start,), (task.batch_size,))
    pixels, labels = _cut(task, examples, rows)
    key = jax.random.fold_in(key, state.step)
    if task.crop_padding or task.flip or task.erasing:
        pixels = images.augment(
            pixels,
            key,
            crop_padding=task.crop_padding,
            flip=task.flip,
            erasing=task.erasing,
        )
    grads, batch_stats, loss, losses, logits = _differentiate(
        task, graph, state.params, state.batch_stats, pixels, labels, key
    )
    with jax.named_scope("optimizer"):
        updates, opt_state = task.optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
    everything = jnp.ones(labels.shape, bool)
    return TrainState(
        step=state.step + 1,
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        metrics=_add(state.metrics, losses, logits, labels, everything, state.step + 1),
    ), loss


def _differentiate(task, graph, params, batch_stats, pixels, labels, key):
    """Returns gradients, norm statistics, mean loss; losses and logits by example.

    With `task.accumulate` above 1, the batch goes through the network in as many
    parts, each normed by itself, and the gradients are their mean.
    """

    def loss_of(params, batch_stats, pixels, labels, part):
        model = nnx.merge(graph, params, batch_stats)
        # Of a key of its own: augmentation has taken others from the step's.
        drop_key, mix_key = (
            jax.random.fold_in(jax.random.fold_in(key, use), part) for use in (3, 4)
        )
        options = {"key": drop_key} if task.stochastic else {}
        x, other, share = task.standardize(pixels), labels, 1.0
        if task.mixup:
            x, other, share = images.mixup(x, labels, mix_key, task.mixup)
        logits = model(x, train=True, **options)
        once, again = (jax.nn.one_hot(k, logits.shape[-1]) for k in (labels, other))
        targets = optax.smooth_labels(
            share * once + (1 - share) * again, task.label_smoothing
        )
        losses = optax.softmax_cross_entropy(logits, targets)
        _, batch_stats = nnx.state(model, nnx.Param, ...)
        return losses.mean(), (losses, logits, nnx.to_pure_dict(batch_stats))

    differentiate = jax.value_and_grad(loss_of, has_aux=True)
    if task.accumulate == 1:
        (loss, (losses, logits, batch_stats)), grads = differentiate(
            params, batch_stats, pixels, labels, 0
        )
        return grads, batch_stats, loss, losses, logits

    def cut(x):  # every part takes from all devices, which hold stretches of the batch
        return x.reshape(-1, task.accumulate, *x.shape[1:]).swapaxes(0, 1)

    def join(x):
        return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])

    def take_in(carried, part):
        total, batch_stats = carried
        (_, (losses, logits, batch_stats)), grads = differentiate(
            params, batch_stats, *part
        )
        return (jax.tree.map(jnp.add, total, grads), batch_stats), (losses, logits)

    zeros = jax.tree.map(jnp.zeros_like, params)
    (total, batch_stats), outputs = jax.lax.scan(
        take_in,
        (zeros, batch_stats),
        (cut(pixels), cut(labels), jnp.arange(task.accumulate)),
    )
    losses, logits = map(join, outputs)
    grads = jax.tree.map(lambda x: x / task.accumulate, total)
    return grads, batch_stats, losses.mean(), losses, logits


def train_steps(
    task: Task,
    graph: nnx.GraphDef,
    state: TrainState,
    count: Int[Array, ""],
    examples: Examples,
    order: Int[Array, " n"],
    key: Key[Array, ""],
) -> tuple[TrainState, Float[Array, ""]]:
    """Takes `count` steps in one program; arguments and results as of `train_step`."""

    def step(_, carried):
        return train_step(task, graph, carried[0], examples, order, key)

    return jax.lax.fori_loop(0, count, step, (state, jnp.zeros([])))


def eval_step(
    task: Task,
    graph: nnx.GraphDef,
    params: PyTree[Array],
    batch_stats: PyTree[Array],
    examples: Examples,
    count: Int[Array, ""],
    metrics: Metrics,
) -> Metrics:
    """Adds the next batch of a split's first `count` examples to the sums.

    Every example counts once: the last batch is filled up with copies of the last
    example, which do not count.
    """
    rows = metrics.batches * task.eval_batch_size + jnp.arange(task.eval_batch_size)
    pixels, labels = _cut(task, examples, jnp.minimum(rows, count - 1))
    model = nnx.merge(graph, params, batch_stats)
    logits = model(task.standardize(pixels), train=False)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return _add(metrics, losses, logits, labels, rows < count, metrics.batches + 1)


def _cut(task: Task, examples: Examples, rows: Int[Array, " b"]) -> tuple[Any, Any]:
    if task.batch_sharding is not None:
        rows = jax.lax.with_sharding_constraint(rows, task.batch_sharding)
    return examples.images[rows], examples.labels[rows]


def _add(
    metrics: Metrics,
    losses: Float[Array, " b"],
    logits: Float[Array, "b k"],
    labels: Int[Array, " b"],
    counts: Bool[Array, " b"],
    step: Int[Array, ""],
) -> Metrics:
    loss = jnp.sum(losses, where=counts)
    bad_step = jnp.where(jnp.isfinite(loss), NEVER, step)
    hits = jnp.argmax(logits, axis=-1) == labels
    return Metrics(
        batches=metrics.batches + 1,
        loss=metrics.loss + loss,
        correct=metrics.correct + jnp.sum(hits, where=counts, dtype=jnp.int32),
        examples=metrics.examples + jnp.sum(counts, dtype=jnp.int32),
        first_bad_step=jnp.minimum(metrics.first_bad_step, bad_step),
    )
