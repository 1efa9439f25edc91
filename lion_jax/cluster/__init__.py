"""Several processes that make one run: how they agree, take turns and end together.

This folder alone knows that there may be several. With one process everything in it
does nothing, or its work at once. Between processes there is JAX's own runtime and
nothing else: its coordination service, which process 0 hosts, holds a table of strings
and barriers; it tells who died, and on which step all stop after a SIGTERM.
"""

import contextlib
import itertools
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils

from lion_jax import interruption
from lion_jax.cluster.ending import progress as progress  # part of what is offered
from lion_jax.cluster.joining import client, preemption_service
from lion_jax.config import ConfigError
from lion_jax.interruption import Interrupted

T = TypeVar("T")
FOREVER = 7 * 24 * 3600  # seconds; the death of a process ends the wait long before
SECONDS_OF_A_DISK = 30.0  # until a shared disk shows the file that another host wrote
CHECK_EVERY = 32  # calls between two agreements on what clocks say

_numbers = itertools.count()  # of barriers and messages; equal in all processes


def processes() -> int:
    """Returns how many processes make the run."""
    return jax.process_count()


def is_primary() -> bool:
    """Returns whether this process is process 0, which writes and speaks."""
    return jax.process_index() == 0


def name() -> str:
    """Returns this process in words."""
    return f"process {jax.process_index()} on {socket.gethostname()}"


def wait() -> None:
    """Waits until all processes are here."""
    if processes() > 1:
        client().wait_at_barrier(f"lion_jax/{next(_numbers)}", FOREVER * 1000)


def by_primary(work: Callable[[], Any]) -> None:
    """Does something in process 0 alone; the others wait for it.

    What it raises ends process 0, and with it the others.
    """
    if is_primary():
        work()
    wait()


def primary_first(work: Callable[[], T]) -> T:
    """Does something in process 0 and then in the others, which may find it done."""
    made = work() if is_primary() else None
    wait()
    return work() if made is None else made


@contextlib.contextmanager
def entered_by_primary(
    entered: contextlib.AbstractContextManager[Any],
) -> Iterator[None]:
    """Enters and leaves something in process 0 alone, before and after the others."""
    with entered if is_primary() else contextlib.nullcontext():
        wait()
        yield
        wait()


def told_by_primary(text: Callable[[], str]) -> str:
    """Returns the text that process 0 makes."""
    if processes() == 1:
        return text()
    key = f"lion_jax/{next(_numbers)}"
    if is_primary():
        told = text()
        client().key_value_set(key, told)
        return told
    return client().blocking_key_value_get(key, FOREVER * 1000)


def decided_by_primary() -> Callable[[Callable[[], bool]], bool]:
    """Returns what asks process 0 a question whose answers may differ, as of clocks.

    Several processes are asked at every 32nd call only: an answer travels through the
    devices' queue.
    """
    calls = itertools.count(1)

    def decide(question: Callable[[], bool]) -> bool:
        if processes() == 1:
            return question()
        if next(calls) % CHECK_EVERY:
            return False
        return bool(multihost_utils.broadcast_one_to_all(question()))

    return decide


def require_agreement(what: str, values: dict[str, Any], remedy: str) -> None:
    """Requires equal values of all processes.

    Args:
      what: What is compared, for the message.
      values: By name, for JSON.
      remedy: What to do about a difference.

    Raises:
      ConfigError: In a process that has another value than process 0, naming both.
    """
    if processes() == 1:
        return
    own = json.loads(json.dumps(values, default=str))
    wanted = json.loads(told_by_primary(lambda: json.dumps(own)))
    for key in sorted(own.keys() | wanted.keys()):
        if own.get(key) != wanted.get(key):
            raise ConfigError(
                f"{name()} has another {what} than process 0: {key}"
                f" ({wanted.get(key)!r} there, {own.get(key)!r} here); {remedy}."
            )
    wait()


def require_shared(folder: Path, file: str) -> None:
    """Requires that a file which process 0 wrote is seen by all.

    Raises:
      ConfigError: If it is not, or is another, after half a minute.
    """
    if processes() == 1:
        return
    path = folder / file
    wanted = told_by_primary(path.read_text)
    until = time.monotonic() + SECONDS_OF_A_DISK
    while not (path.exists() and path.read_text() == wanted):
        if time.monotonic() > until:
            raise ConfigError(
                f"{folder} is another folder for {name()} than for process 0; give a"
                " --workdir on a disk that all processes share."
            )
        with contextlib.suppress(OSError):
            os.listdir(folder)  # a network disk looks again
        time.sleep(0.2)
    wait()


@contextlib.contextmanager
def caught_signals() -> Iterator[Interrupted]:
    """As `interruption.caught_signals`, for all processes at the same call.

    JAX's runtime notices SIGTERM to any of them. Other signals are passed on as one, so
    the number of SIGTERM is what all return. In processes that somebody else has joined
    without that service of the runtime, signals are left alone.
    """
    if processes() == 1:
        with interruption.caught_signals() as interrupted:
            yield interrupted
        return
    calls, received = itertools.count(), 0

    def interrupted() -> int:
        nonlocal received
        if not received and service.reached_sync_point(next(calls)):
            received = int(signal.SIGTERM)
        return received

    def pass_on(number: int) -> None:
        del number
        os.kill(os.getpid(), signal.SIGTERM)

    with preemption_service() as service:
        if service is None:
            yield lambda: 0
            return
        with interruption.handled(pass_on, but="SIGTERM"):
            yield interrupted
