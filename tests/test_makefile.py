"""Which interpreter the Makefile takes, and that its commands are those documented."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORKS = f'exec "{sys.executable}" "$@"'
FAILS = "echo 'the version is not active' >&2; exit 127"
OLD = f"""exec "{sys.executable}" -c '
import sys
sys.version_info = (3, 10, 0)
exec(sys.argv[1])' "$2\""""


@pytest.fixture
def machine(tmp_path):
    """A copy of the Makefile on a machine with the given interpreters only."""
    tools = {name: shutil.which(name) for name in ("sh", "make")}
    (tmp_path / "bin").mkdir()
    (tmp_path / "tools").mkdir()
    for name, path in tools.items():
        (tmp_path / "bin" / name).symlink_to(path)
    for name in ("Makefile", "tools/find_python.sh"):
        shutil.copy(ROOT / name, tmp_path / name)

    def run(interpreters, *command):
        for name, body in interpreters.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"#!{tools['sh']}\n# {name}\n{body}\n")
            path.chmod(0o755)
        environ = {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path)}
        return subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True
        )

    return run


def named(name):
    """An interpreter that works and reports where it was found."""
    return f"echo {name}"


@pytest.mark.parametrize(
    ("interpreters", "expected"),
    [
        ({"bin/python3": named("old"), "bin/python3.13": named("new")}, "new"),
        ({"bin/python3.12": named("newer"), "bin/python3.11": named("old")}, "newer"),
        ({"bin/python3.13": FAILS, "bin/python3.12": named("next")}, "next"),
        ({"bin/python3.14": named("new"), "bin/python3.11": named("old")}, "new"),
        ({"bin/python3.14": named("new"), "bin/python3.12": named("tried")}, "tried"),
        ({"bin/python3.13": FAILS, "bin/python3": named("plain")}, "plain"),
        (
            {
                "bin/python3.13": FAILS,
                ".pyenv/versions/3.13.5/bin/python3.13": named("pyenv"),
                "bin/python3.12": named("next"),
            },
            "pyenv",
        ),
        (
            {
                ".local/share/uv/python/cpython-3.13.1-linux/bin/python3.13": named(
                    "uv"
                ),
                "bin/python3.11": named("old"),
            },
            "uv",
        ),
        ({"bin/python3": WORKS}, sys.executable),
        ({"bin/python3": OLD}, ""),
        ({}, ""),
    ],
    ids=[
        "newer than python3",
        "newest of two",
        "shim that fails",
        "untried before old",
        "tried before untried",
        "only python3 runs",
        "pyenv",
        "uv",
        "real",
        "too old",
        "none",
    ],
)
def test_the_newest_interpreter_that_runs_is_found(machine, interpreters, expected):
    found = machine(interpreters, "sh", "tools/find_python.sh")
    assert found.stdout.strip() == expected
    assert not found.stderr


def test_make_uses_the_interpreter_that_it_is_given(machine):
    interpreters = {"bin/python3.13": named("new"), "bin/mine": named("mine")}
    assert '"new" -m venv' in machine(interpreters, "make", "-n", "train").stdout
    given = machine(interpreters, "make", "-n", "train", "PYTHON=mine").stdout
    assert '"mine" -m venv' in given
    assert "new" not in given


@pytest.mark.parametrize(
    ("interpreters", "arguments", "line"),
    [
        ({}, [], "No usable Python 3.11 to 3.14 was found; set PYTHON=..."),
        (
            {"bin/mine": OLD},
            ["PYTHON=mine"],
            "PYTHON=mine must be Python 3.11 to 3.14",
        ),
    ],
    ids=["none", "too old"],
)
def test_make_without_a_usable_interpreter_fails_in_one_line(
    machine, interpreters, arguments, line
):
    ran = machine(interpreters, "make", "train", *arguments)
    assert ran.returncode == 2
    first, *rest = ran.stderr.splitlines()
    assert first == line
    assert all(text.startswith("make: ***") for text in rest)


def test_documented_commands_are_the_makefiles():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][\w-]*):", makefile, re.MULTILINE))
    documented = {
        name: set(re.findall(r"\bmake ([a-z][\w-]*)", (ROOT / name).read_text()))
        for name in ("README.md", "CONTRIBUTING.md", ".pre-commit-config.yaml")
    }
    assert documented["CONTRIBUTING.md"] >= {"quick", "check", "test"}
    assert documented[".pre-commit-config.yaml"] == {"format-check", "lint", "types"}
    for name, commands in documented.items():
        assert commands <= targets, name
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
