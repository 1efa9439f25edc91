"""What a model refuses: sizes that are none, and images that it was not made for."""

import operator
from typing import Any

import jax


def check_sizes(**sizes: Any) -> None:
    """Refuses sizes that are no integers, or below 1.

    Raises:
      ValueError: Names the first of them.
    """
    for name, size in sizes.items():
        try:
            fits = operator.index(size) >= 1
        except TypeError:
            fits = False
        if not fits:
            raise ValueError(f"{name}={size!r}, but it must be an integer >= 1.")


def check_images(
    x: jax.Array, channels: int, size: int | None = None, *, some: bool
) -> None:
    """Refuses images that do not fit a model; nothing of it is computed.

    Args:
      x: What the model was given.
      channels: Of the images that it is made for.
      size: Their height and width in pixels; None for any.
      some: Whether there must be at least one.

    Raises:
      ValueError: If it is no batch of such images.
    """
    height, width = (size, size) if size else ("h", "w")
    wanted = f"({', '.join(map(str, ('n', height, width, channels)))})"
    if x.ndim != 4:
        raise ValueError(
            f"images of shape {x.shape}, but it must be {wanted}; give one image as"
            " x[None]."
        )
    if x.shape[3] != channels or (size and x.shape[1:3] != (size, size)):
        raise ValueError(
            f"images of shape {x.shape}, but it must be {wanted}; make the model for"
            " their image_size and channels, which come last."
        )
    if some and x.shape[0] == 0:
        raise ValueError(f"images of shape {x.shape}; give at least one image.")
