"""What Lion remembers between steps."""

from typing import NamedTuple

import optax
from jax.typing import ArrayLike
from jaxtyping import Array, Int


class LionState(NamedTuple):
    """The number of updates so far, and one momentum."""

    count: ArrayLike  # int32 scalar
    mu: optax.Updates  # like the parameters


class QuantizedLionState(NamedTuple):
    """The same with an int8 momentum; all leaves of `mu` lie as the parameters do."""

    count: ArrayLike  # int32 scalar
    mu: optax.Updates  # int8 codes; float32 for small arrays
    exponents: Int[Array, " arrays"]  # one per array of codes, in order; or a 0
