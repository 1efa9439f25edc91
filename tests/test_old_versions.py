"""What version 0.1 wrote, at commit f79bc59, still serves: a run, a record."""

import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from lion_jax import train
from lion_jax.compare import __main__ as compare
from lion_jax.config import EarlyStoppingConfig, from_dict
from lion_jax.training import restored, run_folder

pytestmark = pytest.mark.slow
OLD = Path(__file__).parent / "data" / "version_0_1"


@pytest.fixture
def folder(tmp_path):
    """A copy of the old run."""
    shutil.copytree(OLD / "run", tmp_path / "run")
    return tmp_path / "run"


def test_a_run_of_version_0_1_is_evaluated(folder):
    result = json.loads((folder / "result.json").read_text())
    figures = restored.evaluate(folder, "best", {"devices": 1})
    assert figures["step"] == 32
    assert figures["test_accuracy"] == pytest.approx(result["test_accuracy"], abs=0.005)
    assert figures["test_loss"] == pytest.approx(result["test_loss"], rel=1e-3)
    assert figures["validation_loss"] == pytest.approx(result["val_loss"], rel=1e-3)


def test_a_run_of_version_0_1_is_resumed(folder):
    old = run_folder.read_result(folder)
    (folder / "result.json").unlink()
    config = restored.read_config(folder)
    config.devices = 1
    out = io.StringIO()
    assert train.train(config, folder, Console(file=out, width=200)) == 0
    assert "resumed at step 32, with 2 epochs done" in out.getvalue()
    new = run_folder.read_result(folder)
    assert new.test_accuracy == pytest.approx(old.test_accuracy, abs=0.005)
    assert (new.val_loss, new.best_epoch) == (old.val_loss, old.best_epoch)


def test_a_finished_run_of_version_0_1_is_finished(folder):
    config = restored.read_config(folder)
    assert config.early_stopping == EarlyStoppingConfig()
    out = io.StringIO()
    assert train.train(config, folder, Console(file=out, width=200)) == 0
    assert "finished" in out.getvalue()


def test_a_record_of_version_0_1_is_reported(tmp_path, capsys):
    shutil.copytree(OLD / "compare", tmp_path / "out")
    assert compare.main(["report", f"--out={tmp_path / 'out'}"]) == 0
    assert "tiny" in (tmp_path / "out" / "report.md").read_text()
    record = json.loads((OLD / "compare/records/tiny/seed_0.json").read_text())
    assert from_dict(record["config"] | {"save_every_minutes": 10.0}).name == "tiny"
