"""Vision Transformer (Dosovitskiy et al., 2020), pre-norm, with a class token.

Architecture and initialisation are torchvision's `vit_b_16`, without its dropout,
which is 0 there too. The layers are written out, not stacked under `lax.scan`, which
would copy every weight out of its stack and every gradient into one; XLA compiles
twelve layers as fast as one.
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax.nn import initializers
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from lion_jax.models.layers import given
from lion_jax.models.layers import remat as remats
from lion_jax.models.layers.attention import attend
from lion_jax.models.layers.layer_norm import LayerNorm
from lion_jax.models.layers.linear import Linear, Patches, add

POOLS = ("token", "mean")


def _linear(c: int, d: int, kernel_init, bias_init, dtype: DTypeLike, rngs: nnx.Rngs):
    return Linear(
        c, d, kernel_init=kernel_init, bias_init=bias_init, dtype=dtype, rngs=rngs
    )


def _norm(width: int, dtype: DTypeLike, rngs: nnx.Rngs):
    return LayerNorm(width, epsilon=1e-6, dtype=dtype, rngs=rngs)


def _gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """GELU by the error function: half the work of erfc, the same absolute error."""
    half = 0.5 * x.astype(jnp.float32)
    return (half + half * jax.lax.erf(half * 2**0.5)).astype(x.dtype)


class EncoderLayer(nnx.Module):
    """Self-attention and a two-layer perceptron, each normed and beside a shortcut."""

    def __init__(
        self, width: int, mlp_width: int, heads: int, dtype: DTypeLike, rngs: nnx.Rngs
    ):
        """Makes a layer over tokens of `width` values."""
        xavier = initializers.xavier_uniform()
        nearly_zero = initializers.normal(1e-6)
        zeros = initializers.zeros
        # torch.nn.Linear's default: uniform within 1/sqrt(fan_in).
        torch_default = initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        self.heads = heads
        self.norm1 = _norm(width, dtype, rngs)
        self.qkv = _linear(width, 3 * width, xavier, zeros, dtype, rngs)
        self.out = _linear(width, width, torch_default, zeros, dtype, rngs)
        self.norm2 = _norm(width, dtype, rngs)
        self.mlp1 = _linear(width, mlp_width, xavier, nearly_zero, dtype, rngs)
        self.mlp2 = _linear(mlp_width, width, xavier, nearly_zero, dtype, rngs)

    def __call__(
        self, x: Float[Array, "b n d"], *, first: int | None = None
    ) -> Float[Array, "b m d"]:
        """Applies the layer.

        Args:
          x: Tokens.
          first: How many tokens are wanted, from the first one on; the others are only
            attended to. None: all.
        """
        b, n, width = x.shape
        # Tokens as rows: of products with two contracted axes, which the gradients of
        # the weights would be, XLA:CPU copies an operand.
        rows = -1, width
        with jax.named_scope("attention"):
            qkv = self.qkv(self.norm1(x).reshape(rows)).reshape(b, n, 3, self.heads, -1)
            query, key, value = jnp.unstack(qkv, axis=2)  # its gradient is one write
            x = x[:, :first]
            mixed = attend(query[:, :first], key, value)
            x = x + self.out(mixed.reshape(rows)).reshape(x.shape)
        with jax.named_scope("perceptron"):
            hidden = _gelu(self.mlp1(self.norm2(x).reshape(rows)))
            return x + self.mlp2(hidden).reshape(x.shape)


class ViT(nnx.Module):
    """A Vision Transformer for images of one size."""

    def __init__(
        self,
        *,
        image_size: int,
        num_classes: int,
        patch: int,
        width: int,
        layers: int,
        heads: int,
        mlp_width: int,
        channels: int = 3,
        pool: str = "token",
        drop_path: float = 0.0,
        remat: str = "none",
        dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ):
        """Makes the model.

        Args:
          image_size: Height and width of the images in pixels; `patch` divides it.
          num_classes: Number of logits.
          patch: Height and width of a patch in pixels.
          width: Values a token.
          layers: Number of encoder layers.
          heads: Attention heads a layer; they divide `width`.
          mlp_width: Width of the perceptron's hidden layer.
          channels: Channels of the images.
          pool: What the head sees: the class `token`, or the `mean` of all tokens,
            without a class token.
          drop_path: Chance, in [0, 1), that the last layer leaves an image as it is
            in training; it grows linearly from 0 at the first layer (stochastic
            depth, Huang et al., 2016).
          remat: What the backward pass computes again in each layer: `none`, `dots`
            (all but products) or `full`.
          dtype: Dtype of the computation, float32 or bfloat16; parameters are
            float32.
          rngs: Random keys; stream `params`.

        Raises:
          ValueError: If `patch` does not divide `image_size`, or `heads` `width`, or
            there is no such size, `pool`, `drop_path` or `remat`.
        """
        given.check_sizes(image_size=image_size, num_classes=num_classes, patch=patch)
        given.check_sizes(width=width, layers=layers, heads=heads, mlp_width=mlp_width)
        given.check_sizes(channels=channels)
        if image_size % patch:
            raise ValueError(f"{image_size=} must be a multiple of {patch=}.")
        if width % heads:
            raise ValueError(f"{width=} must be a multiple of {heads=}.")
        if pool not in POOLS:
            raise ValueError(f"{pool=}, but it must be one of {[*POOLS]}.")
        if not isinstance(drop_path, float | int) or not 0 <= drop_path < 1:
            raise ValueError(f"{drop_path=} must be a number >= 0 and < 1.")
        self.remat = remats.check(remat)
        self.pool, self.drop_path = pool, drop_path
        self.image_size, self.channels = image_size, channels
        tokens = (image_size // patch) ** 2 + (pool == "token")
        self.patches = Patches(
            channels,
            width,
            (patch, patch),
            strides=patch,
            padding="VALID",
            dtype=dtype,
            # torchvision truncates at +-2, which is some 50 deviations away.
            kernel_init=initializers.normal((channels * patch**2) ** -0.5),
            rngs=rngs,
        )
        if pool == "token":
            self.class_token = nnx.Param(jnp.zeros((1, 1, width), jnp.float32))
        self.positions = nnx.Param(
            initializers.normal(0.02)(rngs.params(), (1, tokens, width), jnp.float32)
        )

        @nnx.vmap(in_axes=0, out_axes=0)
        def stack(keys):
            return EncoderLayer(width, mlp_width, heads, dtype, keys)

        # Drawn as a stack: one layer's random draws are compiled instead of twelve's.
        graph, stacked = nnx.split(stack(rngs.split(layers)))
        leaves, structure = jax.tree.flatten(stacked)
        self.layers = nnx.List(
            nnx.merge(graph, jax.tree.unflatten(structure, layer))
            for layer in zip(*map(jnp.unstack, leaves), strict=True)
        )
        self.norm = _norm(width, dtype, rngs)
        self.head = nnx.Linear(
            width, num_classes, kernel_init=initializers.zeros, rngs=rngs
        )

    def __call__(
        self,
        x: Float[Array, "b h w c"],
        *,
        train: bool,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "b k"]:
        """Maps images to float32 logits.

        Args:
          x: Images.
          train: Whether layers are dropped, if `drop_path` says so.
          key: Random key; needed for that alone.

        Raises:
          ValueError: If the images are not of the size and the channels for which the
            model was made, or the key is missing.
        """
        given.check_images(x, self.channels, self.image_size, some=True)
        if not (train and self.drop_path):
            key = None
        elif key is None:
            raise ValueError(
                f"key=None, but training with drop_path={self.drop_path} draws random"
                " numbers; give key=jax.random.key(step)."
            )
        x = self.patches(x)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        if self.pool == "token":
            class_token = jnp.broadcast_to(
                self.class_token[...], (x.shape[0], 1, x.shape[-1])
            )
            x = jnp.concatenate([class_token.astype(x.dtype), x], axis=1)
        x = add(x, self.positions[...])
        least = 0 if len(self.layers) > 1 else self.drop_path  # one layer is the last
        rates = jnp.linspace(least, self.drop_path, len(self.layers))
        for index, layer in enumerate(self.layers):
            is_last = index == len(self.layers) - 1
            first = (
                1 if is_last and self.pool == "token" else None
            )  # what the head reads
            with jax.named_scope(f"layer{index}"):
                after = remats.apply(self.remat, layer, x, first=first)
                if key is not None:
                    dropped = jax.random.fold_in(key, index), rates[index]
                    after = _drop_path(x[:, :first], after, *dropped)
                x = after
        if self.pool == "token":
            features = self.norm(x[:, 0])
        else:
            features = jnp.mean(self.norm(x).astype(jnp.float32), axis=1)
        return self.head(features.astype(jnp.float32))


def _drop_path(
    before: Float[Array, "b n d"],
    after: Float[Array, "b n d"],
    key: Key[Array, ""],
    rate: Float[Array, ""],
) -> Float[Array, "b n d"]:
    """Keeps some images as before a layer; the mean over chances is `after`."""
    keep = jax.random.bernoulli(key, 1 - rate, (before.shape[0], 1, 1))
    scale = jnp.where(keep, 1 / (1 - rate), 0).astype(before.dtype)
    return before + scale * (after - before)


vit_b16 = partial(ViT, patch=16, width=768, layers=12, heads=12, mlp_width=3072)
# Touvron et al., 2020 (DeiT-Ti), with patches for small images.
vit_ti8 = partial(ViT, patch=8, width=192, layers=12, heads=3, mlp_width=768)
vit_tiny = partial(ViT, patch=4, width=32, layers=2, heads=2, mlp_width=64)
