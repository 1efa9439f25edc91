"""In which dtypes a function computes, whatever it is given and returns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lion_jax.training import computed


def dtypes_of(function, *args):
    """The names of the dtypes, and what was returned, from within a program."""
    seen = []

    @jax.jit
    def program(*args):
        traced, *dtypes = computed.traced(function, *args)
        seen.append(jax.tree.map(str, tuple(dtypes)))
        return traced(*args)

    returned = program(*args)
    jax.tree.map(np.testing.assert_array_equal, returned, jax.jit(function)(*args))
    return seen[0]


def narrow(x):
    return jnp.sin(x.astype(jnp.bfloat16)).sum().astype(jnp.float32)


CASES = {  # and the dtypes of what is given and of the gradient
    "a cast": (narrow, "bfloat16", "bfloat16"),
    "in a call": (jax.jit(narrow), "bfloat16", "bfloat16"),
    "recomputed": (jax.checkpoint(narrow), "bfloat16", "bfloat16"),
    "reshaped": (lambda x: narrow(x.reshape(3, 4)), "bfloat16", "bfloat16"),
    "used twice": (lambda x: narrow(x) + narrow(-x), "float32", "float32"),
    "cast twice": (
        lambda x: narrow(x) + narrow(x.astype(jnp.float16)),
        "float32",
        "float32",
    ),
    "no cast": (lambda x: jnp.sin(x).sum(), "float32", "float32"),
    "in a loop": (
        lambda x: jax.lax.scan(lambda s, y: (s + narrow(y), None), 0.0, x)[0],
        "float32",
        "float32",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_first_and_the_last_conversions_are_found(case):
    function, given, returned = CASES[case]
    x = jnp.linspace(0.1, 1, 12).reshape(4, 3)
    assert dtypes_of(jax.grad(function), x) == (given, returned)
    # To send in these dtypes changes no bit, unless XLA keeps more than it is told to.
    exact = {"xla_allow_excess_precision": False}
    gradient = jax.jit(jax.grad(function), compiler_options=exact)
    found, expected = gradient(x.astype(given).astype(x.dtype)), gradient(x)
    np.testing.assert_array_equal(found.astype(returned).astype(x.dtype), expected)


def test_arrays_of_the_program_around_are_no_arguments():
    seen = []

    @jax.jit
    def program(key, x):
        traced = computed.traced(lambda x: narrow(x) + jax.random.uniform(key), x)
        seen.append(traced.given)
        return traced.function(x)

    program(jax.random.key(0), jnp.ones(3))
    assert seen == [jnp.dtype("bfloat16")]


def test_what_is_returned_as_it_was_given_is_not_narrower():
    assert dtypes_of(lambda x: (narrow(x), x), jnp.ones(3))[0] == "float32"


@pytest.mark.parametrize(
    ("before", "after", "computed_in"),
    [
        ("bfloat16", "float32", "bfloat16"),
        ("float16", "float32", "float16"),
        ("float32", "bfloat16", "bfloat16"),  # loses digits: what was before is gone
        ("float16", "bfloat16", "bfloat16"),
        ("bfloat16", "float16", "float16"),
        ("int32", "float32", "float32"),
    ],
)
def test_only_a_conversion_that_loses_nothing_is_turned_back(
    before, after, computed_in
):
    x = jnp.arange(3, dtype=before)
    _, tree = dtypes_of(lambda x: {"a": (x + x).astype(after), "b": x}, x)
    assert tree == {"a": computed_in, "b": before}
