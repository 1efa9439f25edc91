"""Which model is evaluated and saved: the last weights, or their average.

With `optimizer.ema_decay` the optimizer's state holds the average of the parameters.
Batch-norm statistics are averaged alike, by the same function around an optimizer that
does nothing: they belong to the weights of their own step, and an average of weights
needs the average of those.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from lion_jax.optimizer.averaging import averaged, with_ema
from lion_jax.training.state import Model, TrainState


def of_statistics(decay: float) -> optax.GradientTransformation | None:
    """Returns what averages batch-norm statistics; None without an average."""
    return with_ema(optax.identity(), decay) if decay else None


def advance(
    statistics: optax.GradientTransformation | None,
    state: Any,
    batch_stats: PyTree[Array],
) -> Any:
    """Returns the state of the statistics' average after a step.

    Args:
      statistics: From `of_statistics`.
      state: The state before, of `statistics.init`; None if that is None.
      batch_stats: The statistics after the step.
    """
    if statistics is None:
        return None
    still = jax.tree.map(jnp.zeros_like, batch_stats)
    return statistics.update(still, state, batch_stats)[1]


def evaluated(state: TrainState) -> Model:
    """Returns the model of a state that is evaluated, saved, tested and used."""
    last = Model(state.params, state.batch_stats)
    if state.stats_ema is None:
        return last
    average = Model(
        averaged(state.opt_state, state.params),
        averaged(state.stats_ema, state.batch_stats),
    )
    # The optimizer's state may lie in parts on devices that have whole parameters.
    there, wanted = (jax.tree.map(lambda x: x.sharding, m) for m in (average, last))
    return average if there == wanted else jax.jit(_same, out_shardings=wanted)(average)


def _same(model: Model) -> Model:
    return model
