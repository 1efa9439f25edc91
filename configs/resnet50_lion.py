"""ResNet-50 with Lion, the original experiment's protocol.

Chen et al., 2023, https://arxiv.org/abs/2302.06675

    python -m lion_jax.train --config configs/resnet50_lion.py

Images resized to 224 pixels, batch 64, a constant learning rate, all parameters
decayed, at most 100 epochs, early stopping on the validation loss. Expected: the
original, run once in PyTorch, got 91.84 % test accuracy; here not yet measured, but at
32 pixels in bfloat16 the mean of n = 20 seeds is 89.2 % (results/full).
"""

from lion_jax.config import Config, ModelConfig, OptimizerConfig


def get_config() -> Config:
    return Config(
        name="resnet50_lion",
        model=ModelConfig(name="resnet50"),
        optimizer=OptimizerConfig(
            name="lion",
            learning_rate=0.0003,
            weight_decay=1.0,
        ),
    )
