"""Training: one run, from its configuration to its folder, and back to a model."""

from lion_jax.training.experiment import InterruptedRunError, run
from lion_jax.training.exported import write_program, write_weights
from lion_jax.training.predictions import predictions
from lion_jax.training.preview import dry_run
from lion_jax.training.restored import Restored, evaluate
from lion_jax.training.restored import restore as load

__all__ = ["InterruptedRunError", "Restored", "dry_run", "evaluate", "load", "run"]
__all__ += ["predictions", "write_program", "write_weights"]
