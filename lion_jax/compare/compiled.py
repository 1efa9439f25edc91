"""A configuration of a campaign, loaded, compiled and measured."""

import functools
import time

import jax

from lion_jax import data
from lion_jax.config import Config
from lion_jax.training import sharding
from lion_jax.training.program import Program
from lion_jax.training.task import Splits, make_task, requested, split, total_steps


def images_of(config: Config) -> int:
    """Returns how many images a run trains on at most."""
    _, splits = _load(config)
    steps = total_steps(config, len(splits.train.labels))
    return steps * config.batch_size


def _load(config: Config) -> tuple[data.Dataset, Splits]:
    sharding.check_devices(config)
    dataset = _read(requested(config))
    return dataset, split(config, dataset)


@functools.lru_cache(maxsize=1)  # most campaigns have one data set
def _read(request: data.Request) -> data.Dataset:
    return data.load(*request)


def build(config: Config) -> tuple[Program, float]:
    """Compiles a configuration; returns its program and the seconds that it took."""
    dataset, splits = _load(config)
    started = time.perf_counter()
    mesh = sharding.make_mesh(sharding.check_devices(config))
    task = make_task(config, dataset, splits, mesh)
    program = Program(config, task, splits, mesh)
    return program, time.perf_counter() - started


def memory_of(program: Program) -> dict[str, int]:
    """Returns bytes by what holds them, whatever else the process ran before."""
    abstract = program.abstract
    trees = {
        "parameters": abstract.params,
        "optimizer_state": abstract.opt_state,
    }
    sizes = {
        name: sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
        for name, tree in trees.items()
    }
    if analysis := program.compiled.memory_analysis():
        parts = analysis.argument_size_in_bytes, analysis.output_size_in_bytes
        sizes["step"] = (
            sum(parts) + analysis.temp_size_in_bytes - analysis.alias_size_in_bytes
        )
    return sizes
