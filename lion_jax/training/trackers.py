"""Experiment trackers: what a run reports to Weights & Biases, MLflow, Trackio, others.

They get the numbers of metrics.jsonl and result.json, as a by-product: a tracker that
fails is warned of and left alone, and the run goes on.
"""

import importlib
import importlib.util
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from lion_jax import references
from lion_jax.config import Config, ConfigError, flatten
from lion_jax.config.reference import parse
from lion_jax.files import write_whole
from lion_jax.training import curves, metrics
from lion_jax.training.history import Epoch, Result

FIELD = "tracker"
PROJECT = "lion_jax"
# Files of a run's folder, by which it goes on in the same report.
TRACKER_ID, MLFLOW_ID = "tracker_id", "mlflow_run_id"
Values = Mapping[str, Any]
Numbers = dict[str, float | int]


class Tracker(Protocol):
    """What a run reports to."""

    def log(self, numbers: Numbers, step: int) -> None:
        """Takes an epoch's numbers, or the result's, at the optimizer's step."""
        ...

    def finish(self) -> None:
        """Ends the report; a run that is resumed begins another one."""
        ...


class Reporter:
    """Opens a tracker at the first record of a run, and reports to it."""

    def __init__(self, name: str, config: Config, folder: Path) -> None:
        """Finds the tracker; nothing is sent yet.

        Args:
          name: A name in `TRACKERS`, a reference to a function that takes `config`, a
            dictionary of the configuration's fields by path, and `folder`, a path, and
            returns a `Tracker`; or empty for none.
          config: The run's configuration.
          folder: The run's folder.

        Raises:
          ConfigError: If there is no such tracker, or its package is not installed.
        """
        self._open = _find(name) if name else None
        self._values, self._folder = flatten(config), folder
        self._what = f"the report to --tracker={name}"
        self._tracker: Tracker | None = None
        self._step = 0

    def epoch(self, record: Epoch) -> None:
        """Reports an epoch."""
        self._step = record.step
        self._log(record.to_dict())

    def result(self, result: Result) -> None:
        """Reports a finished run's figures, under names that begin with `result.`."""
        values = result.to_dict()
        values |= {
            f"class_accuracy.{name}": value
            for name, value in (result.test_class_accuracy or {}).items()
        }
        if self._open and not self._step:  # no epoch was left to this start of the run
            self._step = metrics.read(self._folder)[-1].step
        self._log({f"result.{name}": value for name, value in values.items()})

    def close(self) -> None:
        """Ends the report."""
        if self._tracker:
            with curves.optional(self._what):
                self._tracker.finish()

    def _log(self, values: Values) -> None:
        if self._open is None:
            return
        numbers = {
            name: value
            for name, value in values.items()
            if isinstance(value, int | float) and name not in ("epoch", "step")
        }
        done = False
        with curves.optional(self._what):
            if self._tracker is None:
                self._tracker = self._open(self._values, self._folder)
            self._tracker.log(numbers, self._step)
            done = True
        if not done:
            self._open = self._tracker = None


class _Wandb:
    def __init__(self, config: Values, folder: Path) -> None:
        wandb: Any = importlib.import_module("wandb")
        self._run = wandb.init(
            project=PROJECT,
            name=_title(config),
            id=_kept_id(folder),
            resume="allow",
            dir=str(folder),
            config=dict(config),
        )

    def log(self, numbers: Numbers, step: int) -> None:
        self._run.log(numbers, step=step)

    def finish(self) -> None:
        self._run.finish()


class _Mlflow:
    def __init__(self, config: Values, folder: Path) -> None:
        self._mlflow: Any = importlib.import_module("mlflow")
        self._mlflow.set_experiment(PROJECT)
        # Its id is kept, so that a run that is resumed goes on there too.
        kept = folder / MLFLOW_ID
        known = kept.read_text("utf-8").strip() if kept.exists() else None
        run = self._mlflow.start_run(run_id=known, run_name=_title(config))
        write_whole(kept, run.info.run_id)
        if not known:
            self._mlflow.log_params(dict(config))

    def log(self, numbers: Numbers, step: int) -> None:
        # It takes no other letters, which names of classes may have.
        named = {re.sub(r"[^\w\-. /:]", "_", key): x for key, x in numbers.items()}
        self._mlflow.log_metrics(named, step=step)

    def finish(self) -> None:
        self._mlflow.end_run()


class _Trackio:
    def __init__(self, config: Values, folder: Path) -> None:
        self._trackio: Any = importlib.import_module("trackio")
        self._trackio.init(
            project=PROJECT,
            name=f"{_title(config)} ({_kept_id(folder)})",
            config=dict(config),
            resume="allow",
            embed=False,
        )

    def log(self, numbers: Numbers, step: int) -> None:
        self._trackio.log(numbers, step=step)

    def finish(self) -> None:
        self._trackio.finish()


# A row is named as its package, and as the extra of lion-jax that installs it.
TRACKERS: dict[str, Callable[[Values, Path], Tracker]] = {
    "wandb": _Wandb,
    "mlflow": _Mlflow,
    "trackio": _Trackio,
}


def _find(name: str) -> Callable[[Values, Path], Tracker]:
    if parse(name):
        function = references.load(FIELD, name)
        taken = references.parameters(FIELD, name, function)
        if missing := {"config", "folder"} - {*taken}:
            raise ConfigError(
                f"--tracker={name}: it must take config and folder, but takes no"
                f" {sorted(missing)[0]}; make it take both."
            )
        return lambda config, folder: function(config=config, folder=folder)
    if name not in TRACKERS:
        raise ConfigError(
            f"--tracker={name}, but it must be one of {', '.join(TRACKERS)}, or"
            " package.module:function; give one of these."
        )
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:  # a mere folder, as wandb leaves them
        raise ConfigError(
            f"--tracker={name}, but the package {name} is not installed; run"
            f" python -m pip install {name}."
        )
    return TRACKERS[name]


def _kept_id(folder: Path) -> str:
    """Returns the run's id there: its folder keeps it, however often it is resumed."""
    kept = folder / TRACKER_ID
    if not kept.exists():
        write_whole(kept, secrets.token_hex(4))
    return kept.read_text("utf-8")


def _title(config: Values) -> str:
    return f"{config['name']}, seed {config['seed']}"
