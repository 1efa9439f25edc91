"""Optimizers by name, one row of OPTIMIZERS each, as Optax chains."""

import fnmatch
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from lion_jax.config import ConfigError, OptimizerConfig
from lion_jax.config.reference import parse
from lion_jax.optimizer.averaging import with_ema
from lion_jax.optimizer.lion import Exchange, Mode, lion
from lion_jax.training import own, sharding, stored
from lion_jax.training.gradients import clip_by_global_norm, for_few_kernels

Mask = Callable[[optax.Params], optax.Params]


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
    left = max(1, steps - warmup)
    if parse(config.schedule):
        rest = own.schedule(config, left)
    else:
        rest = SCHEDULES[config.schedule](peak, left)
    # Step i warms up to (i + 1) / warmup of the peak: no step is wasted on rate 0.
    rise = optax.linear_schedule(peak / max(1, warmup), peak, max(1, warmup - 1))
    return optax.join_schedules([rise, rest], [warmup]) if warmup else rest


def kernels(params: optax.Params) -> optax.Params:
    """Marks the weights of linear maps and convolutions, not biases, scales, tokens."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: str(getattr(path[-1], "key", "")) == "kernel", params
    )


def make_optimizer(
    config: OptimizerConfig,
    steps: int,
    layout: sharding.Layout = sharding.ONE_DEVICE,
) -> optax.GradientTransformationExtraArgs:
    """Makes clipping, the optimizer with its schedule and decay mask, and the EMA.

    Args:
      config: The optimizer's configuration.
      steps: Number of optimizer steps in the whole run.
      layout: Between which devices its state is divided, and how.
    """
    rate = make_schedule(config, steps)
    mask = kernels if config.decay == "kernels" else None
    if parse(config.name):
        optimizer = own.optimizer(config, rate, mask)
    else:
        options = {name: getattr(config, name) for name in parameters(config.name)}
        if layout.vote or layout.mode == "zero1":
            options["exchange"] = layout.exchanged
        optimizer = OPTIMIZERS[config.name](rate, mask, **options)
    # Joining what is divided would move it.
    sharded = layout.mode != "data"
    by_norm = optax.clip_by_global_norm if sharded else clip_by_global_norm
    clip = by_norm(config.clip_norm) if config.clip_norm else None
    trained = optax.chain(*([clip] if clip else []), optimizer)
    if not sharded:
        trained = for_few_kernels(trained)
    if config.ema_decay:
        trained = with_ema(trained, config.ema_decay)
    if not config.freeze:
        return trained
    # Frozen parameters have no momentum, no average, and no part in the clipped norm.
    parts: dict[Any, Any] = {False: trained, True: optax.set_to_zero()}
    return optax.partition(parts, lambda params: frozen(params, config.freeze))


def frozen(params: optax.Params, patterns: str) -> optax.Params:
    """Marks the parameters that `optimizer.freeze` names, in a tree of their form.

    Args:
      params: The parameters, or their shapes.
      patterns: Of paths such as `blocks.0.layer1.conv.kernel`, with * and ?, by commas.

    Raises:
      ConfigError: If a pattern names none, or together they name all.
    """
    paths = [
        stored.name_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)
    ]
    matches = {
        pattern: {path for path in paths if fnmatch.fnmatchcase(path, pattern)}
        for pattern in map(str.strip, patterns.split(","))
    }
    for pattern, matched in matches.items():
        if not matched:
            raise ConfigError(
                f"optimizer.freeze={patterns!r}, but {pattern!r} names no parameter;"
                f" give paths such as {paths[0]} or {paths[-1].partition('.')[0]}.*."
            )
    union = set[str]().union(*matches.values())
    if len(union) == len(paths):
        raise ConfigError(
            f"optimizer.freeze={patterns!r} leaves no parameter to train; name fewer."
        )
    marks = iter([path in union for path in paths])
    return jax.tree.map(lambda _: next(marks), params)


def parameters(name: str) -> Mapping[str, Any]:
    """Returns the fields that an optimizer takes, with its own defaults."""
    taken = inspect.signature(OPTIMIZERS[name]).parameters.values()
    return {p.name: p.default for p in taken if p.kind is p.KEYWORD_ONLY}


def make_adamw(
    rate: optax.Schedule,
    mask: Mask | None,
    *,
    b1: float,
    b2: float,
    eps: float,
    weight_decay: float,
) -> optax.GradientTransformation:
    """Makes AdamW (Loshchilov and Hutter, 2019); its weight decay is decoupled."""
    return optax.adamw(rate, b1, b2, eps, weight_decay=weight_decay, mask=mask)


def make_lion(
    rate: optax.Schedule,
    mask: Mask | None,
    exchange: Exchange | None = None,
    *,
    b1: float,
    b2: float,
    weight_decay: float,
    mu_dtype: str,
    mode: Mode,
    cautious: bool,
    cautious_weight_decay: bool,
    independent_weight_decay: bool,
) -> optax.GradientTransformation:
    """Makes Lion (Chen et al., 2023) or a variant; its weight decay is decoupled."""
    return lion(
        rate,
        b1,
        b2,
        mu_dtype=mu_dtype,
        weight_decay=weight_decay,
        mask=mask,
        mode=mode,
        cautious=cautious,
        cautious_weight_decay=cautious_weight_decay,
        independent_weight_decay=independent_weight_decay,
        exchange=exchange,
    )


def make_sgd(
    rate: optax.Schedule, mask: Mask | None, *, momentum: float, weight_decay: float
) -> optax.GradientTransformation:
    """Makes SGD with momentum; weight decay is added to the gradient, as usual."""
    return optax.chain(
        optax.add_decayed_weights(weight_decay, mask),
        optax.sgd(rate, momentum=momentum),
    )


# A row is a function of the peak learning rate and the number of steps after the
# warm-up. A reference makes another one.
SCHEDULES: dict[str, Callable[[float, int], optax.Schedule]] = {
    "constant": lambda peak, _: optax.constant_schedule(peak),
    "cosine": optax.cosine_decay_schedule,
}

# A row is a function of the learning rate and the mask of what decays. Its keywords are
# fields of `OptimizerConfig`; those that no keyword names do not apply. A reference
# makes another one, whose keywords are options.
OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
    "lion": make_lion,
    "adamw": make_adamw,
    "sgd": make_sgd,
}
