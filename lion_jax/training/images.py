"""From uint8 images to the model's input, inside the compiled step.

A new augmentation is a field of `config.AugmentConfig` and its function here, called by
`Augmentation`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, UInt8

Mix = Callable[[Float[Array, "b k"]], Float[Array, "b k"]]


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a batch, as `config.AugmentConfig` has them; off by default.

    Called with uint8 images, it crops, mirrors and partly erases each at the resolution
    that it came in; `mix` then mixes standardized images with one another.
    """

    crop_padding: int = 0
    flip: bool = False
    erasing: float = 0.0
    mixup: float = 0.0

    def __call__(
        self, images: UInt8[Array, "b h w c"], *, key: Key[Array, ""]
    ) -> UInt8[Array, "b h w c"]:
        """Changes each image by itself.

        Args:
          images: A batch.
          key: Random key of this batch.

        Returns:
          Images of the same shape.
        """
        crop_key, flip_key = jax.random.split(key)
        if self.crop_padding:
            images = crop(images, self.crop_padding, key=crop_key)
        if self.flip:
            images = flip(images, key=flip_key)
        if self.erasing:
            images = erase(images, self.erasing, key=jax.random.fold_in(key, 2))
        return images

    def mix(
        self, images: Float[Array, "b h w c"], *, key: Key[Array, ""]
    ) -> tuple[Float[Array, "b h w c"], Mix]:
        """Mixes images with one another.

        Args:
          images: A batch in random order, standardized.
          key: Random key of this batch.

        Returns:
          The images, and what mixes their targets alike.
        """
        if self.mixup:
            return mixup(images, self.mixup, key=key)
        return images, lambda targets: targets


def crop(
    images: UInt8[Array, "b h w c"], padding: int, *, key: Key[Array, ""]
) -> UInt8[Array, "b h w c"]:
    """Pads each image with black pixels and cuts a window of its size out of it."""
    b, h, w, c = images.shape
    sides = (padding, padding)
    padded = jnp.pad(images, ((0, 0), sides, sides, (0, 0)))
    corners = jax.random.randint(key, (b, 2), 0, 2 * padding + 1)

    def cut(image, corner):
        return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (h, w, c))

    return jax.vmap(cut)(padded, corners)


def flip(
    images: UInt8[Array, "b h w c"], *, key: Key[Array, ""]
) -> UInt8[Array, "b h w c"]:
    """Mirrors half of the images left to right."""
    mirrored = jax.random.bernoulli(key, shape=(len(images), 1, 1, 1))
    return jnp.where(mirrored, images[:, :, ::-1], images)


def erase(
    images: UInt8[Array, "b h w c"], share: float, *, key: Key[Array, ""]
) -> UInt8[Array, "b h w c"]:
    """Puts noise into a rectangle of some images (random erasing).

    Args:
      images: A batch.
      share: Fraction of the images that lose a rectangle: 2 to 40 % of the area, of
        aspect ratio 0.3 to 1 / 0.3.
      key: Random key of this batch.

    Returns:
      Images of the same shape. A rectangle that is longer than the image is cut, where
      the paper draws another.

    References:
      Zhong et al., 2017, https://arxiv.org/abs/1708.04896
    """
    b, h, w, _ = images.shape
    chosen, area, aspect, top, left, noise = jax.random.split(key, 6)
    area = jax.random.uniform(area, (b,), minval=0.02, maxval=0.4) * h * w
    limit = jnp.log(1 / 0.3)
    aspect = jnp.exp(jax.random.uniform(aspect, (b,), minval=-limit, maxval=limit))

    def inside(length: int, side: Array, key: Key[Array, ""]) -> Bool[Array, "b n"]:
        side = jnp.clip(jnp.round(side), 1, length)
        start = jnp.floor(jax.random.uniform(key, (b,)) * (length - side + 1))
        place = jnp.arange(length, dtype=jnp.float32)[None]
        return (place >= start[:, None]) & (place < (start + side)[:, None])

    rows = inside(h, jnp.sqrt(area * aspect), top)[:, :, None, None]
    columns = inside(w, jnp.sqrt(area / aspect), left)[:, None, :, None]
    erased = rows & columns & jax.random.bernoulli(chosen, share, (b, 1, 1, 1))
    return jnp.where(erased, jax.random.bits(noise, images.shape, jnp.uint8), images)


def mixup(
    images: Float[Array, "b h w c"], alpha: float, *, key: Key[Array, ""]
) -> tuple[Float[Array, "b h w c"], Mix]:
    """Mixes each image with its neighbour in the batch, all in one proportion.

    Args:
      images: A batch in random order, standardized.
      alpha: The proportion is drawn from Beta(alpha, alpha).
      key: Random key of this batch.

    Returns:
      The mixed images, and what mixes the targets alike.

    References:
      Zhang et al., 2017, https://arxiv.org/abs/1710.09412
    """
    share = jax.random.beta(key, alpha, alpha)

    def mix(x):
        return share * x + (1 - share) * jnp.roll(x, 1, axis=0)

    return mix(images), mix


def standardize(
    images: UInt8[Array, "b h w c"],
    *,
    size: int,
    channels: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Float[Array, "b size size channels"]:
    """Resizes (bilinear, antialiased), normalizes and repeats grey to `channels`.

    Args:
      images: A batch.
      size: Height and width of the result in pixels.
      channels: Channels of the result; the images have as many, or one.
      mean: Mean of each image channel, for pixels in [0, 1].
      std: Standard deviation of each image channel, for pixels in [0, 1].

    Returns:
      float32 images.
    """
    b, _, _, c = images.shape
    x = images.astype(jnp.float32) / 255
    x = jax.image.resize(x, (b, size, size, c), "bilinear", antialias=True)
    mean_, std_ = (jnp.asarray([[[each]]], jnp.float32) for each in (mean, std))
    x = (x - mean_) / std_
    return x if c == channels else jnp.repeat(x, channels, axis=-1)
