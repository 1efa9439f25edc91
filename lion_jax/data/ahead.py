"""What is read from many files, by several threads and in the files' order."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

AHEAD = 256  # files that are read before what they hold is used
T = TypeVar("T")


def in_order(read: Callable[[Path], T], paths: Sequence[Path]) -> Iterator[T]:
    """Yields what each file holds, some read ahead and not all."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), AHEAD):
            yield from pool.map(read, paths[start : start + AHEAD])
