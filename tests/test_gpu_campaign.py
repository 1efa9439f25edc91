"""The campaign for a GPU, tried on the CPU with a tiny model."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import gpu_campaign
import gpu_modes
import pytest
import roofline
import small_runs
from command_line import ending

from lion_jax import train
from lion_jax.compare import __main__ as compare
from lion_jax.compare import compiled, records
from lion_jax.training import preview, sharding

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


PARTS = {"seeds_0_to_0", "seeds_1_to_1"}  # of two processes, a seed each


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


@pytest.fixture
def in_this_process(monkeypatch):
    """Runs a campaign's commands here, one by one, each program compiled once."""
    for module in compiled, preview:
        monkeypatch.setattr(module, "Program", small_runs.build_once)
    monkeypatch.setattr(sharding, "count_devices", lambda: 1)
    ran = []

    def run_one(command):
        module, *argv = command[2:]  # after python -m
        main = {"lion_jax.train": train, "lion_jax.compare": compare}[module]
        status, errors, said = ending(argv, main)
        assert (status, errors) == (0, "")
        ran.append(said)
        return subprocess.CompletedProcess(command, status)

    def run_all(commands, seconds):
        return [*map(run_one, commands)] != []

    monkeypatch.setattr(gpu_campaign, "run_for", run_all)
    monkeypatch.setattr(gpu_campaign, "subprocess", SimpleNamespace(run=run_one))
    return ran


@pytest.mark.usefixtures("small_data")
@pytest.mark.standard_promotion("optax.adamw raises floats to integer powers")
def test_a_pairs_seeds_are_shared_and_reported_and_not_run_again(
    tmp_path, in_this_process
):
    flags = ["--budget=250", f"--out={tmp_path}", "--stages=tuned", "--models=resnet50"]
    flags += ["--seeds=2", "--workers=2"]
    flags += [f"--config.{k}={v}" for k, v in TINY.items()]
    assert gpu_campaign.main(flags) == 0
    out = tmp_path / "tuned_resnet50"
    found = records.read_all(out)
    assert [(record.label, record.seed) for record in found] == [
        (f"resnet50_{optimizer}_tuned", seed)
        for optimizer in ("adamw", "lion")
        for seed in (0, 1)
    ]
    assert (out / "report.md").exists()
    *dry, first, second, _ = in_this_process
    assert len(dry) == 2
    for said in first, second:  # two processes, a seed each
        assert "0 done, 2 remaining" in said
    in_this_process.clear()
    assert gpu_campaign.main(flags) == 0
    assert "".join(in_this_process).count("2 done, 0 remaining") == 2
    # The same folders, so that what was not over when the budget was goes on there.
    assert {path.name for path in (out / "parts").iterdir()} == PARTS


def test_commands_run_at_once_and_share_the_memory(tmp_path):
    def command(own, others):
        wait = f"while [ ! -e {tmp_path}/{others} ]; do sleep 0.05; done"
        share = f"[ $XLA_PYTHON_CLIENT_MEM_FRACTION = 0.45 ] && touch {tmp_path}/{own}"
        return ["sh", "-c", f"{share} && {wait}"]

    assert gpu_campaign.run_for([command("a", "b"), command("b", "a")], 60)
    assert not gpu_campaign.run_for([["true"], ["false"]], 60)
    assert gpu_campaign.run_for([["sleep", "600"], ["true"]], 0.1)  # told to end


def test_the_budget_is_kept_and_what_is_begun_is_saved(command):
    # Enough for imports, compilation and a step, also beside other work.
    flags = ["--budget=30", "--out=out", "--stages=original", "--models=resnet50"]
    started = time.monotonic()
    run(command, *flags, epochs="5000", **{"early_stopping.patience": "0"})
    assert 30 < time.monotonic() - started < 30 + gpu_campaign.GRACE
    part = command.folder / "out" / "original_resnet50" / "parts" / "seeds_0_to_0"
    run_folder = part / "unfinished" / "resnet50_lion" / "seed_0"
    assert [*(run_folder / "checkpoints").glob("[0-9]*")]


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
