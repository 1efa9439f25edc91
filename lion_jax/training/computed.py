"""In which dtype a function computes what it returns, before it converts that.

A model that computes in bfloat16 converts its gradients to its parameters' float32 at
the end. Converting them back changes no bit, and halves what devices send each other.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jaxtyping import PyTree

CALLS = {"jit", "pjit", "closed_call", "checkpoint", "remat2"}  # by JAX's version
MOVES = {"reshape", "transpose", "squeeze"}  # change the places of values only


def with_dtypes(
    function: Callable[..., Any], *args: PyTree[Any]
) -> tuple[Any, PyTree[jnp.dtype]]:
    """Calls a function of arrays, in a program that is being traced.

    Args:
      function: What to call; it is traced once.
      *args: Its arguments.

    Returns:
      What it returns, and for each array of it the dtype in which its values were
      computed: a narrower one of floating point, if it was converted from that, and its
      own otherwise or where that cannot be seen.
    """
    function = jax.jit(function, inline=True)
    jaxpr = function.trace(*args).jaxpr.jaxpr
    returned = function(*args)
    computed = [_computed(jaxpr, variable) for variable in jaxpr.outvars]
    return returned, jax.tree.unflatten(jax.tree.structure(returned), computed)


def _computed(jaxpr: core.Jaxpr, variable: Any) -> jnp.dtype:
    own = variable.aval.dtype
    for equation in jaxpr.eqns:
        outputs: Sequence[Any] = equation.outvars
        if variable not in outputs:
            continue
        name = equation.primitive.name
        if name in MOVES:
            return _computed(jaxpr, equation.invars[0])
        if name in CALLS:
            called: Any = equation.params["jaxpr"]
            called = getattr(called, "jaxpr", called)
            return _computed(called, called.outvars[outputs.index(variable)])
        if name == "convert_element_type":
            before: Any = equation.invars[0].aval
            return _narrower(own, before.dtype)
    return own


def _narrower(own: jnp.dtype, before: jnp.dtype) -> jnp.dtype:
    """Returns the dtype before a conversion, if that lost nothing."""
    if not all(jnp.issubdtype(x, jnp.floating) for x in (own, before)):
        return own
    after, first = jnp.finfo(own), jnp.finfo(before)
    lossless = first.nmant <= after.nmant and first.nexp <= after.nexp
    return before if lossless else own
