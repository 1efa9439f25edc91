"""As majority.py, and every 32nd step the devices average their momenta."""

import runpy
from pathlib import Path

from lion_jax.config import Config


def get_config() -> Config:
    exact = Path(__file__).with_name("exact.py")
    config = runpy.run_path(str(exact))["get_config"]()
    config.name = "vote_synchronised"
    config.optimizer.learning_rate = 3e-3
    config.mesh.vote = "majority"
    config.mesh.sync_every = 32
    return config
