"""Signals that ask a run to end: deferred until its state is saved."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

# SIGHUP: the session is lost; USR1, USR2 and XCPU: a scheduler's warnings.
DEFERRED = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
# The second one of these is obeyed at once. The others may come several times without
# a person's asking twice: a scheduler sends them to every step of a job.
IMPATIENT = ("SIGTERM", "SIGINT")

# Whether the process is one of the package's commands, which holds nothing but its run.
is_command = False
Interrupted = Callable[[], int]  # the pending signal's number, or 0


class InterruptedRunError(Exception):
    """A signal, whose `number` it has, ended a run; `run` resumes it from where it was.

    Examples:
      >>> try:  # doctest: +SKIP
      ...     training.run(config, "runs/mine")
      ... except training.InterruptedRunError as interruption:
      ...     print("interrupted by signal", interruption.number)
    """

    def __init__(self, number: int) -> None:
        """Names the signal by its number."""
        super().__init__(
            f"The run was interrupted by signal {number}; run it again to resume."
        )
        self.number = number


@contextlib.contextmanager
def caught_signals() -> Iterator[Interrupted]:
    """Defers the signals that end a run; yields what returns the first one's number.

    A signal that is ignored, as SIGHUP is under nohup, stays ignored. Outside of the
    main thread, where Python allows no handlers, nothing is deferred.
    """
    received: list[int] = []
    with handled(received.append):
        yield lambda: received[0] if received else 0


@contextlib.contextmanager
def handled(handle: Callable[[int], None], *, but: str = "") -> Iterator[None]:
    """Gives the signals that end a run to a function, but for one of them.

    A second one of `IMPATIENT` is handled as before this: Python raises
    KeyboardInterrupt, which leaves a notebook its variables. In a command it ends the
    process (`is_command`).

    Args:
      handle: Takes a signal's number.
      but: The name of a signal that is left alone.
    """
    before = {}

    def once(number: int) -> None:
        handle(number)
        if signal.Signals(number).name in IMPATIENT:
            signal.signal(number, signal.SIG_DFL if is_command else before[number])

    try:
        if threading.current_thread() is threading.main_thread():
            for number in _numbers(but):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    before[number] = signal.signal(number, lambda n, _: once(n))
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _numbers(but: str = "") -> list[int]:
    """Returns the deferred signals that this system has, but for one."""
    names = [name for name in DEFERRED if name != but and hasattr(signal, name)]
    return [getattr(signal, name) for name in names]
