"""How processes end together, in bounded time, and say why.

One that fails tells the others before it leaves, since JAX would let them wait for
minutes. One that dies is missed by JAX's heartbeat, which aborts the others. One that
hangs is given up after some time without progress. The same command resumes the run.
"""

import atexit
import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import jax

from lion_jax.cluster.launchers import Place

FAILED = "lion_jax/failed"  # the key under which a process tells why it fails
PAUSE = 1.0  # seconds between two looks for it
HEARD = 3 * PAUSE  # until all processes have looked
RESUME = "rerun the same command to resume."

_watch: "_Watch | None" = None
_handlers: list[Any] = []  # of C, which must outlive their registration
_until_the_end = contextlib.ExitStack()


def watch(client: Any, place: Place, heartbeat: int, stall: int) -> None:
    """Begins to watch the other processes, and this one's progress."""
    global _watch
    _watch = _Watch(client, place, heartbeat, stall)
    _until_the_end.enter_context(on_abort(_watch.aborted))
    _watch.start()
    # Python would end the thread within JAX's C++, which aborts.
    atexit.register(_watch.stop)


def progress() -> None:
    """Notes that the run goes on; until the first time, a stall is none."""
    if _watch:
        _watch.seen = time.monotonic()


def fail(error: BaseException, status: int, line: str) -> None:
    """Ends a process of several that has failed, and the others; else does nothing.

    Args:
      error: What it failed of.
      status: The exit status of all.
      line: Why, in one line; empty for an error of the program, whose traceback is
        printed.
    """
    if _watch:
        if _is_consequence(error):
            _watch.await_reason()
        if not line:
            traceback.print_exception(error)
            line = f"error: {_watch.name}: {type(error).__name__}: {error}"
        _watch.end(status, " ".join(line.split()))


def _is_consequence(error: BaseException | None) -> bool:
    """Whether an error may be that of a process which others have left.

    Then that one has told why, or is dead, which JAX notices soon.
    """
    while error is not None:
        if isinstance(error, jax.errors.JaxRuntimeError):
            return "RESOURCE_EXHAUSTED" not in str(error)
        error = error.__cause__ or error.__context__
    return False


class _Watch(threading.Thread):
    """Looks for another process's failure, and whether this one makes progress."""

    def __init__(self, client: Any, place: Place, heartbeat: int, stall: int) -> None:
        name = f"process {place.process} on {socket.gethostname()}"
        super().__init__(daemon=True, name=name)
        self.seen: float | None = None
        self._status: int | None = None  # with which it leaves
        self._over = threading.Event()
        self._client = client
        self._place = place
        self._heartbeat = heartbeat
        self._stall = stall

    def run(self) -> None:
        while not self._over.wait(PAUSE):
            self._look()
            if self._is_stalled() and self._status is None:
                line = f"error: {self.name}: no progress for {self._stall} s"
                self.end(1, f"{line} (--stall_timeout); {RESUME}")

    def stop(self) -> None:
        """Ends the watch, where the process has done its work."""
        self._over.set()
        self.join(HEARD)

    def aborted(self) -> tuple[str, int]:
        """Returns what is said, and the status, where JAX gives another up."""
        if self._status is not None:  # this one is leaving, and has said why
            return "", self._status
        reason = "another process died or cannot be reached"
        return f"error: {self.name}: {reason}; {RESUME}", 1

    def end(self, status: int, line: str) -> None:
        self._status = status
        told = json.dumps({"status": status, "line": line})
        first = True
        try:
            self._client.key_value_set(FAILED, told)
        except Exception:  # another process was first
            first = self._told().get("line") != line
        if first:
            _print(line)
        self._leave(status)

    def await_reason(self) -> None:
        """Leaves if another process tells why it failed, or is found to be dead."""
        for _ in range(round((HEARD + self._heartbeat) / PAUSE)):
            self._look()
            time.sleep(PAUSE)

    def _look(self) -> None:
        if self._status is None and (told := self._told()):
            self._status = told["status"]
            if not self._place.process:
                _print(told["line"])
            self._leave(told["status"])

    def _told(self) -> dict[str, Any]:
        try:
            return json.loads(self._client.key_value_try_get(FAILED))
        except Exception:  # nothing was told; or the service is gone, and JAX aborts
            return {}

    def _is_stalled(self) -> bool:
        limit = self._stall or float("inf")
        return self.seen is not None and time.monotonic() - self.seen > limit

    def _leave(self, status: int) -> None:
        if not self._place.process:  # the service that the others ask ends with it
            time.sleep(HEARD)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)  # JAX would wait for the others, in vain


def _print(line: str, stream: int = 2) -> None:
    with contextlib.suppress(OSError):
        os.write(stream, f"{line}\n".encode(errors="replace"))


@contextlib.contextmanager
def on_abort(why: Callable[[], tuple[str, int]], stream: int = 2) -> Iterator[None]:
    """Prints a line and exits where JAX's runtime calls `abort`.

    Python's own handlers of signals would come too late: the process ends in C. An
    abort within this one ends it as if it were not there.

    Args:
      why: Returns the line, or nothing to be said, and the exit status.
      stream: The file descriptor that it is written to.
    """

    def leave(number: int) -> None:
        del number
        line, status = why()
        if line:
            _print(line, stream)
        os._exit(status)

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(leave)
    _handlers.append(handler)
    libc = ctypes.CDLL(None)
    # Where the C library has it: a handler that is called once.
    register = getattr(libc, "sysv_signal", libc.signal)
    register.restype = ctypes.c_void_p
    register.argtypes = [ctypes.c_int, ctypes.c_void_p]
    before = register(signal.SIGABRT, ctypes.cast(handler, ctypes.c_void_p))
    try:
        yield
    finally:
        register(signal.SIGABRT, before)
