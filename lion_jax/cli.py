"""The commands' common manners: a configuration from flags, mistakes told in one line.

Exit status: 0 done; 2 a mistake of the caller; 128 + n after signal n; 1 the rest.
"""

import argparse
import difflib
import logging
import os
import re
import runpy
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import absl.logging
from absl import flags
from ml_collections import config_flags

from lion_jax.config import Config, ConfigError, check, field_types, help_text

CALLER_MISTAKE = 2
COMPILATION_CACHE = "folder of compiled programs; off: none; empty: the user's own"


def run(
    main: Callable[[list[str]], int],
    mistakes: tuple[type[Exception], ...],
    failures: tuple[type[Exception], ...] = (),
    argv: Sequence[str] | None = None,
) -> NoReturn:
    """Runs a command and exits.

    Args:
      main: From the arguments to the exit status.
      mistakes: Exceptions that are the caller's mistakes: one line, status 2.
      failures: Exceptions that are expected but nobody's mistake: one line, status 1.
      argv: The arguments; None for those of the process.
    """
    _show_log()
    _silence_what_is_told_again()
    try:
        status = main(list(sys.argv[1:] if argv is None else argv))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except (*mistakes, *failures, ConfigError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        status = 1 if isinstance(error, failures) else CALLER_MISTAKE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 128 + signal.SIGINT
    sys.exit(status)


def _show_log() -> None:
    """Shows what the package logs, such as where data come from, as plain lines."""
    logger = logging.getLogger("lion_jax")
    logger.setLevel(logging.INFO)
    logger.propagate = False  # TFDS sets a root handler, which would say it twice
    logger.addHandler(logging.StreamHandler())


def _silence_what_is_told_again() -> None:
    """Keeps Orbax's threads from printing the errors that it raises when waited for."""
    absl.logging.set_verbosity(absl.logging.FATAL)
    threading.excepthook = lambda _: None


class ArgumentParser(argparse.ArgumentParser):
    """An argument parser that tells a mistake in one line."""

    def error(self, message: str) -> NoReturn:
        """Raises the mistake for `run` to print."""
        raise ConfigError(f"{message}; see {self.prog} --help.")


def parse_config(
    argv: list[str], usage: str, texts: dict[str, str], switches: dict[str, str]
) -> tuple[Config, dict[str, Any]] | None:
    """Reads `--config FILE`, its overrides `--config.<field>=<value>`, other flags.

    Args:
      argv: The command line without the program.
      usage: Text above the fields for --help.
      texts: Help of each further flag that takes text and is empty by default.
      switches: Help of each further flag that is off by default.

    Returns:
      The checked configuration and the further flags' values; None after --help.

    Raises:
      ConfigError: For anything that cannot be read or run.
    """
    if {"--help", "-h", "-help"} & set(argv):
        lines = [f"  --{name + '=':<44} {text}" for name, text in texts.items()]
        lines += [f"  --{name:<44} {text}" for name, text in switches.items()]
        print(usage, *lines, "\nFields of the configuration, with defaults:", sep="\n")
        print(help_text())
        return None
    load_config(_config_path(argv))
    _check_overrides(argv)
    values = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config", flag_values=values, lock_config=False, sys_argv=["", *argv]
    )
    for name, text in texts.items():
        flags.DEFINE_string(name, "", text, flag_values=values)
    for name, text in switches.items():
        flags.DEFINE_boolean(name, False, text, flag_values=values)
    try:
        rest = values(["", *argv])[1:]
        config: Any = values["config"].value
    except (flags.Error, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(_one_sentence(error)) from error
    if rest:
        raise ConfigError(
            f"{rest[0]!r} is no flag; flags are --name=value, see --help."
        )
    check(config)
    return config, {name: values[name].value for name in (*texts, *switches)}


def load_config(path: str) -> Config:
    """Runs a configuration file and returns what its get_config() gives, checked.

    Raises:
      ConfigError: If the file is absent, does not run, or gives something else.
    """
    if not os.path.isfile(path):
        raise ConfigError(
            f"--config={path}: there is no such file; give a Python file with"
            " get_config(), such as configs/quickstart.py."
        )
    try:
        config = runpy.run_path(path)["get_config"]()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever somebody's file may do
        raise ConfigError(
            f"--config={path}: {type(error).__name__}: {error}; the file must run and"
            " define get_config(), which takes nothing."
        ) from error
    if not isinstance(config, Config):
        raise ConfigError(
            f"--config={path}: get_config() returned {type(config).__name__}, but it"
            " must return a lion_jax.config.Config."
        )
    check(config)
    return config


def _config_path(argv: list[str]) -> str:
    for index, argument in enumerate(argv):
        if match := re.fullmatch(r"--?config(?:=(.*))?", argument):
            return match[1] if match[1] is not None else "".join(argv[index + 1 :][:1])
    raise ConfigError(
        "--config is missing; give a Python file with get_config(), such as"
        " --config configs/quickstart.py."
    )


def _check_overrides(argv: list[str]) -> None:
    for argument in argv:
        if match := re.match(r"--?(no)?config\.([^=]*)", argument):
            require_field(match[2])


def require_field(name: str) -> None:
    """Refuses a name that is no field of the configuration, and guesses a better one.

    Raises:
      ConfigError: If it is none.
    """
    fields = field_types()
    if name in fields:
        return
    if inside := [path for path in fields if path.startswith(name + ".")]:
        raise ConfigError(
            f"--config.{name} is a group of fields; set one of them, such as"
            f" --config.{inside[0]}=..."
        )
    close = difflib.get_close_matches(name, fields, n=1, cutoff=0.5)
    same_end = [path for path in fields if path.endswith("." + name)]
    guess = (same_end or close or ["optimizer.learning_rate"])[0]
    said = "did you mean" if same_end or close else "a field is, for instance,"
    raise ConfigError(
        f"--config.{name}: there is no such field; {said} --config.{guess}?"
        " --help lists them all."
    )


def _one_sentence(error: Exception) -> str:
    """Cuts absl's message down to the flag, the value and the reason."""
    text = " ".join(str(error).split())
    if found := re.match(r"flag --(\S+?)=(.*?): (.*)", text):
        name, value, reason = found.groups()
        expected = field_types().get(name.removeprefix("config."))
        rule = f"must be of type {expected.__name__}" if expected else reason
        return f"--{name}={value}, but it {rule}."
    return text[:300]
