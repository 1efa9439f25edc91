"""What a kind of source of data sets is, for the rows of `lion_jax.data.SOURCES`."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lion_jax.data.dataset import DataError, Dataset


class Request(NamedTuple):
    """Which data set is asked for, and how: the fields of a configuration's `data`."""

    name: str
    data_dir: str = ""
    cache_dir: str = ""
    image_size: int = 0  # height and width in pixels; 0: as the images are
    options: str = ""  # arguments of a function of the user's own, in JSON


class Place(NamedTuple):
    """Where a data set may be."""

    title: str
    path: Path | None  # None: somewhere else than on the disk
    present: bool


class Source(NamedTuple):
    """A kind of source of data sets."""

    has: Callable[[str], bool]  # whether names of this form are its own
    load: Callable[[Request], Dataset]
    places: Callable[[Request], list[Place]]  # in the order in which it tries


def require_no_folder(request: Request, where: str) -> None:
    """Refuses a folder for a set that is somewhere else.

    Args:
      request: What is asked for.
      where: Where the set is, to end a sentence.

    Raises:
      DataError: Names the remedy.
    """
    if request.data_dir:
        raise DataError(
            f"data.data_dir={request.data_dir!r}, but {where}; set"
            " --config.data.data_dir= (empty)."
        )


def require_no_image_size(request: Request) -> None:
    """Refuses an image size for a set whose images are arrays already.

    Raises:
      DataError: Names the remedy.
    """
    if request.image_size:
        raise DataError(
            f"data.image_size={request.image_size}, but the images of {request.name}"
            " are arrays of one size; set --config.data.image_size=0."
        )
