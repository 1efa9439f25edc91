"""A trace of some training steps, and the operations that cost most in it."""

import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import jax
from rich.console import Console
from rich.table import Table

from lion_jax import cluster
from lion_jax.config import Config
from lion_jax.training.console import printer
from lion_jax.training.program import Program

STEPS = 5  # traced, and as many before
CONTAINERS = ("while", "conditional", "call")  # their operations count, not they


class Cost(NamedTuple):
    """One operation of the compiled program."""

    operation: str  # its name in the compiled program
    seconds: float  # a step, summed over threads, streams and devices
    calls: float  # a step, likewise
    origin: str  # what it was in JAX: scopes and primitive


def record(folder: Path, step: Callable[[], object], times: int = STEPS) -> None:
    """Traces some calls, after some more to warm up.

    Args:
      folder: Where the trace goes, in TensorBoard's layout (`tensorboard --logdir` with
        its profile plugin, or `xprof`); `perfetto_trace.json.gz` in it is for
        ui.perfetto.dev. What was there is removed.
      step: Takes a step, or more, and waits for it.
      times: How many calls are traced, and how many come before.
    """
    for _ in range(times):
        step()
    if folder.exists():
        shutil.rmtree(folder)
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # the host waits; its calls would be the most rows
    with jax.profiler.trace(
        str(folder), create_perfetto_trace=True, profiler_options=options
    ):
        for _ in range(times):
            step()


def most_expensive(
    folder: Path, compiled: jax.stages.Compiled, n: int = 10, steps: int = STEPS
) -> list[Cost]:
    """Returns the n operations on which a step spends most time, the first first.

    Args:
      folder: From `record`.
      compiled: The step's program, which knows where operations come from.
      n: How many.
      steps: How many steps were traced.
    """
    (trace,) = folder.rglob("*.xplane.pb")
    seconds, calls = Counter[str](), Counter[str]()
    for plane in jax.profiler.ProfileData.from_file(str(trace)).planes:
        for line in plane.lines:
            for event in line.events:
                operation = str(dict(event.stats).get("hlo_op", ""))
                if operation and not operation.startswith(CONTAINERS):
                    seconds[operation] += event.duration_ns / 1e9 / steps
                    calls[operation] += 1
    origins = dict(
        re.findall(
            r'^ *(?:ROOT )?%?([\w.-]+) = .*op_name="([^"]*)"',
            compiled.as_text() or "",
            re.MULTILINE,
        )
    )
    return [
        Cost(name, cost, calls[name] / steps, origin_of(name, origins))
        for name, cost in seconds.most_common(n)
    ]


def origin_of(operation: str, origins: Mapping[str, str]) -> str:
    """Returns where an operation comes from, by the name that the trace gives it.

    Args:
      operation: Its name; of a library's call with the target at its end, as in
        `custom-call.1__onednn$matmul`.
      origins: By the names in the compiled program.
    """
    return origins.get(operation) or origins.get(operation.partition("__")[0], "")


def table(costs: list[Cost]) -> Table:
    """Makes a table of costs."""
    rows = Table(title="Most expensive operations of a training step")
    for head in ("ms", "calls"):
        rows.add_column(head, justify="right")
    rows.add_column("operation", overflow="fold")
    rows.add_column("from", overflow="fold")
    for cost in costs:
        # Without the program's name, and the form that a convolution took here.
        origin = re.sub(r"^[^/]*/|cond/branch_\d+_fun/", "", cost.origin)
        rows.add_row(
            f"{cost.seconds * 1e3:.2f}", f"{cost.calls:.0f}", cost.operation, origin
        )
    return rows


def report(config: Config, program: Program, folder: Path, console: Console) -> None:
    """Traces steps of a state of its own and shows their most expensive operations."""
    state = program.init(config.seed)
    inputs = program.start_epoch(config.seed, 0)
    times = -(-STEPS // program.scan_steps)  # dispatches

    def step() -> None:
        nonlocal state
        state, loss = program.train_step(state, inputs, program.scan_steps)
        loss.block_until_ready()

    if not cluster.is_primary():  # which takes these steps with all others
        for _ in range(2 * times):
            step()
        return
    record(folder, step, times)
    steps = times * program.scan_steps
    costs = most_expensive(folder, program.compiled, steps=steps)
    console.print(table(costs))
    printer(console)(f"trace: {folder}")
