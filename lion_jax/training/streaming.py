"""Batches sent from the host while the devices compute.

A window holds the examples of one dispatch. It is gathered and sent by a thread, one
ahead of what is asked for.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, TypeVar

import jax
import numpy as np
from jax.sharding import Sharding
from jaxtyping import Int

from lion_jax.training.state import Examples

T = TypeVar("T")


class Stream:
    """The examples of a split on the host, of which windows are sent to the devices."""

    def __init__(self, examples: Examples, length: int, sharding: Sharding) -> None:
        """Sends nothing yet.

        Args:
          examples: On the host, in memory or mapped from a file.
          length: Examples of a window.
          sharding: Of a window on the devices.
        """
        self._examples = examples
        self._length = length
        self._sharding = sharding

    def window(self, rows: Int[np.ndarray, " b"]) -> Examples:
        """Returns chosen examples on the devices."""
        with jax.transfer_guard("allow"):
            return Examples(*(self._sent(array, rows) for array in self._examples))

    def _sent(self, array: Any, rows: Int[np.ndarray, " b"]) -> jax.Array:
        """Sends rows of an array, of which this host reads those of its devices."""
        if self._sharding.is_fully_addressable:
            return jax.device_put(array[rows], self._sharding)
        shape = len(rows), *array.shape[1:]

        def part(index: Any) -> np.ndarray:
            return array[rows[index[0]]]

        return jax.make_array_from_callback(shape, self._sharding, part)

    def abstract(self) -> Examples:
        """Returns shapes, dtypes and sharding of a window."""
        arrays: list[Any] = [
            jax.ShapeDtypeStruct(
                (self._length, *array.shape[1:]), array.dtype, sharding=self._sharding
            )
            for array in self._examples
        ]
        return Examples(*arrays)


class Batches:
    """The batches of an epoch, in its order; they are taken one after the other."""

    def __init__(
        self,
        stream: Stream,
        order: Int[np.ndarray, " n"],
        batch_size: int,
        slots: int = 1,
        done: int = 0,
    ) -> None:
        """Gathers nothing yet.

        Args:
          stream: Of windows of `slots` batches.
          order: The epoch's order of the examples.
          batch_size: Examples of a batch.
          slots: Batches of a window; batch i lies in slot i modulo `slots`.
          done: Batches that are not needed any more.
        """
        whole = len(order) // batch_size * batch_size
        self._order = order[:whole].reshape(-1, batch_size)
        self._slots = slots
        self._next = done
        self._windows = Ahead(lambda first: stream.window(self._rows(first)))

    def take(self, count: int) -> Examples:
        """Returns the window that holds the next batches."""
        first, self._next = self._next, self._next + count
        more = self._next < len(self._order)
        return self._windows.get(first, self._next if more else None)

    def _rows(self, first: int) -> Int[np.ndarray, " b"]:
        slots = np.arange(self._slots)
        batches = first + (slots - first) % self._slots
        # Past the epoch's end, where a profile may go, its batches come again.
        return self._order[batches % len(self._order)].reshape(-1)


class Ahead(Generic[T]):
    """Makes things by number, the one that is needed next in a thread."""

    def __init__(self, make: Callable[[int], T]) -> None:
        """Starts no thread yet.

        Args:
          make: From a number to the thing.
        """
        self._make = make
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._made: dict[int, Future[T]] = {}

    def get(self, number: int, following: int | None) -> T:
        """Returns a thing, and begins with the one that will be asked for next."""
        future = self._made.pop(number, None)
        made = future.result() if future else self._make(number)
        if following is not None:
            self._made = {following: self._pool.submit(self._make, following)}
        return made
