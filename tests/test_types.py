"""The installed package's public names are fully known to a strict type checker."""

import json
import subprocess
import sys

import pytest

USERS_FILE = """
import optax
from lion_jax import LionState, from_optax, lion, scale_by_lion, to_optax

tx = lion(1e-4, mu_dtype="int8", mode="hard")
alone = scale_by_lion(0.9, 0.99, mode="smooth", smooth_beta=2.0)
theirs = from_optax(optax.EmptyState(), "lion"), to_optax(None, None)
print(LionState, tx, alone, theirs)
wrong = lion(1e-4, mode="soft")
"""


def assert_known(folder, python, environ=None):
    """The package that an interpreter finds leaves pyright no question but ours."""
    (folder / "train.py").write_text(USERS_FILE)
    settings = {"typeCheckingMode": "strict"}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson"]
    command += [f"--pythonpath={python}", f"--project={folder}"]
    ran = subprocess.run(command, capture_output=True, text=True, env=environ)
    found = [
        (row["range"]["start"]["line"], row.get("rule"))
        for row in json.loads(ran.stdout)["generalDiagnostics"]
        # Optax has no stubs; it is not ours to mend.
        if 'Stub file not found for "optax"' not in row["message"]
    ]
    # The only mistake is the last line's mode.
    assert found == [(len(USERS_FILE.splitlines()) - 1, "reportArgumentType")]


@pytest.mark.slow
def test_a_users_file_is_known_in_strict_mode(tmp_path):
    assert_known(tmp_path, sys.executable)
