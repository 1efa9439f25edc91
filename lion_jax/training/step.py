"""The training and the evaluation step: pure functions of pytrees, to be jitted.

Nothing here reads from the host: batches are cut out of arrays that lie on the devices,
whole splits or windows of them (`lion_jax.training.streaming`), and sums for loss and
accuracy stay there until an epoch ends.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int, Key, PyTree

from lion_jax.training import calls, computed, sharding, voting
from lion_jax.training.averaging import advance
from lion_jax.training.loss import Batch, loss_of
from lion_jax.training.state import (
    NEVER,
    Evaluated,
    Examples,
    Metrics,
    Model,
    Outputs,
    Stepped,
    TrainState,
)
from lion_jax.training.task import Task


def init_model(
    make_model: Callable[[nnx.Rngs], nnx.Module], key: Key[Array, ""]
) -> Model:
    """Makes parameters and batch-norm statistics from the seed's key."""
    # Streams that a model of the user's own may draw from, besides its weights', which
    # are drawn from the key with small numbers folded in.
    other = jax.random.fold_in(key, NEVER)
    return Model(*calls.parts_of(make_model(nnx.Rngs(other, params=key))))


def init_state(task: Task, key: Key[Array, ""]) -> TrainState:
    """Makes the state before the first step from the seed's key."""
    return begin(task, init_model(task.make_model, key))


def begin(task: Task, model: Model) -> TrainState:
    """Makes the state before the first step with a model's numbers."""
    return TrainState(
        step=jnp.zeros([], jnp.int32),
        **model._asdict(),
        opt_state=voting.for_each_device(
            task.optimizer.init(model.params), task.layout
        ),
        metrics=Metrics.zeros(),
        stats_ema=task.stats_ema and task.stats_ema.init(model.batch_stats),
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
      examples: The training split; if it is streamed, the window with the batch.
      order: The epoch's order; the batch is the slice that follows those already in
        `state.metrics`. If they are streamed, in that order, the numbers from 0.
      key: Key of the run's augmentation; each step folds its own number into it.

    Returns:
      The state after, and the batch's mean loss (with label smoothing, if any).
    """
    start = state.metrics.batches * task.batch_size
    rows = jax.lax.dynamic_slice(order, (start,), (task.batch_size,))
    pixels, labels = _cut(task, examples, rows)
    key = jax.random.fold_in(key, state.step)
    batch = Batch(task.augment(pixels, key=key), labels, 0)
    take = partial(_take, task, graph)
    if task.layout.vote:
        take = voting.by_vote(take, task.layout)
    with task.layout.in_force():
        loss, outputs, params, opt_state = take(state, batch, key)
    everything = jnp.ones(labels.shape, bool)
    return TrainState(
        step=state.step + 1,
        params=params,
        batch_stats=outputs.batch_stats,
        opt_state=opt_state,
        metrics=state.metrics.add(
            outputs.losses, outputs.logits, labels, everything, state.step + 1
        ),
        stats_ema=advance(task.stats_ema, state.stats_ema, outputs.batch_stats),
    ), loss


def _take(
    task: Task,
    graph: nnx.GraphDef,
    state: TrainState,
    batch: Batch,
    key: Key[Array, ""],
) -> Stepped:
    """Computes a batch's gradient and takes the optimizer's step."""
    differentiate = jax.value_and_grad(
        partial(loss_of, task=task, graph=graph), has_aux=True
    )
    if task.accumulate > 1:
        differentiate = partial(_accumulate, differentiate, task.accumulate)
    ((loss, outputs), grads), dtypes = _of_whole(
        task.layout, differentiate, state.params, state.batch_stats, batch, key
    )
    with jax.named_scope("optimizer"):
        grads = task.layout.divided(grads, dtypes[1]) if dtypes else grads
        updates, opt_state = task.optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
    return Stepped(loss, outputs, params, opt_state)


def _of_whole(
    layout: sharding.Layout,
    function: Callable[..., Any],
    params: PyTree[Array],
    *rest: Any,
) -> tuple[Any, PyTree[Any]]:
    """Calls a function with whole parameters, on devices that may have parts of them.

    Returns:
      What it returns, and the dtypes in which that is computed; None where no device
      has a part of anything.
    """
    if layout.mode == "data":
        return function(params, *rest), None
    function, given, returned = computed.traced(function, params, *rest)
    return function(layout.gathered(params, given), *rest), returned


def _accumulate(
    differentiate: Callable[..., Any],
    parts: int,
    params: PyTree[Array],
    batch_stats: PyTree[Array],
    batch: Batch,
    key: Key[Array, ""],
) -> tuple[tuple[Float[Array, ""], Outputs], PyTree[Array]]:
    """Sends a batch through the model in several parts and averages their gradients.

    Each part is batch-normed by itself, and updates the statistics in turn.
    """

    def cut(x):  # every part takes from all devices, which hold stretches of the batch
        return x.reshape(-1, parts, *x.shape[1:]).swapaxes(0, 1)

    def join(x):
        return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])

    def take_in(carried, part):
        total, batch_stats = carried
        (_, outputs), grads = differentiate(params, batch_stats, part, key)
        added = jax.tree.map(jnp.add, total, grads)
        return (added, outputs.batch_stats), (outputs.losses, outputs.logits)

    (total, batch_stats), per_part = jax.lax.scan(
        take_in,
        (jax.tree.map(jnp.zeros_like, params), batch_stats),
        Batch(
            cut(batch.images),
            cut(batch.labels),
            batch.part * parts + jnp.arange(parts, dtype=jnp.int32),
        ),
    )
    losses, logits = map(join, per_part)
    grads = jax.tree.map(lambda x: x / parts, total)
    return (losses.mean(), Outputs(losses, logits, batch_stats)), grads


def train_steps(
    count: int,
    task: Task,
    graph: nnx.GraphDef,
    state: TrainState,
    examples: Examples,
    order: Int[Array, " n"],
    key: Key[Array, ""],
) -> tuple[TrainState, Float[Array, ""]]:
    """Takes `count` steps in one program; arguments and results as of `train_step`."""
    # A GPU's loop whose length is no part of the program is stepped by the host.

    def step(_, carried):
        return train_step(task, graph, carried[0], examples, order, key)

    return jax.lax.fori_loop(0, count, step, (state, jnp.zeros([], jnp.float32)))


def eval_step(
    task: Task,
    graph: nnx.GraphDef,
    params: PyTree[Array],
    batch_stats: PyTree[Array],
    examples: Examples,
    count: Int[Array, ""],
    sums: Evaluated,
) -> Evaluated:
    """Adds the next batch of a split's first `count` examples to the sums.

    Every example counts once: the last batch is filled up with copies of the last
    example, which do not count.
    """
    size = task.eval_batch_size
    rows = sums.metrics.batches * size + jnp.arange(size, dtype=jnp.int32)
    pixels, labels = _cut(task, examples, jnp.minimum(rows, count - 1))
    (logits, _), _ = _of_whole(
        task.layout,
        partial(task.call, graph, train=False),
        params,
        batch_stats,
        task.standardize(pixels),
    )
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return sums.add(losses, logits, labels, rows < count)


def _cut(task: Task, examples: Examples, rows: Int[Array, " b"]) -> tuple[Any, Any]:
    # The examples of a streamed split are a window, whose batches go round.
    rows = task.layout.spread(rows % len(examples.labels) if task.streamed else rows)
    return examples.images[rows], examples.labels[rows]
