"""Image files as arrays: what Pillow reads, in one shape."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    PHOTOMETRIC_INTERPRETATION,
    TiffImageFile,
)

from lion_jax.data.dataset import DataError

NAMED = 5  # in a message about several files


def read(
    path: Path, shape: Sequence[int], *, exact: bool = False
) -> UInt8[np.ndarray, "h w c"]:
    """Reads an image file as an array of a given shape.

    The camera's rotation (EXIF) is undone, grey of up to 16 bits is scaled to 8 (and
    inverted where a TIFF's 0 is white), transparency is dropped, and the file's colours
    become grey or RGB as the channels ask for. The image is cut to the shape's
    proportions around its centre and resized (bilinear, antialiased).

    Args:
      path: The file, in any format that Pillow reads; of several frames, the first.
      shape: Height and width in pixels, and 1 or 3 channels.
      exact: Whether to refuse an image of another size.

    Raises:
      Exception: Whatever Pillow's many parts raise of what is no image, damaged, or too
        large to be meant; `reason` has it in words.
    """
    with Image.open(path) as opened:
        image = ImageOps.exif_transpose(opened)
        if exact and image.size != (shape[1], shape[0]):
            raise ValueError(
                "it is {} x {} pixels once it is turned".format(*image.size)
            )
        if image.mode == "I" or image.mode.startswith("I;16"):
            image = _eight_bits(np.asarray(image), *_bits(opened))
        if image.mode == "F":
            raise ValueError("its pixels are floats")
        if image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        image = image.convert("L" if shape[2] == 1 else "RGB")
        return _fitted(image, shape)


def _bits(image: Image.Image) -> tuple[int, bool]:
    """Returns of grey values in more than eight bits how many, and if 0 is white."""
    if not isinstance(image, TiffImageFile):  # Pillow scales other formats' to 16
        return 16, False
    bits = image.tag_v2.get(BITSPERSAMPLE, (16,))[0]
    return bits, image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0


def _eight_bits(grey: np.ndarray, bits: int, inverted: bool) -> Image.Image:
    if bits > 16 or grey.min() < 0 or grey.max() >= 2**bits:
        raise ValueError("its grey values are not of 8 to 16 bits")
    pixels = (grey * (255 / (2**bits - 1))).round().astype(np.uint8)
    return Image.fromarray(255 - pixels if inverted else pixels)


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
        except Exception as error:  # Pillow raises what its many parts raise
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
    if isinstance(error, Image.DecompressionBombError):
        return (
            f"more pixels than {2 * (Image.MAX_IMAGE_PIXELS or 0):,}: make it smaller"
        )
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "no image that Pillow reads" if isinstance(error, OSError) else str(error)
