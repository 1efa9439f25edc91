"""What is settled before JAX starts: kept memory, kept programs."""

import os
import stat
import subprocess
import sys

import jax
import pytest

from lion_jax import runtime

pytestmark = pytest.mark.slow
FAULTS = """\
import resource, sys
import jax, jax.numpy as jnp
from lion_jax import runtime
if "keep" in sys.argv:
    print(runtime.keep_memory())

@jax.jit
def step(x):  # a Fourier transform reads and writes whole arrays, 64 MB each
    return jnp.fft.fft(x * 2)[::512]

x = jnp.arange(2.0**23).reshape(-1, 64).astype(jnp.complex64)
# The heap takes some steps to settle, and how many depends on its threads.
for _ in range(12 if "keep" in sys.argv else 2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step(x).block_until_ready()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    if faults < 1000:
        break
print(faults)
"""
COMPILE = """\
import logging, sys
from pathlib import Path
logging.basicConfig(format="%(message)s")
from lion_jax import runtime
runtime.SECONDS_WORTH_KEEPING = 0.0
runtime.start(*sys.argv[1:])
import jax, jax.numpy as jnp
jax.jit(lambda x: jnp.sin(x) @ x)(jnp.ones((8, 8))).block_until_ready()
"""


@pytest.fixture
def python(tmp_path):
    """Runs a script in a process with a home of its own and none of JAX's settings."""
    home = tmp_path / "home"
    home.mkdir()

    def run(script, *arguments, **environ):
        settings = ("JAX_COMPIL", "JAX_ENABLE_COMPIL", "XLA_FLAGS")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(settings)}
        kept |= {"HOME": str(home), "XDG_CACHE_HOME": "", "LION_JAX_CACHE": ""}
        return subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env=kept | environ,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def files(folder):
    return sorted(path.name for path in folder.glob("*-cache"))


def test_kept_memory_is_not_asked_for_again(python):
    given_back = int(python(FAULTS).stdout)
    kept = python(FAULTS, "keep").stdout.split()
    if kept[0] == "False":
        pytest.skip("the C library has no mallopt")
    if given_back < 25_000:  # of 5 x 32,768
        pytest.skip("the system hands out huge pages, or keeps memory by itself")
    assert int(kept[1]) < 0.3 * given_back


def test_programs_are_kept_for_the_user_alone(python, tmp_path):
    folder = tmp_path / "home" / ".cache" / "lion_jax" / "compiled"
    ran = python(COMPILE)
    assert ran.returncode == 0, ran.stderr
    kept = files(folder)
    assert kept
    for path in (folder, folder.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert python(COMPILE).returncode == 0
    assert files(folder) == kept  # the second process found all that it needed


def test_a_half_written_program_is_compiled_again_and_replaced(python, tmp_path):
    folder = tmp_path / "home" / ".cache" / "lion_jax" / "compiled"
    python(COMPILE)
    path = max(folder.glob("*-cache"), key=lambda path: path.stat().st_size)
    whole = path.read_bytes()
    for length in 0, 500:
        path.write_bytes(whole[:length])
        ran = python(COMPILE)
        assert ran.returncode == 0
        assert not ran.stderr
        assert len(path.read_bytes()) > 500


def test_another_folder_or_none(python, tmp_path):
    assert python(COMPILE, "off").returncode == 0
    assert not list((tmp_path / "home").iterdir())
    assert python(COMPILE, str(tmp_path / "other")).returncode == 0
    assert files(tmp_path / "other")
    assert not list((tmp_path / "home").iterdir())


def test_jaxs_own_setting_stays_unless_the_flag_says_otherwise(python, tmp_path):
    mine, other = tmp_path / "mine", tmp_path / "other"
    settings = {
        "JAX_COMPILATION_CACHE_DIR": str(mine),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    python(COMPILE, "off", **settings)
    assert not files(mine)
    python(COMPILE, **settings)
    assert files(mine)
    before = files(mine)
    python(COMPILE, str(other), **settings)
    assert files(other)
    assert files(mine) == before
    assert not list((tmp_path / "home").iterdir())


def test_a_folder_that_others_may_write_to_is_not_used(python, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    ran = python(COMPILE, str(shared))
    assert ran.returncode == 0
    assert f"other users may write to {shared}; chmod 700 it" in ran.stderr
    assert not files(shared)


def test_another_users_folder_is_not_used(tmp_path, monkeypatch, caplog):
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    before = jax.config.jax_compilation_cache_dir
    with caplog.at_level("WARNING"):
        assert not runtime.cache_compilations(tmp_path / "theirs")
    assert "theirs is another user's; give another --compilation_cache" in caplog.text
    assert jax.config.jax_compilation_cache_dir == before


def test_a_folder_that_cannot_be_made_is_reported(python, tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "inside"):
        ran = python(COMPILE, str(place))
        assert ran.returncode == 0
        assert "Compiled programs are not kept" in ran.stderr
