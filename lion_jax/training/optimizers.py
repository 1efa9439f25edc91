"""From the optimizer's configuration to an Optax chain."""

from typing import cast

import jax
import optax

from lion_jax.config import OptimizerConfig
from lion_jax.optimizer.lion import Mode, lion


def make_schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Makes the learning rate's schedule.

    Args:
      config: Learning rate, schedule, share of the steps that warm up.
      steps: Number of optimizer steps in the whole run.

    Returns:
      A function from the step's index to the learning rate.
    """
    peak = config.learning_rate
    warmup = round(config.warmup_fraction * steps)
    if config.schedule == "cosine":
        rest = optax.cosine_decay_schedule(peak, max(1, steps - warmup))
    else:
        rest = optax.constant_schedule(peak)
    # Step i warms up to (i + 1) / warmup of the peak: no step is wasted on rate 0.
    rise = optax.linear_schedule(peak / max(1, warmup), peak, max(1, warmup - 1))
    return optax.join_schedules([rise, rest], [warmup]) if warmup else rest


def kernels(params: optax.Params) -> optax.Params:
    """Marks the weights of linear maps and convolutions, not biases, scales, tokens."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: str(getattr(path[-1], "key", "")) == "kernel", params
    )


def make_optimizer(
    config: OptimizerConfig, steps: int
) -> optax.GradientTransformationExtraArgs:
    """Makes gradient clipping and the optimizer with its schedule and decay mask.

    SGD's weight decay is added to the gradient, as is the custom; the others' is
    decoupled.

    Args:
      config: The optimizer's configuration.
      steps: Number of optimizer steps in the whole run.
    """
    rate = make_schedule(config, steps)
    mask = kernels if config.decay == "kernels" else None
    decay, b1, b2 = config.weight_decay, config.b1, config.b2
    if config.name == "lion":
        optimizer = lion(
            rate,
            b1,
            b2,
            mu_dtype=config.mu_dtype,
            weight_decay=decay,
            mask=mask,
            mode=cast(Mode, config.mode),  # checked by the configuration
            cautious=config.cautious,
            cautious_weight_decay=config.cautious_weight_decay,
            independent_weight_decay=config.independent_weight_decay,
        )
    elif config.name == "adamw":
        optimizer = optax.adamw(
            rate, b1, b2, eps=config.eps, weight_decay=decay, mask=mask
        )
    else:
        optimizer = optax.chain(
            optax.add_decayed_weights(decay, mask),
            optax.sgd(rate, momentum=config.momentum),
        )
    clip = optax.clip_by_global_norm(config.clip_norm) if config.clip_norm else None
    return optax.chain(*([clip] if clip else []), optimizer)
