"""Flags of options of the user's own functions: `--config.model.options.depth=3`.

Their names are known only to that function, so that they are taken out of a command
line before tyro reads the rest.
"""

from typing import Any

from lion_jax.config import Config, ConfigError, field_at

PREFIX = "--config."


def separate(argv: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Separates options from the other words of a command line.

    Returns:
      The other words; the options' values by dotted path.

    Raises:
      ConfigError: If an option has no value.
    """
    rest, options, words = list[str](), dict[str, Any](), iter(argv)
    for word in words:
        flag, equals, text = word.partition("=")
        path = flag.removeprefix(PREFIX)
        field = field_at(Config, path) if flag.startswith(PREFIX) else None
        if field is None or field.type is not object:
            rest.append(word)
            continue
        value = text if equals else next(words, None)
        if value is None or (not equals and value.startswith("--")):
            raise ConfigError(f"{flag} needs a value, as in {flag}=3.")
        options[path] = field.parse(value)
    return rest, options
