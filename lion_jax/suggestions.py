"""What a flag or a field that does not exist may have been meant as."""

import difflib
from collections.abc import Mapping

from lion_jax.config import Config, ConfigError, Field, field_at, fields_of

PREFIX = "config."


def unknown(word: str, known: Mapping[str, Field], see: str) -> str:
    """Suggests what an unknown flag may have been meant as.

    Args:
      word: The word.
      known: The fields behind the flags, by the flags' names.
      see: Where to read more.
    """
    configured = any(name.startswith(PREFIX) for name in known)
    name, equals, value = word.lstrip("-").partition("=")
    more = ""
    if "config" in known and (name == "configs" or word.endswith(".py")):
        more = " one run has one configuration; for several, python -m"
        more += " lion_jax.compare run --configs A.py B.py;"
    if not word.startswith("-"):
        return f"unexpected argument {word!r};{more} {see}."
    if configured and name.startswith(PREFIX):
        return unknown_field(name.removeprefix(PREFIX), equals + value)
    guess = _closest(name.removeprefix(PREFIX), known)
    if guess and not more:
        more = f" did you mean --{guess}{equals}{value}?"
    return f"unknown flag {word!r};{more} {see}."


def unknown_field(path: str, setting: str = "") -> str:
    """Suggests which field a path that is none may have been meant as.

    Args:
      path: The path.
      setting: The rest of the flag, as `=3`.
    """
    known = fields_of(Config)
    if inside := [other for other in known if other.startswith(path + ".")]:
        return (
            f"--{PREFIX}{path} is a group of fields; set one of them, such as"
            f" --{PREFIX}{inside[0]}=..."
        )
    guess = _closest(path, known)
    meant = f"did you mean --{PREFIX}{guess}{setting}?"
    if not guess:
        meant = f"a field is, for instance, --{PREFIX}optimizer.learning_rate."
    return (
        f"--{PREFIX}{path}: there is no such field; {meant} python -m lion_jax.train"
        " --help lists them all."
    )


def require_field(path: str) -> None:
    """Refuses a path that is no field of an experiment, and guesses a better one.

    Raises:
      ConfigError: If it is none.
    """
    if field_at(Config, path) is None:
        raise ConfigError(unknown_field(path))


def _closest(name: str, known: Mapping[str, Field]) -> str:
    """Returns the flag of which a name is the end, another name or a misspelling."""
    words: dict[str, str] = {}
    for flag, field in known.items():
        for word in (flag.removeprefix(PREFIX), field.name, *field.about.also):
            words.setdefault(word.lower(), flag)
    name = name.lower().replace("-", "_")
    for word in (name, name.rpartition(".")[2]):
        if word in words:
            return words[word]
    close = difflib.get_close_matches(name, words, n=1, cutoff=0.6)
    return words[close[0]] if close else ""
