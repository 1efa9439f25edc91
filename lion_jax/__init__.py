"""The Lion optimizer in JAX: `lion` composes into chains of Optax."""

from lion_jax import startup as startup  # first: it is for the time of the imports
from lion_jax.optimizer.adopt import from_optax, to_optax
from lion_jax.optimizer.averaging import averaged, with_ema
from lion_jax.optimizer.bf16 import with_error_bits, with_stochastic_rounding
from lion_jax.optimizer.lion import lion, scale_by_lion
from lion_jax.optimizer.state import LionState

__version__ = "0.2.0"

__all__ = [
    "LionState",
    "averaged",
    "from_optax",
    "lion",
    "scale_by_lion",
    "to_optax",
    "with_ema",
    "with_error_bits",
    "with_stochastic_rounding",
]
