"""Experiment trackers: told what a run records, and never in its way."""

import importlib.machinery
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console
from small_runs import build_once, interrupt_at, records, small_config

from lion_jax import train
from lion_jax.config import ConfigError
from lion_jax.training import experiment, run_folder
from lion_jax.training.trackers import TRACKERS, Reporter

OWN = """
class Tracker:
    told, ended, config, folder = [], [], None, None

    def log(self, numbers, step):
        if "fail" in self.folder.name and len(self.told) == 1:
            raise ConnectionError("no route to host")
        self.told.append((step, numbers))

    def finish(self):
        self.ended.append(True)


def opened(config, folder):
    Tracker.config, Tracker.folder = config, folder
    return Tracker()


def takes_nothing():
    return Tracker()
"""


@pytest.fixture
def tracker(tmp_path, monkeypatch, small_data):
    monkeypatch.setattr(experiment, "Program", build_once)
    monkeypatch.syspath_prepend(tmp_path)
    name = f"tracker_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    yield name
    sys.modules.pop(name, None)


def trained(folder, tracker):
    return train.train(
        small_config(), folder, Console(quiet=True), tracker=f"{tracker}:opened"
    )


def test_a_tracker_is_told_what_the_run_records(tmp_path, tracker):
    assert trained(tmp_path / "run", tracker) == 0
    kept = sys.modules[tracker].Tracker
    rows = records(tmp_path / "run")
    assert [step for step, _ in kept.told] == [row["step"] for row in rows] + [18]
    for (_, numbers), row in zip(kept.told, rows, strict=False):
        assert numbers == {k: v for k, v in row.items() if k not in ("epoch", "step")}
    result = run_folder.read_result(tmp_path / "run")
    final = kept.told[-1][1]
    assert final["result.test_accuracy"] == result.test_accuracy
    assert final["result.class_accuracy.Bag"] == result.test_class_accuracy["Bag"]
    assert all(isinstance(value, int | float) for value in final.values())
    assert kept.ended == [True]
    assert kept.config["optimizer.learning_rate"] == 1e-3
    # A run that is finished already tells nothing again.
    assert trained(tmp_path / "run", tracker) == 0
    assert len(kept.told) == len(rows) + 1


def test_a_run_resumed_at_its_test_tells_the_result(tmp_path, tracker, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 9 + 9 + 9 + 1)
        assert trained(tmp_path / "run", tracker) > 128
    kept = sys.modules[tracker].Tracker
    assert len(records(tmp_path / "run")) == 3
    assert len(kept.told) == 3
    assert trained(tmp_path / "run", tracker) == 0
    step, numbers = kept.told[-1]
    assert (len(kept.told), step) == (4, 18)
    assert "result.test_accuracy" in numbers


def test_a_run_made_longer_tells_its_new_result(tmp_path, tracker):
    config = small_config()
    config.epochs = 2
    train.train(
        config, tmp_path / "run", Console(quiet=True), tracker=f"{tracker}:opened"
    )
    kept = sys.modules[tracker].Tracker
    before = len(kept.told)
    assert trained(tmp_path / "run", tracker) == 0
    assert ["result.test_accuracy" in x for _, x in kept.told[before:]] == [False, True]


def test_a_tracker_that_fails_is_left_alone(tmp_path, tracker, caplog):
    assert trained(tmp_path / "fail", tracker) == 0
    assert len(sys.modules[tracker].Tracker.told) == 1
    assert len(records(tmp_path / "fail")) == 3
    said = [r.getMessage() for r in caplog.records if "no route to host" in r.message]
    assert len(said) == 1
    assert "training continues without it" in said[0]


def test_a_tracker_that_is_none_is_refused_at_once(tmp_path, tracker):
    for name, said in (
        ("tensorboard", "must be one of wandb, mlflow, trackio, or"),
        (f"{tracker}:absent", "absent"),
        (f"{tracker}:takes_nothing", "must take config and folder, but takes no"),
    ):
        with pytest.raises(ConfigError, match=said):
            Reporter(name, small_config(), tmp_path)


@pytest.mark.parametrize("name", TRACKERS)
def test_a_package_that_is_not_installed_is_named(name, tmp_path, monkeypatch):
    folder = importlib.machinery.ModuleSpec(name, None, is_package=True)
    for found in None, folder:  # a folder of that name, as wandb leaves them
        monkeypatch.setattr("importlib.util.find_spec", lambda _, found=found: found)
        with pytest.raises(ConfigError, match=f"run python -m pip install {name}"):
            Reporter(name, small_config(), tmp_path)


class Calls(list):
    """A module whose every function notes how it is called."""

    def __getattr__(self, name):
        def call(*values, **named):
            self.append((name, values, named))
            return (
                self
                if name == "init"
                else SimpleNamespace(info=SimpleNamespace(run_id="17"))
            )

        return call


@pytest.mark.slow
@pytest.mark.parametrize("name", TRACKERS)
def test_packages_are_called_as_they_document(name, tmp_path, monkeypatch):
    calls = Calls()
    found = importlib.machinery.ModuleSpec(name, None, origin="there.py")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: found)
    monkeypatch.setitem(sys.modules, name, calls)
    reporter = Reporter(name, small_config(), tmp_path)
    reporter._log({"val_loss": 0.5, "step": 6, "diverged": None})
    reporter.close()
    said = [call for call, _, _ in calls]
    assert calls[said.index({"mlflow": "log_metrics"}.get(name, "log"))][1] == (
        {"val_loss": 0.5},
    )
    assert said[-1] in ("finish", "end_run")
    again = Reporter(name, small_config(), tmp_path)
    again._log({"val_loss": 0.4})
    (begun, resumed) = (n for c, _, n in calls if c in ("init", "start_run"))
    if name == "mlflow":
        assert resumed["run_id"] == "17"
    else:
        assert begun["resume"] == "allow"
        assert begun.get("id") == resumed.get("id")
        assert begun["name"] == resumed["name"]
        assert begun["name"].startswith("experiment, seed 0")
