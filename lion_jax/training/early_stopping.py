"""Early stopping as a pure fold over the epochs' validation losses.

Two things are kept apart: the best epoch is the one of the lowest loss, by however
little; patience counts the epochs since the loss last fell by more than `min_delta`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


class EarlyStoppingState(NamedTuple):
    """What the fold carries from epoch to epoch; scalars."""

    best_loss: jax.Array  # float32, inf before the first finite loss
    best_epoch: jax.Array  # int32, counted from 1; 0 for none yet
    reference: jax.Array  # float32, the loss that the next must undercut by min_delta
    waited: jax.Array  # int32, epochs since then
    stop: jax.Array  # bool


def init() -> EarlyStoppingState:
    """Returns the state before the first epoch."""
    infinity, zero = jnp.float32(jnp.inf), jnp.int32(0)
    return EarlyStoppingState(infinity, zero, infinity, zero, jnp.bool_(False))


def update(
    state: EarlyStoppingState,
    loss: ArrayLike,
    epoch: ArrayLike,
    *,
    patience: ArrayLike,
    min_delta: ArrayLike = 0.0,
    start_epoch: ArrayLike = 1,
) -> EarlyStoppingState:
    """Takes in one epoch's validation loss.

    Args:
      state: The state after the epoch before.
      loss: Validation loss; a non-finite one is never an improvement.
      epoch: Number of the epoch, from 1.
      patience: Stop after this many epochs in a row without improvement; 0 never
        stops.
      min_delta: An improvement is a fall of the loss by more than this, >= 0.
      start_epoch: First epoch whose lack of improvement counts; the best epoch is
        tracked from the first on.

    Returns:
      The new state; works on Python numbers and on traced arrays alike.

    Examples:
      >>> from lion_jax.training import early_stopping
      >>> state = early_stopping.init()
      >>> for epoch, loss in enumerate([0.5, 0.4, 0.4, 0.6], start=1):
      ...     state = early_stopping.update(state, loss, epoch, patience=2)
      >>> print(state.best_epoch, state.stop)
      2 True
    """
    loss = jnp.where(jnp.isfinite(loss), jnp.float32(loss), jnp.float32(jnp.inf))
    is_best = loss < state.best_loss
    improves = loss < state.reference - min_delta
    counts = jnp.int32(epoch) >= start_epoch
    waited = jnp.where(improves | ~counts, 0, state.waited + 1).astype(jnp.int32)
    return EarlyStoppingState(
        best_loss=jnp.where(is_best, loss, state.best_loss),
        best_epoch=jnp.where(is_best, jnp.int32(epoch), state.best_epoch),
        reference=jnp.where(improves, loss, state.reference),
        waited=waited,
        stop=(waited >= patience) & (jnp.asarray(patience) > 0),
    )
