"""What an experiment is: typed dataclasses, checked before anything is written.

Field comments are the help text of `python -m lion_jax.train --help`. The classes are
mutable because ml_collections sets the overrides `--config.<field>=<value>` on them.
"""

import copy
import dataclasses
import inspect
import math
import re
import typing
from dataclasses import dataclass, field
from typing import Any


class ConfigError(ValueError):
    """A configuration that cannot be run: the value, the rule, the remedy."""


@dataclass(slots=True)
class DataConfig:
    """Which images."""

    name: str = "fashion_mnist"  # a TFDS name, or fashion_mnist_sample (embedded)
    data_dir: str = ""  # TFDS's folder; empty: its default, ~/tensorflow_datasets
    cache_dir: str = ""  # folder of the verified cache; empty: the user's own
    validation_fraction: float = 0.2  # share of the training set held out, in (0, 1)
    split_seed: int = 42  # seed of that split; the same for runs to be compared


@dataclass(slots=True)
class AugmentConfig:
    """Random changes of the training images."""

    crop_padding: int = 0  # pixels of padding before a random crop; 0: no crop
    flip: bool = False  # mirror half of the images left to right
    erasing: float = 0.0  # share of the images that lose a rectangle, in [0, 1)
    mixup: float = 0.0  # alpha of the proportions in which images are mixed; 0: none


@dataclass(slots=True)
class ModelConfig:
    """Which network."""

    name: str = "resnet50"  # resnet50, vit_b16, vit_ti8, resnet_tiny or vit_tiny
    dtype: str = "float32"  # of the computation: float32 or bfloat16
    zero_init_residual: bool = False  # ResNet: each block starts as its shortcut
    pool: str = "token"  # ViT, what the head sees: token (the class token's) or mean
    drop_path: float = 0.0  # ViT: chance to drop the last layer in training, in [0, 1)
    remat: str = "none"  # computed again in the backward pass: none, dots or full


@dataclass(slots=True)
class OptimizerConfig:
    """How the weights move."""

    name: str = "lion"  # lion, adamw or sgd
    learning_rate: float = 3e-4  # peak of the schedule, >= 0
    weight_decay: float = 1.0  # >= 0; decoupled (lion, adamw) or L2 (sgd)
    decay: str = "all"  # what decays: all parameters, or kernels
    b1: float = 0.9  # lion, adamw: in [0, 1)
    b2: float = 0.99  # lion, adamw: in [0, 1)
    eps: float = 1e-8  # adamw: added to the denominator, > 0
    momentum: float = 0.9  # sgd: in [0, 1)
    mu_dtype: str = "float32"  # lion, of the momentum: float32, bfloat16 or int8
    mode: str = "hard"  # lion: hard, smooth or refined direction
    cautious: bool = False  # lion: step only where the gradient's sign agrees
    cautious_weight_decay: bool = False  # lion: decay only where the step agrees
    independent_weight_decay: bool = False  # lion: not times the learning rate
    schedule: str = "constant"  # constant, or cosine: decays to 0 at the last step
    warmup_fraction: float = 0.0  # share of all steps with a rising rate, in [0, 1)
    clip_norm: float = 0.0  # largest global norm of the gradient; 0: no clipping


@dataclass(slots=True)
class EarlyStoppingConfig:
    """When to stop before the last epoch."""

    patience: int = 3  # epochs without improvement before the stop; 0: never stop
    min_delta: float = 0.001  # a lower validation loss improves by more than this
    start_epoch: int = 1  # first epoch that counts, from 1


@dataclass(slots=True)
class Config:
    """One experiment."""

    name: str = "experiment"  # names the run's default folder
    seed: int = 0  # initial weights, order of the batches, augmentation
    epochs: int = 100  # at most
    batch_size: int = 64  # over all devices
    eval_batch_size: int = 256  # over all devices
    accumulate: int = 1  # parts of a batch whose gradients are averaged one by one
    scan_steps: int = 1  # steps in one call of the device; interruptions wait for it
    save_every_minutes: float = 10.0  # within an epoch; 0: only at its end
    image_size: int = 224  # height and width in pixels
    channels: int = 3  # of the network's input; grey images are repeated
    label_smoothing: float = 0.0  # in [0, 1)
    devices: int = 0  # number of devices; 0: all that JAX finds
    shard_parameters: bool = False  # deal large parameters out over the devices
    deterministic: bool = False  # the same bits each time on a GPU too, slower there
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    early_stopping: EarlyStoppingConfig = field(default_factory=EarlyStoppingConfig)

    def arithmetic(self) -> dict[str, bool]:
        """Returns which compiler flags may pay, as `runtime.start` takes it."""
        return {
            "bfloat16": self.model.dtype == "bfloat16",
            "int8_momentum": self.optimizer.mu_dtype == "int8",
        }


PATCHES = {"vit_b16": 16, "vit_ti8": 8, "vit_tiny": 4}  # pixels of a patch's side
CHOICES = {
    "model.name": ("resnet50", "vit_b16", "vit_ti8", "resnet_tiny", "vit_tiny"),
    "model.pool": ("token", "mean"),
    "model.dtype": ("float32", "bfloat16"),
    "model.remat": ("none", "dots", "full"),
    "optimizer.name": ("lion", "adamw", "sgd"),
    "optimizer.decay": ("all", "kernels"),
    "optimizer.schedule": ("constant", "cosine"),
    "optimizer.mu_dtype": ("float32", "bfloat16", "int8"),
    "optimizer.mode": ("hard", "smooth", "refined"),
}
WEIGHT_DECAYS = ("cautious_weight_decay", "independent_weight_decay")
LIONS_OWN = ("mu_dtype", "mode", "cautious", *WEIGHT_DECAYS)
# Smallest value, whether it is allowed itself, and the value to stay below.
RANGES = {
    "seed": (0, True, 2**32),
    "epochs": (1, True, None),
    "batch_size": (1, True, None),
    "eval_batch_size": (1, True, None),
    "accumulate": (1, True, None),
    "scan_steps": (1, True, None),
    "save_every_minutes": (0, True, None),
    "image_size": (1, True, None),
    "channels": (1, True, None),
    "label_smoothing": (0, True, 1),
    "devices": (0, True, None),
    "data.validation_fraction": (0, False, 1),
    "data.split_seed": (0, True, None),
    "augment.crop_padding": (0, True, None),
    "augment.erasing": (0, True, 1),
    "augment.mixup": (0, True, None),
    "model.drop_path": (0, True, 1),
    "optimizer.learning_rate": (0, True, None),
    "optimizer.weight_decay": (0, True, None),
    "optimizer.b1": (0, True, 1),
    "optimizer.b2": (0, True, 1),
    "optimizer.eps": (0, False, None),
    "optimizer.momentum": (0, True, 1),
    "optimizer.warmup_fraction": (0, True, 1),
    "optimizer.clip_norm": (0, True, None),
    "early_stopping.patience": (0, True, None),
    "early_stopping.min_delta": (0, True, None),
    "early_stopping.start_epoch": (1, True, None),
}


def check(config: Config) -> None:
    """Checks everything that can be known without the data and the devices.

    Raises:
      ConfigError: Names the first wrong field, its value, the rule and the remedy.
    """
    for name, group in typing.get_type_hints(Config).items():
        if dataclasses.is_dataclass(group):
            _require_type(name, getattr(config, name), group)
    values = flatten(config)
    for path, expected in field_types().items():
        _require_type(path, values[path], expected)
    for path, choices in CHOICES.items():
        if values[path] not in choices:
            rule = f"must be one of {', '.join(choices)}"
            raise _wrong(path, values[path], rule)
    for path, (low, closed, high) in RANGES.items():
        value = values[path]
        above = value >= low if closed else value > low
        if not (math.isfinite(value) and above and (high is None or value < high)):
            rule = f"must be {'>=' if closed else '>'} {low}"
            raise _wrong(path, value, rule + (f" and < {high}" if high else ""))
    if not re.fullmatch(r"[\w-][\w.-]*", config.name):
        rule = "must be of letters, digits, '_', '-' and '.': folders are named by it"
        raise _wrong("name", config.name, rule)
    if config.batch_size % config.accumulate:
        rule = f"must divide batch_size={config.batch_size}"
        raise _wrong("accumulate", config.accumulate, rule)
    _check_variants(config.optimizer)
    for name in ("pool", "drop_path"):
        value, default = getattr(config.model, name), getattr(ModelConfig(), name)
        if config.model.name not in PATCHES and value != default:
            rule = f"must be {default!r} unless model.name is a ViT"
            raise _wrong(f"model.{name}", value, rule)
    patch = PATCHES.get(config.model.name, 1)
    if config.image_size % patch:
        raise ConfigError(
            f"image_size={config.image_size}, but the patch of {config.model.name}"
            f" ({patch} pixels) must divide it; set --config.image_size="
            f"{max(1, round(config.image_size / patch)) * patch}."
        )


def check_devices(config: Config, available: int) -> int:
    """Checks the batch sizes against the devices and returns how many to use.

    Raises:
      ConfigError: If there are too few devices, or they do not divide a batch.
    """
    devices = config.devices or available
    if devices > available:
        raise ConfigError(
            f"devices={devices}, but JAX finds {available}; set --config.devices="
            f"{available}, or 0 for all."
        )
    for name, parts in ("batch_size", config.accumulate), ("eval_batch_size", 1):
        size, dealt = getattr(config, name), devices * parts
        if size % dealt:
            times = f" times accumulate={parts}" if parts > 1 else ""
            raise ConfigError(
                f"{name}={size}, but the {devices} devices{times} must divide it; set"
                f" --config.{name}={max(1, round(size / dealt)) * dealt},"
                f"{' --config.accumulate' if parts > 1 else ''} or --config.devices."
            )
    return devices


def flatten(config: Any, prefix: str = "") -> dict[str, Any]:
    """Returns the leaves of a configuration by dotted path, in order."""
    leaves = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            leaves |= flatten(value, f"{prefix}{item.name}.")
        else:
            leaves[prefix + item.name] = value
    return leaves


def from_dict(values: dict[str, Any]) -> Config:
    """Rebuilds a configuration from `dataclasses.asdict`'s nested dictionary.

    Raises:
      ConfigError: If a field is missing or of a wrong value.
    """
    config = Config()
    for path in field_types():
        *parents, name = path.split(".")
        holder, source = config, values
        try:
            for parent in parents:
                holder, source = getattr(holder, parent), source[parent]
            setattr(holder, name, source[name])
        except (KeyError, TypeError):
            raise ConfigError(f"The configuration has no field {path!r}.") from None
    check(config)
    return config


def override(config: Config, values: dict[str, str]) -> Config:
    """Returns a checked copy with some fields set to what texts say.

    Args:
      config: Stays as it is.
      values: As on the command line, by the fields' dotted paths.

    Raises:
      ConfigError: If a text is no value of its field's type, or not allowed.
    """
    copied, types = copy.deepcopy(config), field_types()
    words = {"true": True, "false": False}
    for path, text in values.items():
        expected = types[path]
        try:
            value = words[text.lower()] if expected is bool else expected(text)
        except (KeyError, ValueError):
            rule = f"must be of type {expected.__name__}"
            raise ConfigError(f"--config.{path}={text}, but it {rule}.") from None
        *parents, name = path.split(".")
        holder: Any = copied
        for parent in parents:
            holder = getattr(holder, parent)
        setattr(holder, name, value)
    check(copied)
    return copied


def field_types(cls: type = Config, prefix: str = "") -> dict[str, type]:
    """Returns the type of every leaf by dotted path, in order."""
    types = {}
    for name, hint in typing.get_type_hints(cls).items():
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            types |= field_types(hint, f"{prefix}{name}.")
        else:
            types[prefix + name] = hint
    return types


def help_text(cls: type = Config, prefix: str = "--config.") -> str:
    """Returns a line a field: its flag, its default and its comment."""
    hints = typing.get_type_hints(cls)
    lines, nested = [], []
    for line in inspect.getsource(cls).splitlines():
        declaration, _, comment = line.strip().partition("  # ")
        name = declaration.partition(":")[0]
        if name not in hints:
            continue
        if dataclasses.is_dataclass(hints[name]):
            nested.append(help_text(hints[name], f"{prefix}{name}."))
        else:
            default = declaration.partition(" = ")[2].strip('"')
            lines.append(f"  {prefix + name + '=' + default:<46} {comment}")
    return "\n".join([*lines, *nested])


def _check_variants(optimizer: OptimizerConfig) -> None:
    """Refuses variants of Lion where they would do nothing."""
    for name in LIONS_OWN:
        default = getattr(OptimizerConfig(), name)
        if optimizer.name != "lion" and getattr(optimizer, name) != default:
            raise _wrong(
                f"optimizer.{name}",
                getattr(optimizer, name),
                f"must be {default!r} unless optimizer.name is lion",
            )
    for name in WEIGHT_DECAYS:
        if getattr(optimizer, name) and not optimizer.weight_decay:
            rule = "must be False without optimizer.weight_decay"
            raise _wrong(f"optimizer.{name}", True, rule)


def _require_type(path: str, value: Any, expected: Any) -> None:
    allowed = (int, float) if expected is float else (expected,)
    if not isinstance(value, allowed) or (
        isinstance(value, bool) and expected is not bool
    ):
        rule = f"must be of type {expected.__name__}, not {type(value).__name__}"
        raise _wrong(path, value, rule)


def _wrong(path: str, value: Any, rule: str) -> ConfigError:
    return ConfigError(f"{path}={value!r}, but it {rule}; set --config.{path}=...")
