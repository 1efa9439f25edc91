"""Runs of several processes on a few hundred images, and what may befall one of them.

They are forked from a process that has imported everything, which takes longer than a
small run. JAX has no devices in it yet, and so no threads.
"""

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import compilation
import kills

import lion_jax.cluster

SECONDS = 120  # that a run may take


def fail():
    raise ValueError("out of luck")


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(2)  # JAX looks for it once in a while


FATES = {
    "raises": fail,
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "terminated": terminate,
    "hangs": lambda: time.sleep(600),
    "impatient": lambda: setattr(lion_jax.cluster, "SECONDS_OF_A_DISK", 1.0),
}


@contextlib.contextmanager
def server():
    """Yields what makes a run: statuses, texts and seconds, a value per process."""
    process = kills.asked(__file__)

    def run(folder, *processes, devices=2):
        job = json.dumps([str(folder), devices, processes])
        print(job, file=process.stdin, flush=True)
        return json.loads(process.stdout.readline())

    with process:
        yield run


def free_port():
    with socket.socket() as probe:
        probe.bind(("", 0))
        return probe.getsockname()[1]


def work(folder, devices, fates, environ, arguments):
    """What a process does; it does not return."""
    import jax

    from lion_jax import cli, train

    os.chdir(folder)
    os.environ.update(environ)
    jax.config.update("jax_num_cpu_devices", devices)
    for fate, where, calls in fates:
        kills.at_call(where, calls, FATES[fate])
    cli.run(train.main, train.MISTAKES, train.FAILURES, arguments)


def forked(number, folder, *job):
    """Starts a process whose output goes to a file; returns its number."""
    if child := os.fork():
        return child
    try:
        file = os.open(f"{folder}/{number}.txt", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        work(folder, *job)
    except SystemExit as ended:
        sys.stdout.flush()
        # As at a process's end, JAX waits for the others there.
        importlib.import_module("jax").distributed.shutdown()
        os._exit(ended.code or 0)
    finally:
        os._exit(99)


def prepare():
    import small_runs

    from lion_jax import data, runtime
    from lion_jax.training import experiment, sharding

    compilation.use_the_older_generator()
    small = small_runs.small_dataset()
    data.load = lambda *_: small
    runtime.start = lambda *_, **__: None  # its caches are those of the tests
    sharding.MIN_SHARDED_SIZE = 64  # so that a small model has sharded arrays
    experiment._draw = lambda *_: None  # pictures take a second
    for name in ("lion_jax.train", "tensorboardX.event_file_writer"):
        importlib.import_module(name)


def serve():
    for line in sys.stdin:
        folder, devices, processes = json.loads(line)
        children = [
            forked(number, folder, devices, *each)
            for number, each in enumerate(processes)
        ]
        started, ends = time.monotonic(), {}
        while len(ends) < len(children):
            for child in set(children) - ends.keys():
                if time.monotonic() - started > SECONDS:
                    os.kill(child, signal.SIGKILL)
                found, status = os.waitpid(child, os.WNOHANG)
                if found:
                    code = os.waitstatus_to_exitcode(status)
                    ends[child] = code, time.monotonic() - started
            time.sleep(0.02)
        texts = [
            Path(folder, f"{number}.txt").read_text(errors="replace")
            for number in range(len(children))
        ]
        statuses, seconds = zip(*(ends[child] for child in children), strict=True)
        print(json.dumps([statuses, texts, seconds]), flush=True)


if __name__ == "__main__":
    prepare()
    serve()
