"""Writes constraints.txt from `pip freeze` of environments that passed the tests.

    python tools/make_constraints.py py311.txt py313.txt > constraints.txt

takes the freeze of Python 3.11 and that of the newest Python. A package of one version
in both is pinned to it, the others by Python version.
"""

import re
import sys
from pathlib import Path

OLD, NEW = 'python_version < "3.12"', 'python_version >= "3.12"'
HEADER = """\
# The versions with which the tests passed, on Python 3.11 and on Python 3.12 and newer.
# Made by tools/make_constraints.py."""


def read_freeze(path: str) -> dict[str, str]:
    """Versions by package name, of the lines `name==version`."""
    text = Path(path).read_text()
    return dict(re.findall(r"^([\w.-]+)==([\w.+!-]+)$", text, re.MULTILINE))


def main(old_path: str, new_path: str) -> None:
    old, new = read_freeze(old_path), read_freeze(new_path)
    print(HEADER)
    for name in sorted(old.keys() | new.keys(), key=str.lower):
        if old.get(name) == new.get(name):
            print(f"{name}=={old[name]}")
            continue
        for versions, marker in ((old, OLD), (new, NEW)):
            if name in versions:
                print(f"{name}=={versions[name]}; {marker}")


if __name__ == "__main__":
    main(*sys.argv[1:])
