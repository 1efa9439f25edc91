"""Runs the optimizer's tests with the oldest versions of its four libraries.

    python3.11 tools/lowest.py

installs the lower bounds of pyproject.toml's `dependencies` into a new environment, as
an index has them, and runs there the doctests of the optimizer and those files of tests
that need nothing else of the package.
"""

import os
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOOLS = ("beartype", "chex", "hypothesis", "pytest")
FILES = (
    *("tests/test_bf16.py", "tests/test_claims.py", "tests/test_distributed.py"),
    *("tests/test_edges.py", "tests/test_in_place.py", "tests/test_int8.py"),
    *("tests/test_lion.py", "tests/test_optax_own.py", "tests/test_properties.py"),
    *("tests/test_variants.py", "lion_jax/__init__.py", "lion_jax/optimizer"),
)
# What old versions and new tools warn of is no failure of the optimizer.
OPTIONS = (
    *("-o", "addopts=--doctest-modules --strict-markers", "-o", "filterwarnings="),
    *("-p", "no:cacheprovider", "--quiet"),
)


def main() -> int:
    bounds = [text.replace(">=", "==") for text in PROJECT["project"]["dependencies"]]
    print(f"Python {sys.version.split()[0]}:", *bounds)
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        install = [python, "-m", "pip", "install", "--quiet", *bounds, *TOOLS]
        subprocess.run(install, check=True)
        return subprocess.run(
            [python, "-m", "pytest", *OPTIONS, *FILES],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
