"""From uint8 images to the network's input, inside the compiled step."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt8


def augment(
    images: UInt8[Array, "b h w c"],
    key: Key[Array, ""],
    *,
    crop_padding: int = 0,
    flip: bool = False,
) -> UInt8[Array, "b h w c"]:
    """Crops and mirrors each image at random, at the resolution it came in.

    Args:
      images: A batch.
      key: Random key of this batch.
      crop_padding: Black pixels added on every side before a crop of the original
        size; 0 for no crop.
      flip: Whether half of the images are mirrored left to right.

    Returns:
      Images of the same shape.
    """
    crop_key, flip_key = jax.random.split(key)
    b, h, w, c = images.shape
    if crop_padding:
        p = crop_padding
        padded = jnp.pad(images, ((0, 0), (p, p), (p, p), (0, 0)))
        corners = jax.random.randint(crop_key, (b, 2), 0, 2 * p + 1)

        def crop(image, corner):
            return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (h, w, c))

        images = jax.vmap(crop)(padded, corners)
    if flip:
        mirrored = jax.random.bernoulli(flip_key, shape=(b, 1, 1, 1))
        images = jnp.where(mirrored, images[:, :, ::-1], images)
    return images


def standardize(
    images: UInt8[Array, "b h w c"],
    *,
    size: int,
    channels: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> Float[Array, "b size size channels"]:
    """Resizes (bilinear, antialiased), normalises and repeats grey to `channels`.

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
    x = (x - jnp.asarray(mean)) / jnp.asarray(std)
    return x if c == channels else jnp.repeat(x, channels, axis=-1)
