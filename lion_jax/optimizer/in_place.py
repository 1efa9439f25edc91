"""From which momentum the interpolation is read: the old one or the new one.

The interpolation c = b1 m + (1 - b1) g is defined by the old momentum m. Read from it, c
keeps the old momentum alive until the last weight is written, so that the new one cannot
overwrite it: XLA:CPU then copies every momentum first, and the step takes three times as
long. With the new momentum m' = b2 m + (1 - b2) g the same c is

    c = b1/b2 (m' + (b2/b1 - 1) g)

Nothing in it reads the old momentum, so m' is written where m was. The factor b1/b2 > 0
does not change a sign and is left out where only the sign is used.

The old momentum is read where the new one does not determine c accurately (b1 = 0,
b1 > b2, a momentum in float16 or int8, which rounding may carry across c = 0), and where
XLA:CPU writes momentum and weights in one loop anyway (`ONE_LOOP`). A bfloat16 momentum
is rounded to the side of c = 0 where it was (`side`).
"""

import os
from typing import Any

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from lion_jax.optimizer import int8, momentum
from lion_jax.optimizer.momentum import Momentum

# With this in XLA_FLAGS, XLA:CPU makes one loop of all that reads the same momentum.
ONE_LOOP = "xla_cpu_use_multi_output_fusion=true"


class Interpolation:
    """c = b1 m + (1 - b1) g, from whichever momentum the compiled step profits."""

    def __init__(self, b1: ArrayLike, b2: ArrayLike) -> None:
        self.b1, self.b2 = b1, b2
        self.ahead = _look_ahead(b1, b2)
        self.one_loop = ONE_LOOP in os.environ.get("XLA_FLAGS", "")

    def side(self, m: Momentum, g: Array) -> Any:
        """The number that the rounding of the new momentum must not cross, if any."""
        return -self.ahead * g if self._reads_new(m) else None

    def __call__(self, g: Array, old: Momentum, new: Momentum, *, exact: bool) -> Any:
        """Returns c; unless `exact`, up to a positive factor."""
        if self._reads_new(old):
            c = momentum.load(new) + self.ahead * g
            return self.b1 / self.b2 * c if exact else c
        return (1.0 - self.b1) * g + self.b1 * momentum.load(old)

    def _reads_new(self, m: Momentum) -> bool:
        if self.ahead is None or isinstance(m, int8.Int8Momentum):
            return False
        fused = self.one_loop and m.dtype == jnp.float32
        return not fused and m.dtype != jnp.float16


def _look_ahead(b1: ArrayLike, b2: ArrayLike) -> Any:
    """Returns b2/b1 - 1, or None where the new momentum does not tell c accurately."""
    if isinstance(b1, int | float) and isinstance(b2, int | float) and 0 < b1 <= b2:
        return b2 / b1 - 1
    return None
