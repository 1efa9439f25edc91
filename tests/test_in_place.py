"""The compiled step writes weights and momentum where they lie: no copy, no room."""

import os
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import optax
import pytest

from lion_jax import lion
from lion_jax.optimizer.in_place import ONE_LOOP

pytestmark = pytest.mark.usefixtures("full_compilation")

SIDE = 1024
LEAVES = 3
BYTES = 4 * SIDE**2

without_the_flags = pytest.mark.skipif(
    ONE_LOOP in os.environ.get("XLA_FLAGS", ""),
    reason="these loops are what XLA makes without the commands' flags",
)


def compiled(tx):
    shape = jax.ShapeDtypeStruct((SIDE, SIDE), jnp.float32)
    params = {str(i): shape for i in range(LEAVES)}

    def step(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    step = jax.jit(step, donate_argnums=(0, 1))
    return step.lower(params, jax.eval_shape(tx.init, params), params).compile()


def copies(program):
    return len(re.findall(rf"\[{SIDE},{SIDE}\]\S* copy\(", program.as_text()))


def loops(program):
    """How many loops write weights or momenta."""
    _, _, entry = program.as_text().partition("ENTRY")
    return len(re.findall(rf"= .*\[{SIDE},{SIDE}\].* fusion\(", entry))


@pytest.mark.standard_promotion("Optax's schedules compare integers with floats")
@pytest.mark.parametrize(
    "tx",
    [
        lion(1e-4, weight_decay=1.0),
        lion(1e-4, mu_dtype="bfloat16"),
        lion(
            optax.cosine_decay_schedule(1e-4, 10),
            mask=lambda p: {"0": True, "1": False, "2": True},
        ),
        lion(1e-4, cautious_weight_decay=True),
        lion(1e-4, mode="smooth", smooth_beta=2.0),
    ],
    ids=["float32", "bfloat16", "schedule and mask", "decay", "smooth"],
)
def test_no_copy_of_a_momentum_and_no_temporary(tx):
    program = compiled(tx)
    assert copies(program) == 0
    assert program.memory_analysis().temp_size_in_bytes < BYTES / 4
    # Weights and momenta, all of them, come back in the buffers they came in.
    held = program.memory_analysis().alias_size_in_bytes
    assert held >= LEAVES * (BYTES + SIDE**2 * 2)


def test_no_copy_of_a_momentum_in_a_chain():
    # The clipped gradients are two readers' temporary, and Optax's.
    clipped = optax.chain(optax.clip_by_global_norm(1.0), lion(1e-4))
    assert copies(compiled(clipped)) == 0


@without_the_flags
@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"b2": 0.5}, {"b1": 0.0}, {"mu_dtype": "float16"}, {"mu_dtype": "int8"}]
)
def test_the_old_momentum_is_copied_where_it_is_read(options):
    assert copies(compiled(lion(1e-4, **options))) == LEAVES


def test_a_byte_momentum_takes_no_float32_room():
    program = compiled(lion(1e-4, mu_dtype="int8"))
    # XLA:CPU copies the bytes; rows are counted without any matrix of their own.
    room = program.memory_analysis().temp_size_in_bytes
    assert room < 1.05 * LEAVES * BYTES / 4


@without_the_flags
def test_byte_momenta_of_one_shape_share_their_kernels():
    # XLA:CPU compiles equal fusions once; a known place in a vector would tell them
    # apart.
    text = compiled(lion(1e-4, mu_dtype="int8")).as_text()
    bodies = dict(re.findall(r"^%(\S+) \(.*?\{\n(.*?)^\}", text, re.M | re.S))
    called = re.findall(rf"= s8\[{SIDE},{SIDE}\]\S* fusion\(.*calls=%([\w.]+)", text)
    assert len(called) == LEAVES
    assert not any(re.search(r" slice\(", bodies[name]) for name in called)
    assert all(" dynamic-slice(" in bodies[name] for name in called)


@without_the_flags
def test_the_yardstick_sees_optaxs_copies():
    assert copies(compiled(optax.lion(1e-4))) == LEAVES


@pytest.mark.slow
def test_with_the_commands_flags_no_momentum_is_copied_or_widened():
    """In a process with them; there, `lion` and its program are those of a user."""
    code = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
import test_in_place as t
program = t.compiled(t.lion(1e-4, weight_decay=1.0))
print(t.copies(program), t.loops(program))
for dtype in ("int8", "bfloat16"):
    memory = t.compiled(t.lion(1e-4, mu_dtype=dtype)).memory_analysis()
    print(memory.temp_size_in_bytes)
"""
    flags = f"--xla_backend_extra_options={ONE_LOOP}"
    flags += " --xla_cpu_experimental_onednn_custom_call=true"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    *found, of_int8, of_bfloat16 = map(int, ran.stdout.split())
    assert found == [0, LEAVES], ran.stderr
    assert of_int8 < LEAVES * BYTES / 2  # its values stay out of memory
    assert of_bfloat16 < BYTES / 4  # and those before its rounding
