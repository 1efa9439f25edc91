"""When a state within an epoch is to be saved."""

from time import perf_counter

from lion_jax import cluster


class Interval:
    """A stretch of minutes that begins anew with each save; 0 for one without end."""

    def __init__(self, minutes: float) -> None:
        """Begins one."""
        self._seconds = 60 * minutes
        self._ask = cluster.decided_by_primary()
        self.restart()

    def restart(self) -> None:
        """Begins the next one."""
        self._last = perf_counter()

    def is_over(self) -> bool:
        """Returns whether it is over; of several processes, by the clock of one."""
        return bool(self._seconds) and self._ask(self._has_passed)

    def _has_passed(self) -> bool:
        return perf_counter() - self._last >= self._seconds
