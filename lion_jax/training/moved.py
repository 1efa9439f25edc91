"""Whether data that are asked for at another place are those of a finished run."""

import dataclasses
from pathlib import Path
from typing import Any

from lion_jax import cluster, data, identity
from lion_jax.config import Config
from lion_jax.training import checkpoint, run_folder
from lion_jax.training.console import Print
from lion_jax.training.signature import Signature
from lion_jax.training.task import requested, split


def require_same_data(config: Config, folder: Path, say: Print) -> None:
    """Refuses to give a run's result for other data than its own.

    They are read only where the configuration names another place: another folder may
    hold a copy, or other images.

    Args:
      config: What is asked for.
      folder: Of the finished run.
      say: Prints a line.

    Raises:
      DataError: If the data are not there, or others.
    """
    saved: dict[str, Any] = run_folder.read_json(folder / run_folder.CONFIG) or {}
    if _place(identity.fill(saved)) == _place(dataclasses.asdict(config)):
        return
    saves = folder / run_folder.CHECKPOINTS
    known = checkpoint.latest_signature(saves) if saves.is_dir() else None
    if known is not None:
        say("the data are named otherwise than in its config.json; comparing them ...")
        dataset = cluster.primary_first(lambda: data.load(*requested(config)))
        train = split(config, dataset).train
        Signature.of(config, dataset, train).require_data_of(known)


def _place(config: dict[str, Any]) -> tuple[str, str]:
    return config["data"]["name"], config["data"]["data_dir"]
