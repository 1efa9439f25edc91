"""ViT-Ti/8 with AdamW on the embedded sample, to be compared in an hour on a CPU.

Loshchilov and Hutter, 2017, https://arxiv.org/abs/1711.05101

    python -m lion_jax.train --config configs/sample_vit_ti8_adamw.py

4,000 training images of 32 pixels, six epochs without an early stop, warm-up and
cosine, the gradient's norm clipped. Learning rate and weight decay are the best of
seven trials on validation (docs/comparing.md, "Tune all alike").
Version 0.1 held decay 0.3, which was not the best of them.
Expected: 74.8 % test accuracy, mean of n = 6 seeds, standard deviation 0.7 (commit
0528536248c2, two CPU cores); the records are in results/vit_ti8.
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
        name="sample_vit_ti8_adamw",
        epochs=6,
        batch_size=64,
        eval_batch_size=256,
        image_size=32,
        data=DataConfig(name="fashion_mnist_sample"),
        augment=AugmentConfig(flip=True),
        model=ModelConfig(name="vit_ti8", pool="mean"),
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=1e-3,
            weight_decay=0.03,
            b2=0.999,
            decay="kernels",
            schedule="cosine",
            warmup_fraction=0.1,
            clip_norm=1.0,
        ),
        early_stopping=EarlyStoppingConfig(patience=0),
    )
