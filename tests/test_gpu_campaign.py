"""The campaign for a GPU, tried on the CPU with a tiny model."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from lion_jax.compare import records

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu_campaign.py"
TINY = {
    "data.name": "fashion_mnist_sample",
    "model.name": "resnet_nano",
    "model.pool": "token",
    "model.drop_path": "0",
    "model.dtype": "float32",
    "image_size": "8",
    "epochs": "1",
    "devices": "1",
    "eval_batch_size": "250",
    # The same for both models: what one compiled, the other finds.
    "optimizer.schedule": "constant",
    "optimizer.learning_rate": "0.001",
    "optimizer.weight_decay": "0.1",
    "augment.flip": "false",
    "augment.crop_padding": "0",
    "augment.erasing": "0",
    "augment.mixup": "0",
}


def run(command, *flags, **changed):
    overrides = [f"--config.{k}={v}" for k, v in (TINY | changed).items()]
    process = subprocess.run(
        [sys.executable, str(SCRIPT), *flags, *overrides],
        cwd=command.folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def test_each_pair_is_run_and_reported_and_not_run_again(command):
    flags = ["--budget=200", "--out=out", "--seeds=1", "--kinds=tuned"]
    run(command, *flags)
    found = records.read_all(command.folder / "out" / "tuned")
    assert [record.label for record in found] == sorted(
        f"{model}_{optimizer}_tuned"
        for model in ("resnet50", "vitb16")
        for optimizer in ("lion", "adamw")
    )
    assert (command.folder / "out" / "tuned" / "report.md").exists()
    assert "4 done, 0 remaining" in run(command, *flags)


def test_the_budget_is_kept_and_what_is_begun_is_saved(command):
    flags = ["--budget=20", "--out=out", "--kinds=original"]
    kept = command.folder / "out" / "original" / "unfinished" / "resnet50_lion"
    saved = 0
    for _ in range(2):  # the second call goes on
        started = time.monotonic()
        run(command, *flags, epochs="5000", **{"early_stopping.patience": "0"})
        assert 20 < time.monotonic() - started < 65
        steps = (kept / "seed_0" / "checkpoints").glob("[0-9]*")
        before, saved = saved, max(int(path.name) for path in steps)
        assert saved > before
