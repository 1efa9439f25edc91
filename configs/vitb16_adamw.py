"""ViT-B/16 with AdamW, the original experiment's protocol.

Loshchilov and Hutter, 2017, https://arxiv.org/abs/1711.05101

    python -m lion_jax.train --config configs/vitb16_adamw.py

Images resized to 224 pixels, batch 64, a constant learning rate, all parameters
decayed, at most 100 epochs, early stopping on the validation loss. Expected: the
original, run once in PyTorch, got 82.69 % test accuracy; here not yet measured,
but at 32 pixels in bfloat16: three runs, 84.2 to 84.6 % (results/full).
"""

from lion_jax.config import Config, ModelConfig, OptimizerConfig


def get_config() -> Config:
    return Config(
        name="vitb16_adamw",
        model=ModelConfig(name="vit_b16"),
        optimizer=OptimizerConfig(
            name="adamw",
            learning_rate=0.003,
            weight_decay=0.3,
            b2=0.999,
        ),
    )
