"""ResNet-50 with AdamW, tuned for 32 pixels: the final runs of this folder.

Loshchilov and Hutter, 2017, https://arxiv.org/abs/1711.05101

    python -m lion_jax.train --config results/full/tuned_resnet50/adamw.py

The recipe of configs/resnet50_adamw_tuned.py with images of 32 pixels, batch 128 and
8 epochs. Learning rate and weight decay are the best of twelve trials of 3 epochs on
validation, whose records are beside this file.
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
        name="resnet50_adamw_tuned",  # the trials' name, by which the report finds them
        epochs=8,
        batch_size=128,
        eval_batch_size=1000,
        image_size=32,
        label_smoothing=0.1,
        data=DataConfig(name="fashion_mnist"),
        augment=AugmentConfig(crop_padding=2, flip=True, erasing=0.25),
        model=ModelConfig(name="resnet50", dtype="bfloat16", zero_init_residual=True),
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=0.009,
            weight_decay=0.1,
            b2=0.999,
            decay="kernels",
            schedule="cosine",
            warmup_fraction=0.05,
            clip_norm=1.0,
        ),
        early_stopping=EarlyStoppingConfig(patience=0),
    )
