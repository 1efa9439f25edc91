"""What the names in a configuration stand for, and which of its fields each takes."""

from lion_jax import config as configs
from lion_jax import models
from lion_jax.config import Config, Tables
from lion_jax.training import optimizers

TABLES: Tables = {
    "model.name": {name: models.parameters(name) for name in models.MODELS},
    "optimizer.name": {
        name: optimizers.parameters(name) for name in optimizers.OPTIMIZERS
    },
    "optimizer.schedule": {name: {} for name in optimizers.SCHEDULES},
}


def check(config: Config) -> None:
    """Checks everything that can be known without the data and the devices.

    Raises:
      ConfigError: Names the first wrong field, its value, the rule and the remedy.
    """
    configs.check(config, TABLES)
