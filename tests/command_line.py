"""The commands in this process, to their end."""

import contextlib
import io

import pytest

from lion_jax import cli, runtime, train


def ending(argv, command=train, start=lambda *_, **__: None):
    """Runs the command of a module; returns its status, errors and output.

    `start` stands for what is done to the process once the flags are accepted.
    """
    out, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        # The whole process's logging is not a test's to change.
        patch.setattr(cli, "_show_log", lambda: None)
        patch.setattr(cli, "_silence_repeated_errors", lambda: None)
        patch.setattr(runtime, "start", start)
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
                cli.run(command.main, command.MISTAKES, command.FAILURES, argv)
        except SystemExit as ended:
            return ended.code, errors.getvalue(), out.getvalue()
