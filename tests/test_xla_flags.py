"""Which flags of XLA:CPU the commands set, and whom they yield to."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from lion_jax import runtime, xla_flags

pytestmark = pytest.mark.usefixtures("full_compilation")

REFERENCE = Path(__file__).with_name("float64_reference.py")
FUSION, ONEDNN = "xla_backend_extra_options", "xla_cpu_experimental_onednn_custom_call"
YNNPACK = "xla_cpu_experimental_ynn_fusion_type"


@pytest.fixture
def before_the_backend(monkeypatch):
    """A process of a measured version on a processor with bfloat16 arithmetic."""
    monkeypatch.delenv(xla_flags.SWITCH, raising=False)
    monkeypatch.setenv(xla_flags.VARIABLE, "")
    monkeypatch.setattr(xla_flags, "_backend_runs", lambda: False)
    monkeypatch.setattr(xla_flags, "jaxlib_version", lambda: "0.12.0.1")
    monkeypatch.setattr(
        xla_flags, "instruction_sets", lambda: frozenset({"avx512_bf16"})
    )


def names(**arithmetic):
    options = {"bfloat16": False, "int8_momentum": False} | arithmetic
    return {flag.name for flag in xla_flags.set_flags(**options)}


@pytest.mark.parametrize(
    ("arithmetic", "expected"),
    [
        ({}, {FUSION}),
        ({"bfloat16": True}, {FUSION, ONEDNN, YNNPACK}),
        ({"int8_momentum": True}, set()),
        ({"bfloat16": True, "int8_momentum": True}, {ONEDNN, YNNPACK}),
    ],
)
def test_a_flag_is_set_where_it_pays(before_the_backend, arithmetic, expected):
    assert names(**arithmetic) == expected
    there = os.environ["XLA_FLAGS"]
    assert {flag for flag in (FUSION, ONEDNN, YNNPACK) if flag in there} == expected


@pytest.mark.parametrize(
    "users",
    ["--xla_backend_extra_options=xla_cpu_something=1", f"--{FUSION}=", f"--{FUSION}"],
)
def test_what_the_user_has_set_wins(before_the_backend, monkeypatch, users):
    monkeypatch.setenv("XLA_FLAGS", users)
    assert names() == set()
    assert os.environ["XLA_FLAGS"] == users


def test_a_flag_that_was_tried_beside_another_is_not_set_alone(
    before_the_backend, monkeypatch
):
    monkeypatch.setenv("XLA_FLAGS", f"--{ONEDNN}=false")
    assert names(bfloat16=True) == {FUSION}


def test_other_flags_of_the_user_are_kept(before_the_backend, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/tmp/x")
    assert names() == {FUSION}
    assert os.environ["XLA_FLAGS"].startswith("--xla_dump_to=/tmp/x --xla_backend")


def test_a_file_of_flags_is_left_as_it_is(before_the_backend, monkeypatch):
    """XLA takes what does not begin with a sign as a file's name, to the end."""
    monkeypatch.setenv("XLA_FLAGS", "/home/me/flags of mine.txt")
    assert names() == set()
    assert os.environ["XLA_FLAGS"] == "/home/me/flags of mine.txt"


@pytest.mark.parametrize(
    "reason", ["switched off", "untried version", "accelerator", "backend runs"]
)
def test_no_flag_is_set(before_the_backend, monkeypatch, reason):
    if reason == "switched off":
        monkeypatch.setenv("LION_JAX_XLA", "off")
    elif reason == "untried version":
        monkeypatch.setattr(xla_flags, "jaxlib_version", lambda: "0.12.1")
    elif reason == "accelerator":
        monkeypatch.setattr(xla_flags, "_computes_on_cpu", lambda: False)
    else:
        monkeypatch.setattr(xla_flags, "_backend_runs", lambda: True)
    assert names(bfloat16=True) == set()
    assert os.environ["XLA_FLAGS"] == ""


def test_bfloat16_without_the_processors_arithmetic(before_the_backend, monkeypatch):
    monkeypatch.setattr(xla_flags, "instruction_sets", lambda: frozenset({"avx2"}))
    assert names(bfloat16=True) == {FUSION}


def test_a_running_backend_is_noticed():
    jax.devices()
    assert xla_flags._backend_runs()


def test_programs_that_cannot_be_stored_are_not_stored(monkeypatch):
    stored = []
    monkeypatch.setattr(runtime, "keep_memory", lambda: True)
    monkeypatch.setattr(runtime, "cache_compilations", stored.append)
    monkeypatch.setattr(jax.config, "update", lambda name, value: stored.append(value))
    monkeypatch.setattr(
        xla_flags,
        "set_flags",
        lambda **_: [f for f in xla_flags.FLAGS if not f.cacheable],
    )
    runtime.start(bfloat16=True)
    assert stored == [False]


@pytest.mark.slow
def test_xla_knows_every_flag_of_the_installed_version():
    """An unknown flag ends a process, whatever the program."""
    flags = [f for f in xla_flags.FLAGS if xla_flags.jaxlib_version() in f.jaxlibs]
    environ = os.environ | {
        "XLA_FLAGS": " ".join(f"--{flag.name}={flag.value}" for flag in flags)
    }
    code = "import jax.numpy as jnp; print(jnp.ones((64, 64), 'bfloat16').sum())"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True
    )
    assert ran.stdout.strip() == "4096", ran.stderr


@pytest.mark.slow
def test_steps_with_the_flags_follow_float64(tmp_path):
    """Losses and gradients of float32 with the flags on, beside float64 without."""
    flags = [f for f in xla_flags.FLAGS if xla_flags.jaxlib_version() in f.jaxlibs]
    on = " ".join(f"--{flag.name}={flag.value}" for flag in flags)
    found = {}
    for dtype, environ in (
        (
            "float64",
            {
                "JAX_ENABLE_X64": "1",
                "XLA_FLAGS": "",
                "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            },
        ),
        ("float32", {"XLA_FLAGS": on}),
    ):
        out = tmp_path / f"{dtype}.npz"
        ran = subprocess.run(
            [sys.executable, str(REFERENCE), dtype, str(out)],
            env=os.environ | environ,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
        found[dtype] = dict(np.load(out))
    for name, expected in found["float64"].items():
        error = np.abs(found["float32"][name] - expected).max()
        assert error < 1e-4 * np.abs(expected).max(), name
