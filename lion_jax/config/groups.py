"""The groups of fields of an experiment.

The classes are mutable, so that a file may set fields one by one, and have slots, so
that a misspelt field raises.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from lion_jax.config.fields import About


@dataclass(slots=True)
class DataConfig:
    """Images."""

    name: Annotated[
        str,
        About(
            "TFDS data set name, fashion_mnist_sample (embedded), or a reference",
            also=("dataset",),
        ),
    ] = "fashion_mnist"
    options: Annotated[
        dict[str, Any], About("arguments of the function that data.name is", own=True)
    ] = field(default_factory=dict)
    data_dir: Annotated[
        str, About("TFDS's folder; empty: its default, ~/tensorflow_datasets")
    ] = ""
    cache_dir: Annotated[
        str, About("folder of the verified cache; empty: the user's own")
    ] = ""
    validation_fraction: Annotated[
        float,
        About("fraction of the training set held out", gt=0, lt=1, also=("val_split",)),
    ] = 0.2
    split_seed: Annotated[
        int, About("seed of that split; the same for runs to be compared", ge=0)
    ] = 42


@dataclass(slots=True)
class AugmentConfig:
    """Random changes of the training images."""

    crop_padding: Annotated[
        int, About("pixels of padding before a random crop; 0: no crop", ge=0)
    ] = 0
    flip: Annotated[
        bool, About("mirror half of the images left to right", also=("hflip",))
    ] = False
    erasing: Annotated[
        float,
        About(
            "fraction of the images that lose a rectangle",
            ge=0,
            lt=1,
            also=("random_erasing", "reprob"),
        ),
    ] = 0.0
    mixup: Annotated[
        float,
        About(
            "alpha of the Beta distribution of mixing proportions; 0: no mixing",
            ge=0,
            also=("mixup_alpha",),
        ),
    ] = 0.0


@dataclass(slots=True)
class ModelConfig:
    """Model."""

    name: Annotated[
        str,
        About(
            "architecture, or a reference",
            named=True,
            also=("arch", "network", "backbone"),
        ),
    ] = "resnet50"
    options: Annotated[
        dict[str, Any], About("arguments of the function that model.name is", own=True)
    ] = field(default_factory=dict)
    dtype: Annotated[
        Literal["float32", "bfloat16"],
        About("dtype of the computation", also=("precision", "amp", "bf16")),
    ] = "float32"
    zero_init_residual: Annotated[
        bool, About("start each residual block as its shortcut", option=True)
    ] = False
    pool: Annotated[
        Literal["token", "mean"],
        About("input of the head: the class token, or the mean token", option=True),
    ] = "token"
    drop_path: Annotated[
        float,
        About(
            "probability of dropping the last layer in training; the others' grow"
            " linearly to it",
            ge=0,
            lt=1,
            option=True,
            also=("stochastic_depth",),
        ),
    ] = 0.0
    remat: Annotated[
        Literal["none", "dots", "full"],
        About(
            "activations to rematerialize in the backward pass: none, all but matrix"
            " products (dots), all (full)",
            option=True,
            also=("checkpointing",),
        ),
    ] = "none"


@dataclass(slots=True)
class OptimizerConfig:
    """Optimizer and its schedule."""

    name: Annotated[
        str,
        About(
            "optimizer, or a reference such as optax:adamw",
            named=True,
            also=("opt", "optim", "optimiser"),
        ),
    ] = "lion"
    options: Annotated[
        dict[str, Any],
        About("arguments of the function that optimizer.name is", own=True),
    ] = field(default_factory=dict)
    learning_rate: Annotated[
        float, About("peak learning rate", ge=0, also=("lr", "rate", "eta"))
    ] = 3e-4
    weight_decay: Annotated[
        float,
        About(
            "weight decay; for sgd added to the gradient, else decoupled",
            ge=0,
            option=True,
            also=("wd", "decay_rate", "l2"),
        ),
    ] = 1.0
    decay: Annotated[
        Literal["all", "kernels"],
        About("parameters that decay: all, or kernels alone"),
    ] = "all"
    b1: Annotated[
        float,
        About(
            "decay rate of the first moment; for lion, the momentum's weight in the"
            " interpolation",
            ge=0,
            lt=1,
            option=True,
            also=("beta1", "beta_1"),
        ),
    ] = 0.9
    b2: Annotated[
        float,
        About(
            "decay rate of the second moment; for lion, of the momentum",
            ge=0,
            lt=1,
            option=True,
            also=("beta2", "beta_2"),
        ),
    ] = 0.99
    eps: Annotated[
        float,
        About("added to the denominator", gt=0, option=True, also=("epsilon",)),
    ] = 1e-8
    momentum: Annotated[
        float, About("decay rate of the momentum", ge=0, lt=1, option=True)
    ] = 0.9
    mu_dtype: Annotated[
        Literal["float32", "bfloat16", "int8"],
        About("dtype of the momentum", option=True),
    ] = "float32"
    mode: Annotated[
        Literal["hard", "smooth", "refined"],
        About("form of the sign: hard, smooth or refined", option=True),
    ] = "hard"
    cautious: Annotated[
        bool, About("step only where the gradient's sign agrees", option=True)
    ] = False
    cautious_weight_decay: Annotated[
        bool,
        About("decay only where the step agrees", option=True, needs="weight_decay"),
    ] = False
    independent_weight_decay: Annotated[
        bool,
        About(
            "do not multiply weight decay by the learning rate",
            option=True,
            needs="weight_decay",
        ),
    ] = False
    schedule: Annotated[
        str,
        About(
            "schedule after the warm-up: constant, cosine, which ends at 0, or a"
            " reference",
            named=True,
            also=("lr_schedule", "scheduler", "sched"),
        ),
    ] = "constant"
    schedule_options: Annotated[
        dict[str, Any],
        About("arguments of the function that optimizer.schedule is", own=True),
    ] = field(default_factory=dict)
    warmup_fraction: Annotated[
        float,
        About(
            "fraction of steps used for linear warm-up",
            ge=0,
            lt=1,
            also=("warmup", "warmup_steps", "warmup_epochs"),
        ),
    ] = 0.0
    clip_norm: Annotated[
        float,
        About(
            "largest global norm of the gradient; 0: no clipping",
            ge=0,
            also=("grad_clip", "max_grad_norm", "gradient_clip_val", "clip_grad"),
        ),
    ] = 0.0


@dataclass(slots=True)
class EarlyStoppingConfig:
    """Stop before the last epoch."""

    patience: Annotated[
        int, About("epochs without improvement before the stop; 0: never stop", ge=0)
    ] = 3
    min_delta: Annotated[
        float,
        About(
            "a lower validation loss improves by more than this",
            ge=0,
            needs="patience",
        ),
    ] = 0.001
    start_epoch: Annotated[
        int, About("first epoch that counts, from 1", ge=1, needs="patience")
    ] = 1
