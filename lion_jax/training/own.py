"""The user's own: rows of MODELS, OPTIMIZERS and SCHEDULES that references make."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import optax
from flax import nnx

from lion_jax import references
from lion_jax.config import ConfigError, ModelConfig, OptimizerConfig

# What an optimizer, or a schedule, may call its arguments: the first that it takes.
RATE = "learning_rate", "schedule"
MASK = "mask", "weight_decay_mask"
PEAK = "learning_rate", "peak_value", "init_value", "value"
STEPS = "steps", "decay_steps", "transition_steps"


def model(
    config: ModelConfig, given: Mapping[str, Any]
) -> Callable[[nnx.Rngs], nnx.Module]:
    """Returns the function that makes the model which a reference names.

    Args:
      config: Its name is a reference.
      given: `image_size`, `num_classes` and `channels`.

    Raises:
      ConfigError: If the reference names no function, or one of another signature.
    """
    field, name = "model.name", config.name
    function = references.load(field, name)
    given = {**given, "dtype": jnp.dtype(config.dtype), "rngs": None}
    taken = references.arguments(field, name, function, given, config.options)
    if "rngs" not in taken:
        raise ConfigError(
            f"{field}={name!r}: it must take rngs, the seed's random keys; add that"
            " parameter, and pass it to its layers."
        )
    if "dtype" not in taken and config.dtype != "float32":
        raise ConfigError(
            f"model.dtype={config.dtype!r}, but {name} takes no dtype; add that"
            " parameter, or set --config.model.dtype=float32."
        )

    def make(rngs: nnx.Rngs) -> nnx.Module:
        with references.blamed(field, name):
            made = function(**{**taken, "rngs": rngs})
        if not isinstance(made, nnx.Module):
            raise ConfigError(
                f"{field}={name!r}: it returned {type(made).__name__}, but must return"
                " a flax.nnx.Module; a Linen module becomes one with flax.nnx.bridge."
            )
        return made

    return make


def optimizer(
    config: OptimizerConfig,
    rate: optax.Schedule,
    mask: Callable[[optax.Params], optax.Params] | None,
) -> optax.GradientTransformation:
    """Returns the optimizer that a reference names.

    Args:
      config: Its name is a reference.
      rate: The learning rate's schedule.
      mask: Marks the parameters that decay; None for all.

    Raises:
      ConfigError: If the reference names no function, or one of another signature, or
        what it returns is no optimizer.
    """
    field, name = "optimizer.name", config.name
    function = references.load(field, name)
    taken = references.parameters(field, name, function)
    of_rate, of_mask = _first(RATE, taken), _first(MASK, taken)
    if not of_rate:
        raise ConfigError(
            f"{field}={name!r}: it takes {', '.join(taken) or 'nothing'}, but must take"
            f" {' or '.join(RATE)}; wrap it in a function that does."
        )
    if mask and not of_mask:
        raise ConfigError(
            f"optimizer.decay={config.decay!r}, but {name} takes no mask; set"
            " --config.optimizer.decay=all."
        )
    given: dict[str, Any] = {of_rate: rate}
    if of_mask:  # without a mask, its own default stands for all parameters
        given[of_mask] = mask or references.DEFAULT
    return _made(
        field, name, function, given, config.options, optax.GradientTransformation
    )


def schedule(config: OptimizerConfig, steps: int) -> optax.Schedule:
    """Returns the schedule that a reference names.

    Args:
      config: Its schedule is a reference.
      steps: Number of optimizer steps after the warm-up.

    Raises:
      ConfigError: As `optimizer`.
    """
    field, name = "optimizer.schedule", config.schedule
    function = references.load(field, name)
    taken = references.parameters(field, name, function)
    if not (of_peak := _first(PEAK, taken)):
        raise ConfigError(
            f"{field}={name!r}: it takes {', '.join(taken) or 'nothing'}, but must take"
            f" {', '.join(PEAK[:-1])} or {PEAK[-1]}; wrap it in a function that does."
        )
    given: dict[str, Any] = {of_peak: config.learning_rate}
    of_steps = _first(STEPS, taken)
    if of_steps and of_steps not in config.schedule_options:
        given[of_steps] = steps
    return _made(field, name, function, given, config.schedule_options, Callable)


def _made(
    field: str,
    name: str,
    function: Callable[..., Any],
    given: Mapping[str, Any],
    options: Mapping[str, Any],
    kind: Any,
) -> Any:
    """Calls a function of the user's own, and checks what it returns."""
    arguments = references.arguments(field, name, function, given, options)
    with references.blamed(field, name):
        made = function(**arguments)
    if not isinstance(made, kind):
        raise ConfigError(
            f"{field}={name!r}: it returned {type(made).__name__}, but must return"
            f" {'an optax.' if kind is not Callable else 'a '}{kind.__name__}."
        )
    return made


def _first(names: tuple[str, ...], taken: Mapping[str, Any]) -> str:
    """Returns the first of some names that a function takes; empty for none."""
    return next((name for name in names if name in taken), "")
