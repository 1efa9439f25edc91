"""The Lion optimizer in JAX: `lion` composes into any Optax chain."""

from lion_jax.lion import LionState, lion, scale_by_lion

__all__ = ["LionState", "lion", "scale_by_lion"]
