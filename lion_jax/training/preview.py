"""What a configuration would compute: shapes, parameters, FLOPs, memory."""

import math
import time
from collections.abc import Mapping
from typing import Any

import jax
from jaxtyping import PyTree
from rich.console import Console
from rich.table import Table

from lion_jax import cluster, data
from lion_jax.config import Config
from lion_jax.training import beginning, fitting, sharding, stored, tables
from lion_jax.training.console import printer
from lion_jax.training.program import Program
from lion_jax.training.task import make_task, requested, split

DEPTH = 2  # parts of a parameter's path at most by which modules are told apart


def dry_run(config: Config, console: Console | None = None) -> dict[str, Any]:
    """Compiles a configuration and shows what it would compute; writes nothing.

    Args:
      config: What is to be computed.
      console: Where it is shown; None for the standard output.

    Returns:
      The numbers shown: `parameters` by module, `flops` of a step on all devices as
      XLA counts them (None where it does not), `bytes` by what holds them,
      `seconds_compile`.

    Raises:
      ConfigError: If it cannot be run, or the data or the devices do not fit it.
      DataError: If the data are unavailable.

    Examples:
      >>> numbers = training.dry_run(config)  # doctest: +SKIP
      >>> parameters = sum(numbers["parameters"].values())  # doctest: +SKIP
      >>> numbers["bytes"]["parameters"] == 4 * parameters  # doctest: +SKIP
      True
    """
    tables.check(config)
    devices = sharding.check_devices(config)
    console = console or Console(quiet=not cluster.is_primary())
    mesh = sharding.make_mesh(devices)
    dataset = cluster.primary_first(lambda: data.load(*requested(config)))
    splits = split(config, dataset)
    started = time.perf_counter()
    task = make_task(config, dataset, splits, mesh)
    fitting.check(config, task, dataset)
    beginning.check(config, task)
    program = Program(config, task, splits, mesh)
    numbers = {
        "parameters": modules(program.abstract.params),
        "flops": _flops(program, devices * config.accumulate),
        "bytes": program.memory(),
        "seconds_compile": time.perf_counter() - started,
    }
    _show(console, config, program, numbers, devices)
    return numbers


def modules(params: PyTree[Any]) -> dict[str, int]:
    """Returns how many parameters each module has, by its path."""
    sizes: dict[str, int] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        *owners, _ = stored.name_of(path).split(".")
        name = ".".join(owners[:DEPTH]) or "(the model itself)"
        sizes[name] = sizes.get(name, 0) + math.prod(leaf.shape)
    return sizes


def _flops(program: Program, parts: int) -> float | None:
    """Returns FLOPs of a step on all devices.

    Args:
      program: A run's.
      parts: In how many parts a batch is computed: XLA counts those of one device, and
        once what is in a loop.
    """
    analysis: Any = program.compiled.cost_analysis()
    analysis = analysis[0] if isinstance(analysis, list) else analysis
    counted = (analysis or {}).get("flops")
    return counted and counted * parts


def _show(
    console: Console,
    config: Config,
    program: Program,
    numbers: Mapping[str, Any],
    devices: int,
) -> None:
    say, signature = printer(console), program.signature
    height, width, channels = signature.image_shape
    side = signature.image_size
    say(
        f"{config.model.name}: {height} x {width} x {channels} images, resized to"
        f" {side} x {side} x {signature.channels}, {signature.num_classes} classes"
    )
    table = Table(title="Parameters")
    table.add_column("module")
    table.add_column("number", justify="right")
    table.add_column("share", justify="right")
    total = sum(numbers["parameters"].values())
    for name, size in numbers["parameters"].items():
        table.add_row(name, f"{size:,}", f"{size / total:.1%}")
    table.add_row("all", f"{total:,}", "")
    console.print(table)
    steps = program.steps_per_epoch
    say(
        f"an epoch: {steps} steps of {program.batch_size} images; at most"
        f" {config.epochs} epochs"
    )
    if numbers["flops"]:
        say(f"a step: {numbers['flops'] / 1e9:.3g} GFLOP, as XLA counts them")
    for name, size in numbers["bytes"].items():
        say(f"memory of {name.replace('_', ' ')}: {size / 2**20:,.1f} MiB")
    kind = f"{devices} x {jax.devices()[0].device_kind}"
    say(f"compiled for {kind} in {numbers['seconds_compile']:.1f} s")
    say("dry run: nothing was written")
