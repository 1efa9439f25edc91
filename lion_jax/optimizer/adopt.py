"""States of `optax.lion` become states of `lion`, and back."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from lion_jax.optimizer import momentum
from lion_jax.optimizer.checks import check_choice
from lion_jax.optimizer.leaves import is_trainable, upcast
from lion_jax.optimizer.state import LionState, QuantizedLionState


def from_optax(
    state: Any,
    transform: Literal["lion", "scale_by_lion"] = "lion",
    *,
    mu_dtype: DTypeLike | Literal["int8"] | None = None,
) -> Any:
    """Returns the state with which `lion` continues a run of `optax.lion`.

    Args:
      state: The state of any Optax optimizer; those of `optax.lion` in it are found
        wherever they are: in chains, `optax.inject_hyperparams`, `optax.masked`,
        `optax.partition`, `optax.MultiSteps`, ...
      transform: What ours will stand for: `"lion"` for `optax.lion`, or
        `"scale_by_lion"` for `optax.scale_by_lion` in a chain of one's own.
      mu_dtype: Dtype of the momenta, as given to `lion`; None for the one they have.

    Returns:
      The same state with a `LionState` (or a `QuantizedLionState`) in place of each
      one of Optax. Counts of schedules are those of the momentum, as in Optax.

    Raises:
      ValueError: If there is no state of `optax.lion`: a checkpoint must be restored
        into the state that its own optimizer's `init` makes, not into a dictionary.

    Examples:
      >>> import jax.numpy as jnp, optax, lion_jax
      >>> params = jnp.ones(2)
      >>> state = optax.lion(1e-3).init(params)
      >>> lion_jax.from_optax(state)
      LionState(count=Array(0, dtype=int32), mu=Array([0., 0.], dtype=float32))
    """
    check_choice("transform", transform, ("lion", "scale_by_lion"))
    found: list[LionState | QuantizedLionState] = []
    whole = transform == "lion"

    def converted(part: Any) -> Any:
        if _is_lion_injected(part):
            return _injected(part, converted(part.inner_state))
        ours = part[0] if _is_chain(part) else part
        if not isinstance(ours, optax.ScaleByLionState):
            return part
        found.append(_adopted(ours, mu_dtype))
        return found[-1]

    def is_theirs(part: Any) -> bool:
        known = whole and (_is_chain(part) or _is_lion_injected(part))
        return known or isinstance(part, optax.ScaleByLionState)

    new = jax.tree.map(converted, state, is_leaf=is_theirs)
    if not found:
        raise ValueError(
            f"from_optax: no state of optax.lion in {jax.tree.structure(state)};"
            " restore a checkpoint into optimizer.init(params) of its own optimizer."
        )
    return new


def to_optax(state: Any, like: Any) -> Any:
    """Returns the state with which `optax.lion` continues a run of `lion`.

    Args:
      state: A state with `LionState` or `QuantizedLionState` in it.
      like: The state that the optimizer with `optax.lion` in place of `lion` makes in
        its `init`; its momenta's dtypes are kept.

    Returns:
      A state like `like`. int8 momenta are decoded.

    Raises:
      ValueError: If `like` has no state of `optax.lion`, or `state` not one of `lion`
        in its place.

    Examples:
      >>> import jax.numpy as jnp, optax, lion_jax
      >>> params = jnp.ones(2)
      >>> state = lion_jax.lion(1e-3).init(params)
      >>> lion_jax.to_optax(state, optax.lion(1e-3).init(params))[0]
      ScaleByLionState(count=Array(0, dtype=int32), mu=Array([0., 0.], dtype=float32))
    """

    def converted(theirs: Any, ours: Any) -> Any:
        if isinstance(theirs, optax.ScaleByLionState):
            return _returned(ours, theirs.mu)
        if _is_injected(theirs):
            return _reinjected(ours, theirs)
        if not _is_chain(theirs):
            return ours
        if type(ours) is tuple:  # a chain of one's own, with `scale_by_lion`
            return (converted(theirs[0], ours[0]), *ours[1:])
        # Copies: a caller may donate the state, and no buffer can be donated twice.
        (count,) = jax.tree.leaves(ours.count)  # a library may wrap it, as theirs
        counts = jax.tree.map(lambda _: jnp.array(count, copy=True), theirs[1:])
        return (_returned(ours, theirs[0].mu), *counts)

    def is_theirs(part: Any) -> bool:
        known = _is_chain(part) or _is_injected(part)
        return known or isinstance(part, optax.ScaleByLionState)

    _check_holds(like, optax.ScaleByLionState, "like", "no state of optax.lion")
    _check_holds(state, LionState | QuantizedLionState, "state", "no LionState")
    try:
        return jax.tree.map(converted, like, state, is_leaf=is_theirs)
    except (ValueError, AttributeError, IndexError, KeyError) as error:
        raise ValueError(
            "to_optax: like is not the state of the same optimizer with optax.lion in"
            f" place of lion: {jax.tree.structure(like)} for"
            f" {jax.tree.structure(state)}; give what its init makes."
        ) from error


def _check_holds(state: Any, kind: Any, name: str, what: str) -> None:
    leaves = jax.tree.leaves(state, is_leaf=lambda part: isinstance(part, kind))
    if not any(isinstance(leaf, kind) for leaf in leaves):
        raise ValueError(
            f"to_optax: {what} in {name}, {jax.tree.structure(state)}; give"
            " to_optax(state of lion, like=optimizer.init(params) with optax.lion)."
        )


def _is_lion_injected(part: Any) -> bool:
    """Whether this is the state of `optax.inject_hyperparams(optax.lion)`."""
    return (
        _is_injected(part)
        and _is_chain(part.inner_state)
        and {"learning_rate", "weight_decay"} <= {*part.hyperparams}
    )


def _injected(theirs: Any, inner: Any) -> Any:
    """Returns that of `optax.inject_hyperparams(lion)`, with the one more number."""
    slope = jax.tree.map(jnp.ones_like, theirs.hyperparams["weight_decay"])
    # In the order of their names, as `jax.tree` has them.
    numbers = dict(sorted({**theirs.hyperparams, "smooth_beta": slope}.items()))
    return theirs._replace(inner_state=inner, hyperparams=numbers)


def _is_injected(part: Any) -> bool:
    """Whether this is a state of `optax.inject_hyperparams`."""
    return isinstance(part, tuple) and {"hyperparams", "inner_state"} <= {
        *getattr(part, "_fields", ())
    }


def _reinjected(ours: Any, theirs: Any) -> Any:
    """Returns our state of `optax.inject_hyperparams` with the numbers that theirs has.

    `lion` has one more than `optax.lion`: the slope of the smooth mode.
    """
    own = {
        field: {name: getattr(ours, field)[name] for name in value}
        for field, value in theirs._asdict().items()
        if field.startswith("hyperparams")
    }
    inner = to_optax(ours.inner_state, theirs.inner_state)
    return theirs._replace(count=ours.count, inner_state=inner, **own)


def _is_chain(part: Any) -> bool:
    """Whether this is a state as of `optax.lion`: direction, decay, learning rate."""
    if type(part) is not tuple or len(part) != 3:
        return False
    direction, *others = part
    scalars = jax.tree.leaves(others)  # nothing but the counts of schedules
    return isinstance(direction, optax.ScaleByLionState) and len(scalars) <= 2


def _adopted(
    theirs: optax.ScaleByLionState, mu_dtype: DTypeLike | None
) -> LionState | QuantizedLionState:
    mu = jax.tree.map(lambda m: m if is_trainable(m) else optax.MaskedNode(), theirs.mu)
    if momentum.check_dtype(mu_dtype) is None:
        return LionState(theirs.count, mu)
    (count,) = jax.tree.leaves(theirs.count)  # a library may wrap it
    zero = momentum.first_state(mu, mu_dtype)._replace(count=count)
    opened = momentum.opened(zero, mu, 0.0)
    stored = jax.tree.map(lambda g, m: momentum.average(m, upcast(g), 0.0), mu, opened)
    new = momentum.closed(zero, stored)._replace(count=theirs.count)
    if isinstance(new, QuantizedLionState):
        # In the wrapper of a library that puts every leaf into one, as the count is.
        exponents = jax.tree.map(lambda _: new.exponents, theirs.count)
        new = new._replace(exponents=exponents)
    return new


def _returned(ours: Any, like: Any) -> optax.ScaleByLionState:
    values = momentum.values(ours)

    def as_theirs(old: Any, new: Any) -> Any:
        if isinstance(new, optax.MaskedNode):
            return old
        return new.astype(old.dtype)

    return optax.ScaleByLionState(ours.count, jax.tree.map(as_theirs, like, values))
