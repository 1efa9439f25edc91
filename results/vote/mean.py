"""Eight devices take the mean of their votes."""

import runpy
from pathlib import Path

from lion_jax.config import Config


def get_config() -> Config:
    exact = Path(__file__).with_name("exact.py")
    config = runpy.run_path(str(exact))["get_config"]()
    config.name = "vote_mean"
    config.optimizer.learning_rate = 1e-2
    config.mesh.vote = "mean"
    return config
