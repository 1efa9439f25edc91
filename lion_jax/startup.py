"""What a command does before its imports: system, packages, Ctrl-C.

The package imports this module first. Only `python -m lion_jax...` is a command; a
program that imports the package keeps its handlers, and may run on any system.
"""

import importlib.metadata
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

SYSTEMS = {"linux": "Linux", "darwin": "macOS"}  # by sys.platform
# How the package's metadata mark what commands need.
NEEDED = re.compile("""extra *== *['"]train['"]""")
CALLER_MISTAKE = 2
INTERRUPTED = 128 + signal.SIGINT


def is_command(argv: Sequence[str], words: Sequence[str]) -> bool:
    """Whether the process is a command of this package, and still being imported.

    `python -m lion_jax`, which lists them, needs nothing.

    Args:
      argv: `sys.argv`; Python puts `-m` first until the command's module is found.
      words: `sys.orig_argv`, the whole command line.
    """
    modules = (word.removeprefix("-m") for word in words)
    return [*argv[:1]] == ["-m"] and any(
        module.startswith("lion_jax.") for module in modules
    )


def prepare() -> None:
    """Refuses systems without tests and missing packages; lets Ctrl-C end the imports.

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
    if missing := missing_packages():
        others = f" and {len(missing) - 1} more packages" if missing[1:] else ""
        print(
            f"error: the commands of lion_jax need {missing[0]}{others}, not installed"
            " here; run python -m pip install 'lion-jax[train]'.",
            file=sys.stderr,
        )
        raise SystemExit(CALLER_MISTAKE)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, leave)


def missing_packages() -> list[str]:
    """Names the packages that commands need and that are not installed.

    Nothing is known of a source tree that is not installed: its imports fail by name.
    """
    try:
        requirements = importlib.metadata.requires("lion-jax") or []
    except importlib.metadata.PackageNotFoundError:
        return []
    names = [
        re.split(r"[^\w.-]", text)[0] for text in requirements if NEEDED.search(text)
    ]
    return [name for name in names if not _is_installed(name)]


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


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
