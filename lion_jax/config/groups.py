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
            "TFDS data set name, folder (images in class folders), FILE.npz (arrays),"
            " fashion_mnist_sample (embedded), or a reference",
            also=("dataset",),
        ),
    ] = "fashion_mnist"
    options: Annotated[
        dict[str, Any], About("arguments of the function that data.name is", own=True)
    ] = field(default_factory=dict)
    data_dir: Annotated[
        str,
        About(
            "the folder of images, or that of FILE.npz; or TFDS's, empty: its default,"
            " ~/tensorflow_datasets",
        ),
    ] = ""
    cache_dir: Annotated[
        str, About("folder of the verified cache; empty: the user's own")
    ] = ""
    image_size: Annotated[
        int,
        About(
            "height and width to which images are cut and resized when they are"
            " decoded; 0: as they are, all of one size",
            ge=0,
        ),
    ] = 0
    placement: Annotated[
        Literal["auto", "device", "host"],
        About(
            "images on the devices, or streamed from the host; auto: streamed if they"
            " take more than a quarter of a device's memory",
            also=("prefetch", "streaming", "num_workers"),
        ),
    ] = "auto"
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
    matmul_precision: Annotated[
        Literal["default", "float32"],
        About(
            "of float32 products and convolutions: default, which may be TF32 (10"
            " bits after the point) on NVIDIA GPUs from Ampere on, or float32",
            also=("tf32", "allow_tf32", "float32_matmul_precision"),
        ),
    ] = "default"
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
class MeshConfig:
    """How a run is divided between devices."""

    mode: Annotated[
        Literal["data", "zero1", "fsdp"],
        About(
            "data: every device holds a copy of everything; zero1: each holds a part"
            " of the optimizer's state and sends the signs of Lion's step; fsdp: each"
            " holds a part of the parameters too",
            also=("zero", "parallel", "strategy", "parallelism", "dp", "ddp"),
        ),
    ] = "data"
    vote: Annotated[
        Literal["none", "majority", "mean"],
        About(
            "Lion with one-bit communication: each device has a momentum of its own"
            " part of the batch, and the step is what the majority of their signs is,"
            " or their mean; none: exact Lion",
            also=("distributed_lion", "majority_vote", "onebit", "compression"),
        ),
    ] = "none"
    ties: Annotated[
        Literal["stand", "alternate"],
        About(
            "of an even number of votes: no step, or up in one step and down in the"
            " next, which saves a bit",
            needs="vote",
        ),
    ] = "stand"
    sync_every: Annotated[
        int,
        About(
            "steps between which devices that vote average their momenta; 0: never",
            ge=0,
            needs="vote",
        ),
    ] = 0


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
