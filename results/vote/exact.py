"""Exact Lion, beside which devices that vote are measured: a small ResNet, the sample.

Blocks as ResNet-50's in three stages of two, a quarter of its width, 222,298 weights.
Six epochs of 31 steps without an early stop, warm-up and cosine, on eight devices
with 16 images each. Batch norm is over the whole batch. Learning rates, here and in the
files beside, are the best of five trials on validation.
"""

from lion_jax.config import (
    AugmentConfig,
    Config,
    DataConfig,
    EarlyStoppingConfig,
    ModelConfig,
    OptimizerConfig,
)


def get_config() -> Config:
    return Config(
        name="vote_exact",
        devices=8,
        epochs=6,
        batch_size=128,
        eval_batch_size=256,
        image_size=28,
        data=DataConfig(name="fashion_mnist_sample"),
        augment=AugmentConfig(flip=True),
        model=ModelConfig(
            name="lion_jax.models.resnet:ResNet",
            options={"blocks": [2, 2, 2], "width": 16},
        ),
        optimizer=OptimizerConfig(
            name="lion",
            learning_rate=3e-3,
            weight_decay=0.1,
            decay="kernels",
            schedule="cosine",
            warmup_fraction=0.1,
            clip_norm=1.0,
        ),
        early_stopping=EarlyStoppingConfig(patience=0),
    )
