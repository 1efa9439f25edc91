"""Every setup in which optax.lion works, times dtypes: `lion` works there too."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from setups import DECAY, RATE, SETUPS

from lion_jax import lion

pytestmark = pytest.mark.usefixtures("quick_compilation")
MOMENTA = (None, "float32", "bfloat16", "int8")
WEIGHTS = ("float32", "bfloat16")
PROMOTIONS = ("standard", "strict")
DOCS = Path(__file__).parents[1] / "docs" / "optimizer.md"
# What optax.lion cannot do either: strictly promoted dtypes in the library itself.
FAILS_IN_OPTAX = {}


def run(name, factory, mu_dtype, dtype, promotion, folder):
    def make(**options):
        defaults = {"learning_rate": RATE, "weight_decay": DECAY}
        return factory(**defaults | {"mu_dtype": mu_dtype} | options)

    place = {"folder": folder} if name == "Orbax round trip" else {}
    with jax.numpy_dtype_promotion(promotion):
        return SETUPS[name](make, jnp.dtype(dtype), **place)


@pytest.mark.parametrize("promotion", PROMOTIONS)
@pytest.mark.parametrize("dtype", WEIGHTS)
@pytest.mark.parametrize("name", SETUPS)
def test_works_where_optax_lion_works(name, dtype, promotion, tmp_path):
    expected = None
    try:
        expected = run(name, optax.lion, None, dtype, promotion, tmp_path / "theirs")
    except Exception as error:
        print("OPTAX FAILS", name, dtype, promotion, type(error), str(error)[:200])
    for mu_dtype in MOMENTA:
        try:
            found = run(
                name, lion, mu_dtype, dtype, promotion, tmp_path / f"{mu_dtype}"
            )
        except Exception as error:
            print(
                "OURS FAILS",
                name,
                mu_dtype,
                dtype,
                promotion,
                type(error),
                str(error)[:300],
            )
            if expected is not None:
                raise
            continue
        assert jax.tree.map(lambda p: p.dtype, found) == {"w": dtype, "b": dtype}
        if expected is not None:
            # Optax computes bfloat16 weights in bfloat16.
            tolerance = 1e-6 if dtype == "float32" else 2.0**-7
            for key in ("w", "b"):
                np.testing.assert_allclose(
                    found[key].astype(jnp.float32),
                    expected[key].astype(jnp.float32),
                    rtol=tolerance,
                )
