"""In which dtypes a function computes, whatever it is given and returns.

A model that computes in bfloat16 converts its float32 parameters first and its
gradients to float32 last. What is between is what devices need to send each other: half
the bytes, for the same values. (On a CPU, where nothing is sent, XLA may keep digits
that the dtype has not, `xla_allow_excess_precision`; these are lost.)
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core
from jaxtyping import PyTree

CALLS = {"jit", "pjit", "closed_call", "checkpoint", "remat2"}  # by JAX's version
MOVES = {"reshape", "transpose", "squeeze"}  # change the places of values only


class Traced(NamedTuple):
    """A function, and dtypes of its arrays, narrower than their own where possible."""

    function: Callable[..., Any]
    given: PyTree[jnp.dtype]  # to which it converts its first argument's before use
    returned: PyTree[jnp.dtype]  # from which it converts, without loss, its results


def traced(function: Callable[..., Any], *args: PyTree[Any]) -> Traced:
    """Traces a function within a program.

    Args:
      function: Of arrays.
      *args: Its arguments, or others of their shapes and dtypes.

    Returns:
      The function, which is not traced again, and the dtypes; an array's own where
      another cannot be seen.
    """
    function = jax.jit(function, inline=True)
    trace = function.trace(*args)
    jaxpr = trace.jaxpr.jaxpr
    leaves, first = jax.tree.flatten(args[0])
    # Before the arguments come arrays of the program around that the function uses.
    variables = jaxpr.invars[-len(jax.tree.leaves(args)) :][: len(leaves)]
    given = [_given(jaxpr, variable) for variable in variables]
    returned = [_returned(jaxpr, variable) for variable in jaxpr.outvars]
    results = jax.tree.structure(trace.out_info)
    return Traced(
        function, jax.tree.unflatten(first, given), results.unflatten(returned)
    )


def _given(jaxpr: core.Jaxpr, variable: Any) -> jnp.dtype:
    own, found = variable.aval.dtype, set[Any]()
    if any(variable is output for output in jaxpr.outvars):
        return own
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        for i, used in enumerate(equation.invars):
            if used is not variable:
                continue
            if name in MOVES:
                found.add(_given(jaxpr, equation.outvars[0]))
            elif name in CALLS:
                called = _called(equation)
                found.add(_given(called, called.invars[i]))
            elif name == "convert_element_type":
                dtype = equation.params["new_dtype"]
                found.add(dtype if _holds(own, dtype) else own)
            else:
                return own
    return found.pop() if len(found) == 1 else own


def _returned(jaxpr: core.Jaxpr, variable: Any) -> jnp.dtype:
    own = variable.aval.dtype
    for equation in jaxpr.eqns:
        outputs: Sequence[Any] = equation.outvars
        if variable not in outputs:
            continue
        name = equation.primitive.name
        if name in MOVES:
            return _returned(jaxpr, equation.invars[0])
        if name in CALLS:
            called = _called(equation)
            return _returned(called, called.outvars[outputs.index(variable)])
        if name == "convert_element_type":
            before: Any = equation.invars[0].aval
            return before.dtype if _holds(own, before.dtype) else own
    return own


def _called(equation: core.JaxprEqn) -> core.Jaxpr:
    called: Any = equation.params["jaxpr"]
    return getattr(called, "jaxpr", called)


def _holds(wide: jnp.dtype, narrow: jnp.dtype) -> bool:
    """Whether a dtype has all the values of another one, both of floating point."""
    if not all(jnp.issubdtype(dtype, jnp.floating) for dtype in (wide, narrow)):
        return False
    a, b = jnp.finfo(wide), jnp.finfo(narrow)
    return a.nmant >= b.nmant and a.nexp >= b.nexp
