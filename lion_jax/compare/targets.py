"""The validation accuracy to reach: named beforehand, or else taken from the runs."""

import math
import numbers
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lion_jax.compare.records import Record
from lion_jax.config import ConfigError
from lion_jax.data import is_in_files
from lion_jax.training.history import Epoch


class Task(NamedTuple):
    """What a target is for: the names of a model and of the data it is trained on."""

    model: str
    data: str

    @property
    def name(self) -> str:
        """The task as `--target` names it where it is one of a model's several."""
        return f"{self.model}@{self.data}"


Groups = Iterable[dict[str, list[Record]]]
Targets = dict[Task, float]  # validation accuracy to reach; nan for none


def task_of(run: Record) -> Task:
    """Returns the model and the data of a run; of a user's files with their version."""
    name = run.config["data"]["name"]
    version = re.search(r" (\S+) \(", run.environment.get("data") or "")
    if is_in_files(name) and version:  # all folders have one name
        name = f"{name}:{version[1]}"
    return Task(run.config["model"]["name"], name)


def accuracy(epoch: Epoch) -> float:
    """An epoch's on validation; 0 after a divergence, where it would be one class's."""
    return epoch.val_accuracy if epoch.is_finite else 0.0


def reached(groups: Groups) -> dict[Task, dict[str, float]]:
    """Returns what half of the runs reach on validation, by task and by label."""
    medians: dict[Task, dict[str, float]] = {}
    for group in groups:
        for label, runs in group.items():
            best = [max(map(accuracy, run.epochs)) for run in runs]
            # Rounded first: 0.57 is a little less than 57 hundredths.
            percent = math.floor(round(100 * float(np.median(best)), 6))
            medians.setdefault(task_of(runs[0]), {})[label] = percent / 100
    return medians


def defaults(groups: Groups) -> Targets:
    """Returns for each task what half of the runs of its worst configuration reach.

    It is the lowest of the medians of the best validation accuracies, in whole percent;
    configurations with a median below 1 % have no say. nan where no other is left.
    """
    return {
        task: min((value for value in values.values() if value > 0), default=math.nan)
        for task, values in reached(groups).items()
    }


def parse(text: str) -> dict[str, float]:
    """Reads `0.9`, for all tasks (under ""), or `vit_b16=0.8,resnet50@mnist=0.98`.

    Raises:
      ConfigError: If it is neither, an accuracy is not between 0 and 1, or a model, or
        a model on some data, has two.
    """
    targets: dict[str, Any] = {}
    for part in text.split(","):
        name, _, value = part.rpartition("=")
        if name in targets:
            whose = f"{name} has" if name else "all models have"
            raise ConfigError(f"--target={text}: {whose} two targets; give one alone.")
        try:
            targets[name] = float(value)
        except ValueError:
            targets[name] = value
    return checked(targets)


def checked(targets: Any) -> dict[str, float]:
    """Returns accuracies to reach by a model's or a task's name, "" for all.

    Raises:
      ConfigError: If they are something else, or one is not between 0 and 1.
    """
    if not isinstance(targets, Mapping):
        raise ConfigError(
            f"targets={targets!r}, but it must be a dictionary by model or data set;"
            ' give targets={"": 0.9} for all.'
        )
    shares = {}
    for name, value in targets.items():
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        shares[name] = float(value) if is_number else math.nan
        if not isinstance(name, str) or not 0 < shares[name] < 1:
            raise _no_target(f"{name}={value!r}" if name else repr(value))
    return shares


def _no_target(given: str) -> ConfigError:
    return ConfigError(
        f"--target={given}, but it must be > 0 and < 1: a share of the images; set"
        " --target=0.9, or --target=resnet50=0.9,vit_b16=0.8, or leave it out."
    )


def naming(task: Task, named: Mapping[str, float]) -> str | None:
    """Returns the name, the nearest one, under which a task's target was given."""
    return next((n for n in (task.name, task.model, "") if n in named), None)


def for_tasks(named: Mapping[str, float], otherwise: Targets) -> Targets:
    """Returns each task's target: the one named for it, its model or all, or another.

    Raises:
      ConfigError: If a target is named for what has no runs.
    """
    names = {task.model for task in otherwise} | {task.name for task in otherwise}
    if unknown := sorted(named.keys() - names - {""}):
        there = ", ".join(short_names(otherwise).values())
        raise ConfigError(
            f"--target={unknown[0]}={named[unknown[0]]:g}: there are no runs of"
            f" {unknown[0]}; name one of {there}."
        )
    return {
        task: value if (name := naming(task, named)) is None else named[name]
        for task, value in otherwise.items()
    }


def short_names(tasks: Iterable[Task]) -> dict[Task, str]:
    """Returns what each task is called: its model alone where that has no other."""
    tasks = [*tasks]
    models = [task.model for task in tasks]
    return {
        task: task.model if models.count(task.model) == 1 else task.name
        for task in tasks
    }
