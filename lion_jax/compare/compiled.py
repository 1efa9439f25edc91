"""A configuration of a campaign, loaded, compiled and measured."""

import functools
import time

from lion_jax import data
from lion_jax.config import Config
from lion_jax.config.reference import references_of
from lion_jax.training import beginning, fitting, sharding
from lion_jax.training.program import Program
from lion_jax.training.task import Splits, make_task, requested, split, total_steps


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
    dataset = _read(requested(config))
    return dataset, split(config, dataset)


@functools.lru_cache(maxsize=1)  # most campaigns have one data set
def _read(request: data.Request) -> data.Dataset:
    return data.load(*request)


def forget_data() -> None:
    """Has data read again that an earlier campaign of this process read."""
    _read.cache_clear()


def build(config: Config) -> tuple[Program, float]:
    """Compiles a configuration; returns its program and the seconds that it took."""
    dataset, splits = _load(config)
    started = time.perf_counter()
    mesh = sharding.make_mesh(sharding.check_devices(config))
    task = make_task(config, dataset, splits, mesh)
    beginning.check(config, task)
    program = Program(config, task, splits, mesh)
    return program, time.perf_counter() - started
