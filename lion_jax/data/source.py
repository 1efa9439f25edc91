"""What a kind of source of data sets is, for the rows of `lion_jax.data.SOURCES`."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from lion_jax.data.dataset import Dataset


class Place(NamedTuple):
    """Where a data set may be."""

    title: str
    path: Path | None  # None: somewhere else than on the disk
    present: bool


class Source(NamedTuple):
    """A kind of source of data sets, by functions of name, data_dir and cache_dir.

    To load, the options of a function of the user's own come last, in JSON.
    """

    has: Callable[[str], bool]  # whether names of this form are its own
    load: Callable[[str, str, str, str], Dataset]
    places: Callable[[str, str, str], list[Place]]  # in the order in which it tries
