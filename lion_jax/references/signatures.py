"""What functions of the user's own take, and what they are called with."""

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from lion_jax.config import ConfigError
from lion_jax.config.reference import REFERABLE, passed

Parameters = Mapping[str, inspect.Parameter]
DEFAULT = object()
VARIABLE = inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL


def arguments(
    field: str,
    name: str,
    function: Callable[..., Any],
    given: Mapping[str, Any],
    options: Mapping[str, Any],
) -> dict[str, Any]:
    """Returns what to call a function with: of what is given, what it takes.

    Args:
      field: The configuration's field that holds the reference.
      name: The reference.
      function: From `load`.
      given: Arguments that it may take, by name; `DEFAULT` leaves one out that has a
        default, and is None for others.
      options: Arguments that it must take, from the configuration.

    Raises:
      ConfigError: If it lacks an option, or needs something else.
    """
    taken, field_of_options = parameters(field, name, function), REFERABLE[field]
    anything = any(p.kind is p.VAR_KEYWORD for p in taken.values())
    named = [key for key, p in taken.items() if p.kind not in VARIABLE]
    for option in options:
        if option in given:
            raise ConfigError(
                f"{field_of_options}.{option} cannot be set: {name} is called with"
                f" {option} by lion_jax; leave it out."
            )
        if option not in named and not anything:
            free = [key for key in named if key not in given]
            close = difflib.get_close_matches(option, free, n=1)
            meant = f"did you mean {close[0]}? It" if close else "it"
            raise ConfigError(
                f"{field_of_options}.{option}={options[option]!r}, but {name} has no"
                f" such parameter; {meant} takes {', '.join(free) or 'no options'}."
            )
    for key, parameter in taken.items():
        if key in given or key in options or key not in named:
            continue
        if parameter.default is parameter.empty:
            raise ConfigError(
                f"{field}={name!r}: its parameter {key!r} has no value; give one with"
                f" --config.{field_of_options}.{key}=..., or a default in the function."
            )
    kept = {
        key: None if value is DEFAULT else value
        for key, value in given.items()
        if (key in named or anything)
        and (value is not DEFAULT or taken[key].default is inspect.Parameter.empty)
    }
    return kept | {key: passed(value) for key, value in options.items()}


def parameters(field: str, name: str, function: Callable[..., Any]) -> Parameters:
    """Returns what a function takes, with the defaults.

    Raises:
      ConfigError: If it cannot be known, or it takes arguments by position alone.
    """
    bound: dict[str, Any] = {}
    given = 0  # by position
    while isinstance(function, functools.partial):
        bound, given = function.keywords | bound, given + len(function.args)
        function = function.func
    is_class = inspect.isclass(function)
    try:
        # Of the constructor itself: nnx hides the signatures of its classes.
        target = function.__init__ if is_class else function
        taken = [*inspect.signature(target).parameters.values()][is_class + given :]
    except (TypeError, ValueError):
        raise ConfigError(
            f"{field}={name!r}: what it takes is unknown; wrap it in a function."
        ) from None
    if alone := [p.name for p in taken if p.kind is p.POSITIONAL_ONLY]:
        raise ConfigError(
            f"{field}={name!r}: it takes {alone[0]!r} by position alone, but it is"
            " called by names; wrap it in a function."
        )
    return {p.name: p.replace(default=bound.get(p.name, p.default)) for p in taken}
