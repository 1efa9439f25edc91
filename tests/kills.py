"""Runs in processes that SIGKILL ends at the n-th call of some function of the package.

They are forked from a process that has imported everything, which takes longer than a
small run. As a program this serves jobs, or does the one in its arguments by itself.
"""

import contextlib
import importlib
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import compilation


def job(where, calls, *arguments, fate="killed"):
    """What happens at the n-th call, in a run in a folder or a `compare run`."""
    return json.dumps([where, calls, fate, *map(str, arguments)])


def asked(program):
    """Starts a program that reads jobs and writes answers, a line each."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, program], text=True, **pipes)


@contextlib.contextmanager
def server():
    """Yields what does a job in a process, which must end by SIGKILL."""
    process = asked(__file__)

    def kill(where, calls, *arguments):
        print(job(where, calls, *arguments), file=process.stdin, flush=True)
        assert select.select([process.stdout], [], [], 300)[0], "it does not end"
        assert process.stdout.readline() == f"{-signal.SIGKILL}\n"

    with process:
        yield kill


def at_call(where, calls, happen):
    """Has something happen just before the n-th call of `module.function`."""
    module, _, name = where.rpartition(".")
    module = importlib.import_module(f"lion_jax.training.{module}")
    original, counted = getattr(module, name), itertools.count(1)

    def replaced(*args, **options):
        if next(counted) == calls:
            happen()
        return original(*args, **options)

    setattr(module, name, replaced)


def end_at(where, calls, fate):
    def end():
        if fate == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        print(fate, flush=True)
        time.sleep(600)

    at_call(where, calls, end)


def work(where, calls, fate, *arguments):
    import small_runs

    end_at(where, calls, fate)
    if arguments[0] == "run":
        importlib.import_module("lion_jax.compare.__main__").main([*arguments])
    else:
        config = small_runs.small_config()
        small_runs.run(config, Path(arguments[0]), drawn=True)


def prepare():
    import jax
    import small_runs

    from lion_jax import data, runtime

    compilation.use_the_older_generator()
    jax.config.update("jax_num_cpu_devices", 8)
    small = small_runs.small_dataset()
    data.load = lambda *_: small
    runtime.start = lambda *_, **__: None  # its caches are those of the tests
    importlib.import_module("lion_jax.compare.__main__")


def serve():
    """Forks for each line: JAX has no devices yet, and so no threads."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            os.dup2(2, 1)  # the status alone is for the reader
            work(*json.loads(line))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    prepare()
    work(*json.loads(sys.argv[1])) if sys.argv[1:] else serve()
