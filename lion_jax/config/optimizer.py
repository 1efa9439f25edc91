"""The fields of an experiment's optimizer and its schedule."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from lion_jax.config.fields import About


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
    freeze: Annotated[
        str,
        About(
            "paths of parameters that keep their first values, with * and ?, by commas,"
            " such as stem.*,blocks.0.*; empty: none",
            also=("frozen", "freeze_layers", "freeze_backbone"),
        ),
    ] = ""
    clip_norm: Annotated[
        float,
        About(
            "largest global norm of the gradient; 0: no clipping",
            ge=0,
            also=("grad_clip", "max_grad_norm", "gradient_clip_val", "clip_grad"),
        ),
    ] = 0.0
    ema_decay: Annotated[
        float,
        About(
            "decay of the weights' exponential moving average, which is evaluated and"
            " saved in place of the weights; 0: no average",
            ge=0,
            lt=1,
            also=("ema", "model_ema", "model_ema_decay", "polyak"),
        ),
    ] = 0.0
