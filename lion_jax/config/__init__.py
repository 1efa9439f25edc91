"""What an experiment is: typed dataclasses, checked before anything is written.

`schema` and `groups` declare the fields, `fields` reads them, `checks` refuses what
cannot run and `values` makes configurations of texts and saved dictionaries.
"""

from lion_jax.config.checks import (
    NO_TABLES,
    Tables,
    check,
    check_devices,
    check_groups,
    takers_of,
)
from lion_jax.config.fields import (
    About,
    ConfigError,
    Field,
    UnknownFieldError,
    field_at,
    fields_of,
    flatten,
)
from lion_jax.config.groups import (
    AugmentConfig,
    DataConfig,
    EarlyStoppingConfig,
    MeshConfig,
    ModelConfig,
)
from lion_jax.config.optimizer import OptimizerConfig
from lion_jax.config.schema import Config
from lion_jax.config.values import from_dict, override, value_at, with_values

__all__ = ["AugmentConfig", "Config", "DataConfig", "EarlyStoppingConfig"]
__all__ += ["ConfigError", "MeshConfig", "ModelConfig", "OptimizerConfig"]
__all__ += ["NO_TABLES", "About", "Field", "Tables", "UnknownFieldError"]
__all__ += [
    "check",
    "check_devices",
    "check_groups",
    "field_at",
    "fields_of",
    "flatten",
]
__all__ += ["from_dict", "override", "takers_of", "value_at", "with_values"]
