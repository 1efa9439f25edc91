"""Lion by majority vote; `help(scale_by_distributed_lion)` explains it."""

from lion_jax.optimizer.distributed import scale_by_distributed_lion

__all__ = ["scale_by_distributed_lion"]
