"""Rows of arrays on the host, some at a time: the arrays may be larger than memory.

The pages of a mapped file count as the process's memory once they were read. They are
given back after each block, so that reading a whole file holds one block of it.
"""

import math
import mmap
from collections.abc import Iterator
from typing import Any

import numpy as np

BLOCK_BYTES = 2**26


class Rows:
    """Chosen rows of an array on the host, read when they are asked for."""

    def __init__(self, array: "np.ndarray | Rows", rows: np.ndarray) -> None:
        """Reads nothing yet.

        Args:
          array: The whole array, in memory or mapped from a file; or rows of one.
          rows: The indices of the chosen rows.
        """
        within = isinstance(array, Rows)
        self._array: np.ndarray = array._array if within else array
        self._rows: np.ndarray = array._rows[rows] if within else rows

    @property
    def shape(self) -> tuple[int, ...]:
        """As of the array that the rows would make."""
        return (len(self._rows), *self._array.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """That of the array."""
        return self._array.dtype

    @property
    def nbytes(self) -> int:
        """Of the array that the rows would make."""
        return self.dtype.itemsize * math.prod(self.shape)

    def __len__(self) -> int:
        """Returns the number of rows."""
        return len(self._rows)

    def __getitem__(self, key: slice | np.ndarray) -> np.ndarray:
        """Reads some of the rows into a new array."""
        # On the plain array: NumPy's subclass for mapped files gathers more slowly.
        taken = np.take(np.asarray(self._array), self._rows[key], axis=0)
        _release(self._array)
        return taken


def blocks(array: np.ndarray | Rows) -> Iterator[np.ndarray]:
    """Yields an array's rows in order, in blocks of about `BLOCK_BYTES`."""
    row_bytes = array.dtype.itemsize * int(np.prod(array.shape[1:]))
    step = max(1, BLOCK_BYTES // max(1, row_bytes))
    for start in range(0, len(array), step):
        yield np.asarray(array[start : start + step])
        if isinstance(array, np.ndarray):
            _release(array)


def _release(array: np.ndarray) -> None:
    """Gives back the memory of a mapped file's pages; the system may keep them."""
    # What was written to a private copy of the file would be lost.
    if isinstance(array.base, mmap.mmap) and not array.flags.writeable:
        array.base.madvise(mmap.MADV_DONTNEED)
