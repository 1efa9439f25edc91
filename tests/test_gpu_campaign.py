"""The campaign for a GPU, tried on the CPU with a tiny model."""

import json
import subprocess
import sys
import time
from pathlib import Path

import gpu_modes
import pytest
import roofline

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


def test_a_pairs_seeds_are_shared_and_reported_and_not_run_again(command):
    flags = ["--budget=250", "--out=out", "--stages=tuned", "--models=resnet50"]
    flags += ["--seeds=2", "--workers=2"]
    run(command, *flags)
    out = command.folder / "out" / "tuned_resnet50"
    found = records.read_all(out)
    assert [(record.label, record.seed) for record in found] == [
        (f"resnet50_{optimizer}_tuned", seed)
        for optimizer in ("adamw", "lion")
        for seed in (0, 1)
    ]
    assert (out / "report.md").exists()
    assert run(command, *flags).count("2 done, 0 remaining") == 2


def test_the_budget_is_kept_and_what_is_begun_is_saved(command):
    flags = ["--budget=20", "--out=out", "--stages=original", "--models=resnet50"]
    part = command.folder / "out" / "original_resnet50" / "parts" / "seeds_0_to_0"
    saved = 0
    for _ in range(2):  # the second call goes on
        started = time.monotonic()
        run(command, *flags, epochs="5000", **{"early_stopping.patience": "0"})
        assert 20 < time.monotonic() - started < 65
        kept = part / "unfinished" / "resnet50_lion" / "seed_0" / "checkpoints"
        before, saved = saved, max(int(x.name) for x in kept.glob("[0-9]*"))
        assert saved > before


def test_a_mode_is_compared_with_the_cpu(command):
    run(command, "--budget=100", "--out=out", "--stages=modes", "--quick")
    record = json.loads((command.folder / "out" / "modes.json").read_text())
    row = record["train"]["float32"]
    assert len(row["losses"]) == 6
    assert record["optimize"]["float32"]["same_bits_as_optax"] == 1


@pytest.mark.parametrize(
    ("mode", "losses", "carried", "again", "found"),
    [
        ("float32", [2.0, 1.9], 1.8, True, []),
        ("float32", [2.0001, 1.9], 1.8, True, ["first loss 5.0e-05 apart"]),
        ("bfloat16", [2.0001, 1.9], 1.8, True, []),
        ("float32", [2.0, 2.0], 1.8, True, ["losses 5.3e-02 apart"]),
        ("float32", [2.0, 1.9], 1.7, True, ["validation 5.9e-02 apart"]),
        ("float32", [2.0, 1.9], 1.8, False, ["other bits when trained again"]),
    ],
)
def test_what_is_beyond_a_bound_is_said(mode, losses, carried, again, found):
    row = {"losses": losses, "losses_on_cpu": [2.0, 1.9], "validation_loss": 1.8}
    row |= {"the_same_model_on_cpu": carried, "same_bits_again": again}
    assert gpu_modes.wrong(mode, row) == found


def test_the_roofline_shows_what_was_measured():
    rows = json.loads(roofline.RECORDS.read_text())
    (axis,) = roofline.draw(rows).axes
    said = [text.get_text() for text in axis.get_legend().get_texts()]
    assert "resnet50, measured: 42.9 ms" in said
    assert len(said) == 1 + 2 * len(rows)
    marks = [line.get_xydata() for line in axis.lines[1:]]
    intensity, rate = zip(*(xy for line in marks for xy in line), strict=True)
    peak = max(axis.lines[0].get_ydata())
    assert max(rate) < peak  # nothing is faster than the data sheet allows
    assert all(y < 3.4 * x for x, y in zip(intensity, rate, strict=True))
