"""Where a trained model is computed: fields of its run that change no numbers."""

import dataclasses
from typing import Any

from lion_jax import config as configs
from lion_jax import identity
from lion_jax.config.reference import REFERABLE, located
from lion_jax.training import sharding


def placed(config: configs.Config, places: dict[str, Any]) -> configs.Config:
    """Sets the fields asked for; the others fit the devices that there are.

    Raises:
      ConfigError: If a field does change the numbers, or has a wrong value.
    """
    if fixed := sorted(places.keys() - identity.PLACES - REFERABLE.keys()):
        raise configs.ConfigError(
            f"{fixed[0]} cannot be changed for a trained model; only"
            f" {', '.join(sorted(identity.PLACES))}, and where the files of references"
            " are, can."
        )
    available = sharding.count_devices()
    if "devices" not in places:
        config.devices = min(config.devices or available, available)
    config = located(configs.with_values(config, places))
    if "eval_batch_size" not in places:
        devices = config.devices or available
        config.eval_batch_size = -(-config.eval_batch_size // devices) * devices
    configs.check(config)
    # The devices need not divide training's batch and its parts, which are not used.
    whole = config.devices or available
    checked = dataclasses.replace(config, batch_size=whole, accumulate=1)
    config.devices = configs.check_devices(checked, available)
    return config
