"""Lists the commands: `python -m lion_jax`."""

import os
import sys
from pathlib import Path

from lion_jax import recipes

PACKAGE = Path(__file__).parent


def commands() -> dict[str, str]:
    """Returns the first line of each command's docstring; imports none of them."""
    first_lines = {}
    for path in sorted([*PACKAGE.glob("*.py"), *PACKAGE.glob("*/__main__.py")]):
        text = path.read_text(encoding="utf-8")
        if path != Path(__file__) and 'if __name__ == "__main__":' in text:
            name = path.parent.name if path.stem == "__main__" else path.stem
            first_lines[name] = recipes.first_line(path)
    return first_lines


def main(argv: list[str]) -> int:
    """Prints the commands; returns the exit status."""
    if argv and argv[0] in commands():
        print(f"error: use python -m lion_jax.{' '.join(argv)}", file=sys.stderr)
        return 2
    if argv and not {"--help", "-h"} & {*argv}:
        print(
            f"error: {argv[0]!r} is no command; python -m lion_jax lists them.",
            file=sys.stderr,
        )
        return 2
    print("The commands, each with --help:\n")
    for name, meaning in commands().items():
        print(f"  python -m lion_jax.{name:<10} {meaning}")
    return 0


if __name__ == "__main__":
    try:  # not by cli.run, which needs more than is installed without the extras
        status = main(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:  # as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    sys.exit(status)
