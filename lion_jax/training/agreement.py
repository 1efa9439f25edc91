"""What the processes of a run must have alike, compared before anything is written."""

import dataclasses
import zlib
from typing import Any

import numpy as np

from lion_jax import cluster, environment, identity
from lion_jax.config import flatten
from lion_jax.data import Dataset
from lion_jax.training.task import Task

PLACES = frozenset({"data.data_dir", "data.cache_dir"})  # a host's own


def on_run(resolved: dict[str, Any], *, finished: bool) -> None:
    """Compares what was asked for, and the versions that compute it.

    Args:
      resolved: The resolved configuration as nested dictionaries.
      finished: Whether the run's folder holds its result.

    Raises:
      ConfigError: Names what differs.
    """
    values = flatten(identity.portable(identity.without(resolved, PLACES)))
    values |= {"finished": finished}
    remedy = "start all by one command, or each alone with --coordinator off"
    cluster.require_agreement("configuration", values, remedy)
    versions = environment.versions()
    cluster.require_agreement("version", versions, "install the same everywhere")


def on_data(task: Task, dataset: Dataset) -> None:
    """Compares the data: all of them, or what is known of those that are streamed.

    Raises:
      ConfigError: Names what differs.
    """
    if cluster.processes() == 1:
        return
    how = {"streamed": task.streamed}
    same = "set --config.data.placement=host, or device, for all"
    cluster.require_agreement("memory for the data", how, same)
    values = dataclasses.asdict(task.signature)
    if task.streamed:  # they may be larger than memory, and take long to read
        values |= {
            f"checksum of {name}": zlib.crc32(np.ascontiguousarray(array).data)
            for name, array in dataset.arrays.items()
            if name.endswith("labels")
        }
    else:
        values |= {"checksum": dataset.sha256()}
    cluster.require_agreement("data set", values, "give all the same data")
