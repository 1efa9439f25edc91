"""Lock files: one process at a time, and who it is, on which machine, since when.

The system releases a lock when its process ends, however it ends, so a lock is never
stale; the words in its file may be, and are judged by `is_held`. Between machines a
lock is worth what their shared disk makes of it: NFS mounted with `nolock` and GPFS
exclude nobody, and some Lustre has no locks, which is why the file names the machine.
"""

import contextlib
import dataclasses
import datetime
import errno
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

ATTEMPTS = 5
PAUSE = 0.02  # seconds between them; `is_held` of another process holds for less
WORDS = re.compile(r"process (\d+) on (.+) since (\S+)")

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Holder:
    """The process that a lock file names."""

    process: int
    host: str = ""  # older versions wrote the process's number alone
    since: str = ""  # UTC, in ISO 8601

    def __str__(self) -> str:
        """Returns the words that stand in the file, and in messages."""
        if not self.host:
            return f"process {self.process}"
        return f"process {self.process} on {self.host} since {self.since}"


class HeldError(Exception):
    """A lock that another process holds; its text names the process."""


def this_process() -> Holder:
    """Returns what the locks name that this process takes now."""
    now = datetime.datetime.now(datetime.UTC)
    return Holder(os.getpid(), socket.gethostname(), f"{now:%Y-%m-%dT%H:%M:%S}Z")


def read(path: Path) -> Holder | None:
    """Returns whom a lock file names; None for nobody, as after an orderly end."""
    try:
        text = path.read_text("utf-8", errors="replace").strip()
    except OSError:
        return None
    if match := WORDS.fullmatch(text):
        return Holder(int(match[1]), match[2], match[3])
    return Holder(int(text)) if text.isdecimal() else None


def is_held(path: Path) -> bool | None:
    """Returns whether a process holds a lock; None where this machine cannot know."""
    try:
        import fcntl

        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return None
    named = read(path)
    return None if named and named.host not in ("", socket.gethostname()) else False


@contextlib.contextmanager
def held(path: Path, refusal: Callable[[str], Exception] = HeldError) -> Iterator[None]:
    """Holds a lock, whose file and folders are made if absent.

    Without `fcntl` (Windows), or on a disk without locks, nothing is excluded, and a
    warning is given.

    Args:
      path: The lock file.
      refusal: Makes what is raised if another process holds it, from that one's name.

    Raises:
      HeldError: If another process holds it, unless `refusal` makes something else.
    """
    with _acquired(path, refusal) as file:
        file.truncate(0)
        file.write(f"{this_process()}\n")
        file.flush()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                file.truncate(0)


def _acquired(path: Path, refusal: Callable[[str], Exception]) -> IO[str]:
    """Returns the locked file, at its path, after a few attempts."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+", encoding="utf-8")
        except FileNotFoundError:  # another process has just removed an empty folder
            continue
        with contextlib.ExitStack() as stack:
            stack.enter_context(file)
            with contextlib.suppress(BlockingIOError, FileNotFoundError):
                _lock(file, path)
                # Its last holder may have removed it between the two calls.
                if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                    stack.pop_all()
                    return file
    raise refusal(str(read(path) or "an unknown process"))


def _lock(file: IO[str], path: Path) -> None:
    """Locks a file, or warns of what may not be excluded."""
    named = read(path)
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        _log.warning(
            "%s is on a disk without locks (%s): a second run in it would not be"
            " noticed.",
            path.parent,
            error.strerror,
        )
    if named and named.host not in ("", socket.gethostname()):
        _log.warning(
            "%s names %s, which did not end by itself or is still at work, since locks"
            " may not reach across machines. Two processes must not make the same run.",
            path,
            named,
        )
