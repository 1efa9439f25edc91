"""ViT-B/16 with Lion, the original experiment's protocol.

Chen et al., 2023, https://arxiv.org/abs/2302.06675

    python -m lion_jax.train --config configs/vitb16_lion.py

Images resized to 224 pixels, batch 64, a constant learning rate, all parameters
decayed, at most 100 epochs, early stopping on the validation loss. Expected: the
original, run once in PyTorch, got 66.33 % test accuracy (perhaps its learning rate
is too high for a ViT, which was not tested: see README); here not yet measured, but at
32 pixels in bfloat16: three runs, 74.1, 76.5 and 77.7 % (results/full).
"""

from lion_jax.config import Config, ModelConfig, OptimizerConfig


def get_config() -> Config:
    return Config(
        name="vitb16_lion",
        model=ModelConfig(name="vit_b16"),
        optimizer=OptimizerConfig(
            name="lion",
            learning_rate=0.001,
            weight_decay=1.0,
        ),
    )
