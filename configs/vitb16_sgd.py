"""ViT-B/16 with momentum SGD, the original experiment's protocol.

Momentum SGD is not in the original experiment; its two values are the custom
for ImageNet (He et al., 2015), scaled to the batch.

    python -m lion_jax.train --config configs/vitb16_sgd.py

Images resized to 224 pixels, batch 64, a constant learning rate, all parameters
decayed, at most 100 epochs, early stopping on the validation loss. Expected: not
yet measured.
"""

from lion_jax.config import Config, ModelConfig, OptimizerConfig


def get_config() -> Config:
    return Config(
        name="vitb16_sgd",
        model=ModelConfig(name="vit_b16"),
        optimizer=OptimizerConfig(
            name="sgd",
            learning_rate=0.01,
            weight_decay=0.0001,
        ),
    )
