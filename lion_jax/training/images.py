"""From uint8 images to the network's input, inside the compiled step."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, UInt8


def augment(
    images: UInt8[Array, "b h w c"],
    key: Key[Array, ""],
    *,
    crop_padding: int = 0,
    flip: bool = False,
    erasing: float = 0.0,
) -> UInt8[Array, "b h w c"]:
    """Crops, mirrors and partly erases each image, at the resolution it came in.

    Args:
      images: A batch.
      key: Random key of this batch.
      crop_padding: Black pixels added on every side before a crop of the original
        size; 0 for no crop.
      flip: Whether half of the images are mirrored left to right.
      erasing: Share of the images of which a rectangle becomes noise (random
        erasing, Zhong et al., 2017, https://arxiv.org/abs/1708.04896).

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
    return _erase(images, jax.random.fold_in(key, 2), erasing) if erasing else images


def _erase(
    images: UInt8[Array, "b h w c"], key: Key[Array, ""], share: float
) -> UInt8[Array, "b h w c"]:
    """Puts noise into a rectangle of 2 to 40 % of the area, of aspect 0.3 to 1 / 0.3.

    A rectangle that is longer than the image is cut; the paper draws another.
    """
    b, h, w, _ = images.shape
    chosen, area, aspect, top, left, noise = jax.random.split(key, 6)
    area = jax.random.uniform(area, (b,), minval=0.02, maxval=0.4) * h * w
    limit = jnp.log(1 / 0.3)
    aspect = jnp.exp(jax.random.uniform(aspect, (b,), minval=-limit, maxval=limit))

    def inside(length: int, side: Array, key: Key[Array, ""]) -> Bool[Array, "b n"]:
        side = jnp.clip(jnp.round(side), 1, length)
        start = jnp.floor(jax.random.uniform(key, (b,)) * (length - side + 1))
        place = jnp.arange(length, dtype=jnp.float32)
        return (place >= start[:, None]) & (place < (start + side)[:, None])

    rows = inside(h, jnp.sqrt(area * aspect), top)[:, :, None, None]
    columns = inside(w, jnp.sqrt(area / aspect), left)[:, None, :, None]
    erased = rows & columns & jax.random.bernoulli(chosen, share, (b, 1, 1, 1))
    return jnp.where(erased, jax.random.bits(noise, images.shape, jnp.uint8), images)


def mixup(
    images: Float[Array, "b h w c"],
    labels: Int[Array, " b"],
    key: Key[Array, ""],
    alpha: float,
) -> tuple[Float[Array, "b h w c"], Int[Array, " b"], Float[Array, ""]]:
    """Mixes each image with its neighbour in the batch, all in one proportion.

    Args:
      images: A batch in random order, standardized.
      labels: Their classes.
      key: Random key of this batch.
      alpha: The proportion is drawn from Beta(alpha, alpha).

    Returns:
      The mixed images, the classes of the neighbours, the share of the images' own.

    References:
      Zhang et al., 2017, https://arxiv.org/abs/1710.09412
    """
    share = jax.random.beta(key, alpha, alpha)
    mixed = share * images + (1 - share) * jnp.roll(images, 1, axis=0)
    return mixed, jnp.roll(labels, 1), share


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
    x = (x - jnp.asarray([[[mean]]])) / jnp.asarray([[[std]]])
    return x if c == channels else jnp.repeat(x, channels, axis=-1)
