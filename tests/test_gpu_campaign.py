"""The campaign for a GPU, tried on the CPU with a tiny network."""

import subprocess
import sys
import time
from pathlib import Path

from lion_jax import records

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu_campaign.py"
TINY = {
    "data.name": "fashion_mnist_sample",
    "model.name": "resnet_tiny",
    "model.pool": "token",
    "model.drop_path": "0",
    "model.dtype": "float32",
    "image_size": "28",
    "epochs": "1",
    "devices": "1",
    "eval_batch_size": "250",
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
    said = run(command, "--budget=200", "--out=out", "--seeds=1", "--kinds=original")
    found = records.read_all(command.folder / "out" / "original")
    assert [record.label for record in found] == sorted(
        f"{model}_{optimizer}"
        for model in ("resnet50", "vitb16")
        for optimizer in ("lion", "adamw")
    )
    assert (command.folder / "out" / "original" / "report.md").exists()
    said = run(command, "--budget=200", "--out=out", "--seeds=1", "--kinds=original")
    assert "4 runs are there, 0 to go" in said


def test_the_budget_is_kept_and_what_is_begun_is_saved(command):
    before = time.monotonic()
    flags = ["--budget=25", "--out=out", "--kinds=original"]
    run(command, *flags, epochs="5000", **{"early_stopping.patience": "0"})
    assert 25 < time.monotonic() - before < 60
    kept = command.folder / "out" / "original" / "unfinished" / "resnet50_lion"
    saved = max(int(p.name) for p in (kept / "seed_0" / "checkpoints").glob("[0-9]*"))
    run(command, *flags, epochs="5000", **{"early_stopping.patience": "0"})
    again = max(int(p.name) for p in (kept / "seed_0" / "checkpoints").glob("[0-9]*"))
    assert again > saved  # the second call went on
