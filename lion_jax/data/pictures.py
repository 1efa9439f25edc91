"""Image files as arrays: what Pillow reads, in one shape."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from lion_jax.data.dataset import DataError

# What Pillow raises for files that are no images, damaged, or too large to be meant.
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)
NAMED = 5  # in a message about several files


def read(path: Path, shape: Sequence[int]) -> UInt8[np.ndarray, "h w c"]:
    """Reads an image file as an array of a given shape.

    The camera's rotation (EXIF) is undone, 16-bit grey is scaled to 8 bits,
    transparency is dropped, and the file's colours become grey or RGB as the channels
    ask for. The image is cut to the shape's proportions around its centre and resized
    (bilinear, antialiased).

    Args:
      path: The file, in any format that Pillow reads; of several frames, the first.
      shape: Height and width in pixels, and 1 or 3 channels.

    Raises:
      OSError, ValueError, ...: One of `UNREADABLE` if the file cannot be read.
    """
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if image.mode == "I" or image.mode.startswith("I;16"):
            grey = np.asarray(image)
            if grey.min() < 0 or grey.max() >= 2**16:
                raise ValueError("its grey values are not of 8 or 16 bits")
            image = Image.fromarray((grey / 257).round().astype(np.uint8))
        if image.mode == "F":
            raise ValueError("its pixels are floats")
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        image = image.convert("L" if shape[2] == 1 else "RGB")
        return _fitted(image, shape)


def fit(pixels: UInt8[np.ndarray, "h w c"], size: int) -> UInt8[np.ndarray, "s s c"]:
    """Cuts an image's square around the centre and resizes it, as `read` does."""
    channels = pixels.shape[2]
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    return _fitted(image, (size, size, channels))


def _fitted(image: Image.Image, shape: Sequence[int]) -> UInt8[np.ndarray, "h w c"]:
    height, width, channels = shape
    fitted = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(fitted).reshape(height, width, channels)


def read_all(
    paths: Iterable[Path], shape: Sequence[int]
) -> UInt8[np.ndarray, "n h w c"]:
    """Reads image files as `read` does, in their order.

    Raises:
      DataError: Names those that cannot be read.
    """
    images, failures = [], []
    for path in paths:
        try:
            images.append(read(path, shape))
        except UNREADABLE as error:
            failures.append(f"{path} ({reason(error)})")
    if failures:
        more = f" and {len(failures) - NAMED} more" if failures[NAMED:] else ""
        raise DataError(
            f"{', '.join(failures[:NAMED])}{more}: cannot be read as images; leave"
            " them out, or save them anew as PNG or JPEG."
        )
    return np.stack(images) if images else np.zeros((0, *shape), np.uint8)


def reason(error: Exception) -> str:
    """Returns why a file cannot be read, in a few words."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "no image that Pillow reads" if isinstance(error, OSError) else str(error)
