"""ResNet-50 with Lion on the embedded sample, to be compared in an hour on a CPU.

Chen et al., 2023, https://arxiv.org/abs/2302.06675

    python -m lion_jax.train --config configs/sample_resnet50_lion.py

4,000 training images of 32 pixels, six epochs without an early stop, warm-up and
cosine, the gradient's norm clipped. Learning rate and weight decay are the best of
eight trials on validation (docs/comparing.md, "Tune all alike").
Expected: 85.0 % test accuracy, mean of n = 8 seeds, standard deviation 0.9 (commit
dd9aacb522cd, two CPU cores); the records are in results/sample.
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
        name="sample_resnet50_lion",
        epochs=6,
        batch_size=64,
        eval_batch_size=256,
        image_size=32,
        data=DataConfig(name="fashion_mnist_sample"),
        augment=AugmentConfig(flip=True),
        model=ModelConfig(name="resnet50", zero_init_residual=True),
        optimizer=OptimizerConfig(
            name="lion",
            learning_rate=1e-3,
            weight_decay=0.1,
            decay="kernels",
            schedule="cosine",
            warmup_fraction=0.1,
            clip_norm=1.0,
        ),
        early_stopping=EarlyStoppingConfig(patience=0),
    )
