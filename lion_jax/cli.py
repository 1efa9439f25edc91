"""Shared helpers of the commands: configuration files, usage errors in one line.

Exit status: 0 done; 2 usage error; 128 + n after signal n; 1 the rest.
"""

import difflib
import io
import logging
import os
import runpy
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, NoReturn

import absl.logging

from lion_jax import interruption, recipes, startup
from lion_jax.cluster import ending
from lion_jax.config import About, Config, ConfigError, check_groups
from lion_jax.references import importable, place_of

CompilationCache = Annotated[
    str, About("folder of compiled programs; off: none; empty: the user's own")
]
EXHAUSTED = "RESOURCE_EXHAUSTED"
NEVER_BEGUN = "coroutine .* was never awaited"
NEVER_ENDED = "Task was destroyed but it is pending"


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
    startup.finished()
    interruption.is_command = True
    _show_log()
    _escape_what_is_not_encodable()
    _silence_repeated_errors()
    try:
        status = main(list(sys.argv[1:] if argv is None else argv))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    except (*mistakes, *failures, ConfigError) as error:
        line = f"error: {' '.join(str(error).split())}"
        status = 1 if isinstance(error, failures) else startup.CALLER_MISTAKE
        ending.fail(error, status, line)
        print(line, file=sys.stderr)
    except KeyboardInterrupt as error:
        ending.fail(error, startup.INTERRUPTED, "interrupted")
        print("interrupted", file=sys.stderr)
        status = startup.INTERRUPTED
    except Exception as error:
        line = _out_of_memory(error)
        ending.fail(error, 1, line)
        if not line:
            raise
        print(line, file=sys.stderr)
        status = 1
    sys.exit(status)


def _out_of_memory(error: Exception) -> str:
    """Returns what to do where a device's memory does not suffice; or nothing."""
    said = str(error).strip().partition("\n")[0]
    if type(error).__name__ != "JaxRuntimeError" or EXHAUSTED not in said:
        return ""
    return (
        f"error: the memory of a device does not suffice ({said[:200]}); set"
        " --config.data.placement=host, --config.mesh.mode=fsdp on several devices, a"
        " smaller --config.eval_batch_size where a model was evaluated, or for a run of"
        " its own (--workdir) a smaller --config.batch_size, --config.accumulate=4 or"
        " --config.model.remat=full."
    )


def _show_log() -> None:
    """Shows what the package logs, such as where data come from, as plain lines."""
    logger = logging.getLogger("lion_jax")
    logger.setLevel(logging.INFO)
    logger.propagate = False  # TFDS sets a root handler, which would say it twice
    logger.addHandler(logging.StreamHandler())


def _escape_what_is_not_encodable() -> None:
    """Escapes what a terminal's encoding lacks, such as letters of a path in ASCII."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _silence_repeated_errors() -> None:
    """Keeps Orbax's threads from printing the errors that it raises when waited for.

    Where one array cannot be written, Orbax closes its event loop; the writers of the
    other arrays, which report to that loop, fail then in a callback of their own.
    Where another part of a load fails first, Orbax drops its readers of metadata, and
    those of arrays raise as they are collected. Either leaves tasks that have not begun
    or not ended; which ones is a matter of time. The package has no coroutines itself.
    """
    absl.logging.set_verbosity(absl.logging.FATAL)
    threading.excepthook = lambda _: None
    sys.unraisablehook = _but_tasks_given_up
    warnings.filterwarnings("ignore", message=NEVER_BEGUN, category=RuntimeWarning)
    logging.getLogger("asyncio").addFilter(
        lambda record: not record.getMessage().startswith(NEVER_ENDED)
    )


def _but_tasks_given_up(failed: "sys.UnraisableHookArgs") -> None:
    """Reports an error that nothing can catch, but not those of tasks given up.

    Orbax leaves some where one array of several cannot be read or written.
    """
    error = failed.exc_value
    closed = isinstance(error, RuntimeError) and str(error) == "Event loop is closed"
    if not closed and not isinstance(getattr(error, "__cause__", None), GeneratorExit):
        sys.__unraisablehook__(failed)


def load_config(path: str) -> Config:
    """Runs a configuration file once; returns what its get_config() gives.

    Its values are not checked: flags may still replace them.

    As for a script, modules beside the file can be imported by it. Where there is no
    such file, the package's configuration of that name is taken; `list` prints their
    names and exits.

    Raises:
      ConfigError: If the file is absent, does not run, or gives something else.
    """
    if not path:
        raise ConfigError(
            "--config is missing; give a Python file with get_config(), or a name that"
            " --config list shows, such as --config quickstart."
        )
    file = os.path.abspath(_file(path))
    try:
        with importable(file):
            config = runpy.run_path(file)["get_config"]()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever somebody's file may do
        place = place_of(error, os.path.dirname(file))
        raise ConfigError(
            f"--config={path}: {place}{type(error).__name__}: {error}; the file must"
            " run and define get_config(), which takes nothing."
        ) from error
    if not isinstance(config, Config):
        raise ConfigError(
            f"--config={path}: get_config() returned {type(config).__name__}, but it"
            " must return a lion_jax.config.Config."
        )
    check_groups(config)
    return config


def _file(path: str) -> str:
    """Returns the configuration file that a path or a name stands for."""
    file = os.path.expanduser(path)
    if os.path.isfile(file):
        return file
    if path == recipes.LIST:
        print(recipes.table())
        raise SystemExit(0)
    found = recipes.find(path)
    if len(found) == 1:
        return str(found[0])
    if found:
        names = ", ".join(each.stem for each in found)
        raise ConfigError(f"--config={path} stands for {names}; give one of them.")
    near = difflib.get_close_matches(path, recipes.files(), n=1) or ["quickstart"]
    raise ConfigError(
        f"--config={path}: there is no such file; give a Python file with get_config(),"
        f" or a name that --config list shows, such as --config {near[0]}."
    )
