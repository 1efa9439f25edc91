"""A configuration of a campaign, loaded, compiled and measured."""

import dataclasses
import functools
import json
import time

import jax

from lion_jax import data
from lion_jax.config import Config, DataConfig
from lion_jax.config.reference import references_of
from lion_jax.training import fitting, sharding
from lion_jax.training.program import Program
from lion_jax.training.task import Splits, load_data, make_task, split, total_steps


def images_of(config: Config) -> int:
    """Returns how many images a run trains on at most; checks the user's own code."""
    dataset, splits = _load(config)
    if references_of(config):
        mesh = sharding.make_mesh(sharding.check_devices(config))
        fitting.check(config, make_task(config, dataset, splits, mesh), dataset)
    steps = total_steps(config, len(splits.train.labels))
    return steps * config.batch_size


def _load(config: Config) -> tuple[data.Dataset, Splits]:
    sharding.check_devices(config)
    dataset = _read(json.dumps(dataclasses.asdict(config.data)))
    return dataset, split(config, dataset)


@functools.lru_cache(maxsize=1)  # most campaigns have one data set
def _read(fields: str) -> data.Dataset:
    return load_data(Config(data=DataConfig(**json.loads(fields))))


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
