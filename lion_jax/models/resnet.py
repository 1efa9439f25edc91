"""ResNet (He et al., 2015), version 1.5: the stride sits in the 3x3 convolution.

Architecture and initialisation are torchvision's `resnet50`, in NHWC.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn import initializers
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from lion_jax.models.layers import given
from lion_jax.models.layers import remat as remats
from lion_jax.models.layers.conv import conv_general_dilated
from lion_jax.models.layers.norm import BatchNorm
from lion_jax.models.layers.pool import max_pool

EXPANSION = 4  # a bottleneck's output is this much wider than its middle


class ConvNorm(nnx.Module):
    """A square convolution without bias, padded symmetrically, and a batch norm."""

    def __init__(
        self,
        c: int,
        d: int,
        size: int,
        *,
        stride: int = 1,
        scale: float = 1.0,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        """Makes a layer from `c` to `d` channels with norm scales of `scale`."""
        self.conv = nnx.Conv(
            c,
            d,
            (size, size),
            strides=stride,
            padding=size // 2,
            use_bias=False,
            dtype=dtype,
            kernel_init=initializers.variance_scaling(2.0, "fan_out", "normal"),
            conv_general_dilated=conv_general_dilated,
            rngs=rngs,
        )
        self.norm = BatchNorm(d, scale=scale, dtype=dtype)

    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool, relu: bool = False
    ) -> Float[Array, "b h2 w2 d"]:
        """Applies the layer; `train` uses and updates batch statistics."""
        return self.norm(self.conv(x), train=train, relu=relu)


class Bottleneck(nnx.Module):
    """1x1, 3x3, 1x1 convolutions beside a shortcut."""

    def __init__(
        self,
        c: int,
        width: int,
        stride: int,
        *,
        zero_init_residual: bool,
        dtype: DTypeLike,
        rngs: nnx.Rngs,
    ):
        """Makes a block of `c` input and `4 width` output channels."""
        d = EXPANSION * width
        layer = partial(ConvNorm, dtype=dtype, rngs=rngs)
        self.layer1 = layer(c, width, 1)
        self.layer2 = layer(width, width, 3, stride=stride)
        self.layer3 = layer(width, d, 1, scale=0.0 if zero_init_residual else 1.0)
        projects = stride != 1 or c != d
        self.shortcut = nnx.data(layer(c, d, 1, stride=stride) if projects else None)

    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> Float[Array, "b h2 w2 d"]:
        """Applies the block; `train` uses and updates batch statistics."""
        with jax.named_scope("layer1"):
            y = self.layer1(x, train=train, relu=True)
        with jax.named_scope("layer2"):
            y = self.layer2(y, train=train, relu=True)
        with jax.named_scope("layer3"):
            y = self.layer3(y, train=train)
        with jax.named_scope("shortcut"):
            shortcut = x if self.shortcut is None else self.shortcut(x, train=train)
            return nnx.relu(shortcut + y)


class ResNet(nnx.Module):
    """A ResNet of bottleneck blocks."""

    def __init__(
        self,
        blocks: Sequence[int],
        *,
        num_classes: int,
        width: int = 64,
        channels: int = 3,
        zero_init_residual: bool = False,
        remat: str = "none",
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Makes the model.

        Args:
          blocks: Number of blocks in each stage; every stage but the first halves
            the map and doubles the width.
          num_classes: Number of logits.
          width: Channels of the stem.
          channels: Channels of the images.
          zero_init_residual: Whether each block starts as its shortcut alone, by a
            zero scale in its last norm (Goyal et al., 2017).
          remat: What the backward pass computes again in each block: `none`, `dots`
            (all but products) or `full`.
          dtype: Dtype of the computation, float32 or bfloat16; parameters and norm
            statistics are float32.
          rngs: Random keys; stream `params`.

        Raises:
          ValueError: If there is no such `remat` or size.
        """
        given.check_sizes(num_classes=num_classes, width=width, channels=channels)
        given.check_sizes(**{f"blocks[{i}]": count for i, count in enumerate(blocks)})
        self.channels = channels
        self.remat = remats.check(remat)
        self.stem = ConvNorm(channels, width, 7, stride=2, dtype=dtype, rngs=rngs)
        layers, c = [], width
        for stage, count in enumerate(blocks):
            for index in range(count):
                layers.append(
                    Bottleneck(
                        c,
                        width * 2**stage,
                        stride=2 if stage > 0 and index == 0 else 1,
                        zero_init_residual=zero_init_residual,
                        dtype=dtype,
                        rngs=rngs,
                    )
                )
                c = EXPANSION * width * 2**stage
        self.blocks = nnx.List(layers)
        # torch.nn.Linear: weights and biases uniform within 1/sqrt(fan_in).
        bound = c**-0.5
        self.head = nnx.Linear(
            c,
            num_classes,
            kernel_init=_uniform(bound),
            bias_init=_uniform(bound),
            rngs=rngs,
        )

    def __call__(
        self, x: Float[Array, "b h w c"], *, train: bool
    ) -> Float[Array, "b k"]:
        """Maps images to float32 logits; `train` uses and updates batch statistics.

        Raises:
          ValueError: If the images have not the channels for which the model was made,
            or there are none to train on.
        """
        given.check_images(x, self.channels, some=train)
        with jax.named_scope("stem"):
            x = self.stem(x, train=train, relu=True)
            x = max_pool(x, 3, 2)
        for index, block in enumerate(self.blocks):
            with jax.named_scope(f"block{index}"):
                x = remats.apply(self.remat, block, x, train=train)
        return self.head(jnp.mean(x, axis=(1, 2), dtype=jnp.float32))


def _uniform(bound: float) -> jax.nn.initializers.Initializer:
    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        del out_sharding
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


resnet50 = partial(ResNet, (3, 4, 6, 3))
resnet_tiny = partial(ResNet, (1, 1), width=8)
resnet_nano = partial(ResNet, (1,), width=8)
