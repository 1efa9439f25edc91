"""From which momentum the interpolation is read: the old one or the new one.

The interpolation c = b1 m + (1 - b1) g is defined by the old momentum m. Read from it,
c keeps m alive until the last weight is written, so that the new momentum cannot be
written where m is: XLA:CPU then copies every momentum first. With the new momentum
m' = b2 m + (1 - b2) g the same c is

    c = b1/b2 (m' + (b2/b1 - 1) g)

Nothing in it reads the old momentum. The factor b1/b2 > 0 does not change a sign and
is left out where only the sign is used. A bfloat16 m' is rounded to the side of c = 0
where it was (`side`), so that rounding does not change the sign either; where two terms
cancel in c = 0, either sign is taken, unless m' needs no rounding.

The old momentum is read, and on a CPU copied, where the new one does not determine c
accurately: b1 = 0, b1 > b2, a momentum in float16, float8 or int8, or, where more than
the sign of c is used, in bfloat16. It is read without a copy where XLA:CPU writes a
float32 momentum and weights in one loop (`ONE_LOOP`).

Betas that are traced, as by `optax.inject_hyperparams`, have no value to decide by.
Then the sign of c is read from the new momentum; it is g's where b1 = 0. (Where more
than the sign is used, the old one is read, also for c's derivatives.) Where b2 < b1,
m' holds less of m: c's rounding error is up to 16 / (1 - b1) times as large. Where
b2 < b1 / 16, c is NaN. To use such betas, keep them out of the trace:
`optax.inject_hyperparams(lion, static_args=("b1", "b2"))`.
"""

import dataclasses
import os
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from lion_jax.optimizer import int8, momentum
from lion_jax.optimizer.checks import is_known
from lion_jax.optimizer.leaves import factor
from lion_jax.optimizer.momentum import Momentum

# With this in XLA_FLAGS, XLA:CPU makes one loop of all that reads the same momentum.
ONE_LOOP = "xla_cpu_use_multi_output_fusion=true"
MIN_RATIO = 1 / 16  # of traced b2 to b1: b2/b1 - 1 loses at most four bits of b2/b1


@dataclasses.dataclass(frozen=True)
class Interpolation:
    """c = b1 m + (1 - b1) g, from the old momentum m or from the new one."""

    b1: Any
    b2: Any
    ahead: Any  # b2/b1 - 1, or None where the new momentum is not to be read
    exact: bool  # whether more than the sign is used
    one_loop: bool

    @classmethod
    def of(
        cls, b1: ArrayLike, b2: ArrayLike, *, exact: bool = False
    ) -> "Interpolation":
        """Decides by the betas, and by the flags of XLA in force now.

        Args:
          b1: Weight of the momentum.
          b2: The momentum's decay rate.
          exact: Whether more of c than its sign is used.
        """
        one_loop = ONE_LOOP in os.environ.get("XLA_FLAGS", "")
        ahead = _look_ahead(b1, b2)
        if exact and not isinstance(ahead, float):
            ahead = None  # whose derivative a choice between cases would cut
        return cls(b1, b2, ahead, exact, one_loop)

    def side(self, m: Momentum, g: Array) -> Any:
        """The number that the rounding of the new momentum must not cross, if any."""
        if not self._is_from_new(m):
            return None
        # With b1 = b2 it is 0, also where the gradient is infinite.
        return jnp.where(self.ahead == 0, 0.0, -factor(self.ahead, g) * g)

    def __call__(self, g: Array, old: Momentum, new: Momentum) -> Any:
        """Returns c; unless it is to be exact, up to a positive factor."""
        b1, b2 = factor(self.b1, g), factor(self.b2, g)
        if not self._is_from_new(old) or self._is_one_loop(old):
            return (1.0 - b1) * g + b1 * momentum.load(self._apart(old))
        c, ratio = momentum.load(self._apart(new)), b1 / b2
        if not isinstance(self.ahead, float):
            # With b1 = b2 an infinite gradient must not be multiplied by zero.
            c = jnp.where(self.ahead == 0, c, c + factor(self.ahead, g) * g)
            return jnp.where(b1 == 0, g, c)
        c = c + self.ahead * g if self.ahead else c
        return ratio * c if self.exact else c

    def _is_from_new(self, m: Momentum) -> bool:
        if self.ahead is None or isinstance(m, int8.Int8Momentum):
            return False
        if m.dtype == jnp.bfloat16:
            return not self.exact
        return m.dtype.itemsize >= 4

    def _apart(self, m: Momentum) -> Momentum:
        """Keeps XLA:CPU from computing a narrow momentum and its reader together.

        One loop of all is slower with int8. With oneDNN's products XLA takes bfloat16's
        rounding back for the reader, and then writes float32 values for both.
        """
        if not self.one_loop:
            return m
        if isinstance(m, int8.Int8Momentum):
            return m._replace(codes=jax.lax.optimization_barrier(m.codes))
        return jax.lax.optimization_barrier(m) if m.dtype == jnp.bfloat16 else m

    def _is_one_loop(self, m: Momentum) -> bool:
        return self.one_loop and m.dtype == jnp.float32


def _look_ahead(b1: Any, b2: Any) -> Any:
    """Returns b2/b1 - 1, or None where the new momentum does not tell c accurately."""
    if is_known(b1) and is_known(b2):
        b1, b2 = float(b1), float(b2)
        return b2 / b1 - 1 if 0 < b1 <= b2 else None
    b1, b2 = (jnp.asarray(b, float) for b in (b1, b2))  # float64 where JAX has it
    enough = b2 >= MIN_RATIO * b1
    return jnp.where(enough, (b2 - b1) / jnp.where(b1 == 0, 1, b1), jnp.nan)
