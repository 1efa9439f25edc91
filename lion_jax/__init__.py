"""The Lion optimizer in JAX: `lion` composes into any Optax chain."""

from lion_jax.optimizer.bf16 import with_error_bits, with_stochastic_rounding
from lion_jax.optimizer.lion import LionState, lion, scale_by_lion

__all__ = [
    "LionState",
    "lion",
    "scale_by_lion",
    "with_error_bits",
    "with_stochastic_rounding",
]
