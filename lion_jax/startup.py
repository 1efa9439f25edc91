"""What a command does before its imports, which take seconds: system, Ctrl-C.

The package imports this module first. Only `python -m lion_jax...` is a command; a
program that imports the package keeps its handlers, and may run on any system.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

SYSTEMS = {"linux": "Linux", "darwin": "macOS"}  # by sys.platform
CALLER_MISTAKE = 2
INTERRUPTED = 128 + signal.SIGINT


def is_command(argv: Sequence[str], words: Sequence[str]) -> bool:
    """Whether the process is a command of this package, and still being imported.

    Args:
      argv: `sys.argv`; Python puts `-m` first until the command's module is found.
      words: `sys.orig_argv`, the whole command line.
    """
    modules = (word.removeprefix("-m") for word in words)
    return [*argv[:1]] == ["-m"] and any(
        module.partition(".")[0] == "lion_jax" for module in modules
    )


def prepare() -> None:
    """Refuses systems on which commands are not tested; lets Ctrl-C end the imports.

    Raises:
      SystemExit: With status 2, after one line.
    """
    if sys.platform not in SYSTEMS:
        known = " and ".join(SYSTEMS.values())
        print(
            f"error: the commands of lion_jax run on {known}, not on {sys.platform!r};"
            " use one of these, such as Linux in WSL.",
            file=sys.stderr,
        )
        raise SystemExit(CALLER_MISTAKE)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)


def leave(number: int, frame: object) -> NoReturn:
    """Ends the process in one line, since there is nothing to save yet.

    An exception would pass through the imports of others, some of which catch it.
    """
    del number, frame
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


def finished() -> None:
    """Makes Ctrl-C an exception again: the command has begun."""
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if is_command(sys.argv, sys.orig_argv):
    prepare()
