"""The configuration of one experiment."""

from dataclasses import dataclass, field
from typing import Annotated

from lion_jax.config.fields import About
from lion_jax.config.groups import (
    AugmentConfig,
    DataConfig,
    EarlyStoppingConfig,
    MeshConfig,
    ModelConfig,
)
from lion_jax.config.optimizer import OptimizerConfig


@dataclass(slots=True)
class Config:
    """One experiment."""

    name: Annotated[
        str,
        About(
            "names the run's default folder",
            also=("experiment", "run_name", "exp_name"),
        ),
    ] = "experiment"
    seed: Annotated[
        int,
        About("initial weights, order of the batches, augmentation", ge=0, lt=2**32),
    ] = 0
    epochs: Annotated[
        int,
        About(
            "maximum number of epochs", ge=1, also=("epoch", "num_epochs", "max_epochs")
        ),
    ] = 100
    init_from: Annotated[
        str,
        About(
            "weights to begin with: a run's folder, whose best state it is, or a"
            " .safetensors file in our naming, torchvision's or timm's; empty: none",
            also=("pretrained", "finetune", "resume_from", "load_from"),
        ),
    ] = ""
    batch_size: Annotated[
        int,
        About(
            "images per step, over all devices",
            ge=1,
            also=("batch", "bs", "train_batch_size"),
        ),
    ] = 64
    eval_batch_size: Annotated[
        int,
        About("images per evaluation step, over all devices", ge=1, also=("eval_bs",)),
    ] = 256
    accumulate: Annotated[
        int,
        About(
            "gradient-accumulation steps per batch",
            ge=1,
            also=("accum", "grad_accum", "gradient_accumulation_steps"),
        ),
    ] = 1
    scan_steps: Annotated[
        int,
        About(
            "training steps per dispatch; signals are handled between dispatches", ge=1
        ),
    ] = 1
    save_every_minutes: Annotated[
        float,
        About("minutes between saves within an epoch; 0: save at its end only", ge=0),
    ] = 10.0
    image_size: Annotated[
        int,
        About(
            "height and width of the model's input in pixels",
            ge=1,
            also=("img_size", "resolution", "size"),
        ),
    ] = 224
    channels: Annotated[
        int,
        About("channels of the model's input; grey images are repeated", ge=1),
    ] = 3
    label_smoothing: Annotated[
        float, About("label smoothing", ge=0, lt=1, also=("smoothing",))
    ] = 0.0
    devices: Annotated[
        int,
        About("number of devices; 0: all that JAX finds", ge=0, also=("gpus", "ngpus")),
    ] = 0
    shard_parameters: Annotated[
        bool,
        About("an older name of mesh.mode=fsdp, until version 0.3", also=("fsdp",)),
    ] = False
    deterministic: Annotated[
        bool, About("the same bits each time on a GPU too, slower there")
    ] = False
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    early_stopping: EarlyStoppingConfig = field(default_factory=EarlyStoppingConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)

    @property
    def mesh_mode(self) -> str:
        """How arrays are divided between devices, by either of two names."""
        return "fsdp" if self.shard_parameters else self.mesh.mode

    def arithmetic(self) -> dict[str, bool]:
        """Returns which compiler flags may pay, as `runtime.start` takes it."""
        return {
            "bfloat16": self.model.dtype == "bfloat16",
            "int8_momentum": self.optimizer.mu_dtype == "int8",
        }
