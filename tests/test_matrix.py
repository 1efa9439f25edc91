"""Every setup in which optax.lion works, times dtypes: `lion` works there too."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from setups import DECAY, RATE, SETUPS

from lion_jax import lion

pytestmark = pytest.mark.slow
MOMENTA = (None, "float32", "bfloat16", "int8")
WEIGHTS = ("float32", "bfloat16")
# Whatever works under strict promotion works without. These wrappers of Optax do not
# promote strictly themselves, so that optax.lion fails in them too.
NOT_STRICT = ("`optax.MultiSteps`", "`optax.lookahead`")
DOCS = Path(__file__).parents[1] / "docs" / "optimizer.md"
BEGIN, END = "<!-- the table of tests/test_matrix.py -->", "<!-- end of the table -->"


def run(name, factory, mu_dtype, dtype, promotion, folder):
    def make(**options):
        defaults = {"learning_rate": RATE, "weight_decay": DECAY}
        return factory(**defaults | {"mu_dtype": mu_dtype} | options)

    place = {"folder": folder} if name == "Orbax round trip" else {}
    with jax.numpy_dtype_promotion(promotion):
        return SETUPS[name](make, jnp.dtype(dtype), **place)


@pytest.mark.parametrize("dtype", WEIGHTS)
@pytest.mark.parametrize("name", SETUPS)
def test_trains_as_optax_lion_does(name, dtype, tmp_path):
    promotion = "standard" if name in NOT_STRICT else "strict"
    expected = run(name, optax.lion, None, dtype, promotion, tmp_path / "optax")
    # Optax computes bfloat16 weights in bfloat16.
    tolerance = 1e-6 if dtype == "float32" else 2.0**-7
    for mu_dtype in MOMENTA:
        found = run(name, lion, mu_dtype, dtype, promotion, tmp_path / f"{mu_dtype}")
        assert jax.tree.map(lambda p: p.dtype, found) == {"w": dtype, "b": dtype}
        for key, weights in found.items():
            np.testing.assert_allclose(
                weights.astype(jnp.float32),
                expected[key].astype(jnp.float32),
                rtol=tolerance,
                err_msg=f"{mu_dtype} momentum, {key}",
            )


@pytest.mark.parametrize("name", NOT_STRICT)
def test_wrappers_that_do_not_promote_strictly_are_optaxs(name, tmp_path):
    with pytest.raises(jax.dtypes.TypePromotionError):
        run(name, optax.lion, None, "float32", "strict", tmp_path)


def table():
    momenta = [f"{mu_dtype} momentum" for mu_dtype in MOMENTA]
    rows = [["", *momenta, "strict promotion"], ["---"] * (len(MOMENTA) + 2)]
    for name in SETUPS:
        strict = "Optax's wrapper does not" if name in NOT_STRICT else "yes"
        rows.append([name, *["yes"] * len(MOMENTA), strict])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def test_the_documentation_shows_this_table():
    _, _, rest = DOCS.read_text().partition(BEGIN)
    shown, _, _ = rest.partition(END)
    assert shown.strip() == table(), f"put this between the marks:\n\n{table()}"
