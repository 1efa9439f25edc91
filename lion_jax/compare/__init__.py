"""Many runs and what they say; `run` and `report` do what the commands do."""

from lion_jax.compare.api import report, run

__all__ = ["report", "run"]
