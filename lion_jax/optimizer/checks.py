"""What the optimizer refuses at construction: in one line, with the value and the rule.

Also which numbers have a value at that time: all but those that JAX traces.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

# Optax gives its numbers the dtype of the weights, in which 0.999 may be 1.
INJECTED = "; with optax.inject_hyperparams set hyperparam_dtype=jnp.float32"


def is_known(x: object) -> bool:
    """Whether x is a number that has a value now: one that is not traced."""
    return _is_number(x) and not isinstance(x, jax.core.Tracer)


def check_number(
    name: str,
    value: object,
    holds: Callable[[float], bool],
    rule: str,
    *,
    schedule: bool = False,
) -> None:
    """Refuses what is not a number, and a number outside of its range.

    Args:
      name: Name of the argument.
      value: Its value; one that is traced is taken as it is.
      holds: Whether a number is in the range.
      rule: The range in words.
      schedule: Whether a function of the step's count is allowed too.

    Raises:
      TypeError: If it is not a number, and not a schedule where one is allowed.
      ValueError: If it is a number outside of its range.
    """
    if schedule and callable(value):
        return
    if not _is_number(value):
        allowed = "a number or a schedule" if schedule else "a number"
        remedy = INJECTED * np.iscomplexobj(value)
        raise TypeError(
            f"lion: {name}={value!r}, but it must be {allowed}, {rule}{remedy}."
        )
    number: Any = value
    if is_known(number) and not holds(float(number)):
        dtype = jnp.result_type(number)
        rounded = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
        raise ValueError(
            f"lion: {name}={value!r}, but it must be {rule}{INJECTED * rounded}."
        )


def check_rate(name: str, value: object) -> None:
    """Refuses what is neither a number >= 0 nor a schedule, as `check_number` does."""
    rule = ">= 0 and finite"
    check_number(name, value, lambda rate: 0 <= rate < math.inf, rule, schedule=True)


def check_mask(mask: Any) -> None:
    """Refuses a mask that holds anything but booleans and functions.

    Raises:
      TypeError: If it does: a text would be true for all parameters.
    """
    for leaf in jax.tree.leaves(mask):
        dtype = getattr(leaf, "dtype", np.dtype(type(leaf)))
        if not callable(leaf) and dtype.kind not in "biu":
            raise TypeError(
                f"lion: mask holds {leaf!r}, but it must be a tree of booleans, or a"
                " function that makes one from the parameters."
            )


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Refuses a value that is none of some names.

    Raises:
      ValueError: If it is none of them.
    """
    if value not in choices:
        raise ValueError(f"lion: {name}={value!r}, but it must be one of {choices}.")


def check_flag(name: str, value: object) -> None:
    """Refuses what is no boolean: a number or a text would be true.

    Raises:
      TypeError: If it is none.
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"lion: {name}={value!r}, but it must be True or False.")


def check_decay(weight_decay: object, cautious: object, independent: object) -> None:
    """Refuses a way to decay without any decay.

    Raises:
      TypeError: If one of the two is no boolean.
      ValueError: If the decay is zero and one of the two is set.
    """
    check_flag("cautious_weight_decay", cautious)
    check_flag("independent_weight_decay", independent)
    if is_zero(weight_decay) and (cautious or independent):
        raise ValueError(
            f"lion: {weight_decay=}, but cautious_weight_decay={cautious} and"
            f" independent_weight_decay={independent} say how to decay; set"
            " weight_decay > 0 or both to False."
        )


def is_zero(value: object) -> bool:
    """Whether a value is the Python number 0, of which nothing need be computed."""
    return isinstance(value, int | float) and value == 0


def _is_number(x: Any) -> bool:
    if isinstance(x, int | float):
        return True
    arrays = np.number | np.ndarray | jax.Array
    return isinstance(x, arrays) and np.ndim(x) == 0 and not np.iscomplexobj(x)
