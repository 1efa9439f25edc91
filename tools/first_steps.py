"""Runs docs/first_steps.md in an empty folder and home; compares what it prints.

    python tools/first_steps.py [--write]

`$ ` begins a command; what it prints, on both streams, follows. A block of Python is
saved under the name that the text before it gives. Numbers, times and the frames of
tables are not compared. --write keeps what the commands print now. Run it with the
Python of the environment that is to be tried.
"""

import argparse
import difflib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "first_steps.md"
BLOCK = re.compile(r"```(console|python)\n(.*?)```\n", re.DOTALL)
NUMBER = re.compile(r"[+-]?\d+(,\d{3})*(\.\d+)*(e[+-]?\d+)?")
# Which class is the weakest, and which the likeliest, depends on the processor.
CLASSES = re.compile(r"(?<=weakest class is )[^:]+|(?<=^picture.png ).*", re.MULTILINE)
SECONDS = 300  # that a command may take


def run(page: str) -> str:
    """Runs a page; returns it with what its commands print now.

    Raises:
      SystemExit: If a command ends with another status than 0.
    """
    with tempfile.TemporaryDirectory() as empty:
        folder, home = Path(empty) / "folder", Path(empty) / "home"
        folder.mkdir()
        home.mkdir()
        place = Path(sys.executable).parent
        kept = {k: v for k, v in os.environ.items() if k != "XDG_CACHE_HOME"}
        environ = kept | {
            "HOME": str(home),
            "PATH": f"{place}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "80",
        }
        parts, end = [], 0
        for block in BLOCK.finditer(page):
            before = page[end : block.start()]
            parts.append(before)
            end = block.end()
            if block[1] == "python":
                name = re.findall(r"`(\w+\.py)`", before)[-1]
                (folder / name).write_text(block[2])
                parts.append(block[0])
                continue
            parts.append("```console\n")
            for line in block[2].splitlines():
                if line.startswith("$ "):
                    printed = _printed(line[2:], folder, environ)
                    parts.append(f"{line}\n{printed.replace(f'{folder}/', '')}")
            parts.append("```\n")
        return "".join([*parts, page[end:]])


def _printed(command: str, folder: Path, environ: dict[str, str]) -> str:
    ran = subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    if ran.returncode:
        raise SystemExit(f"{command}\n{ran.stdout}\nended with {ran.returncode}")
    lines = (line.rstrip() for line in ran.stdout.splitlines())
    return "".join(f"{line}\n" for line in lines if line)


def words(page: str) -> list[str]:
    """Returns a page's lines as they are compared."""
    page = CLASSES.sub("", page)
    lines = NUMBER.sub("#", re.sub("[━─═┃│┏┓┡┩└┘┴┳╇┼]", " ", page)).splitlines()
    return [" ".join(line.split()) for line in lines if line.split()]


def main(argv: list[str]) -> int:
    """Returns the exit status: 1 if the page shows other words than are printed."""
    assert __doc__
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="keep what is printed")
    flags = parser.parse_args(argv)
    page = PAGE.read_text()
    now = run(page)
    if flags.write:
        PAGE.write_text(now)
        return 0
    changed = [*difflib.unified_diff(words(page), words(now), "page", "now", "", "", 1)]
    print("\n".join(changed) or "every command prints what the page shows")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
