"""What a configuration would compute, without a run."""

import io

import jax
import pytest
from command_line import ending
from rich.console import Console
from small_models import STEM
from small_runs import small_config

from lion_jax import train, training
from lion_jax.training import preview
from lion_jax.training.program import Program


@pytest.mark.usefixtures("small_data")
def test_a_dry_run_shows_what_a_run_has_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config, built = small_config(), []

    def build(*given):
        built.append(Program(*given))
        return built[-1]

    monkeypatch.setattr(preview, "Program", build)
    out = io.StringIO()
    numbers = training.dry_run(config, Console(file=out, width=100))
    (program,) = built
    sizes = [x.size for x in jax.tree.leaves(program.abstract.params)]
    assert sum(numbers["parameters"].values()) == sum(sizes)
    assert numbers["bytes"]["parameters"] == 4 * sum(sizes)
    assert numbers["bytes"]["optimizer_state"] >= 4 * sum(sizes)
    assert numbers["bytes"]["step"] > numbers["bytes"]["optimizer_state"]
    # A training step is about three forward passes of two FLOPs per product.
    assert numbers["flops"] > 6 * config.batch_size * sum(sizes)
    said = out.getvalue()
    assert f"{STEM}: 28 x 28 x 1 images, resized to 14 x 14 x 3, 10 classes" in said
    assert "an epoch: 6 steps of 64 images; at most 3 epochs" in said
    for name, size in numbers["parameters"].items():
        assert f"{name} " in said
        assert f"{size:,}" in said
    assert not [*tmp_path.rglob("*")]
    config.accumulate = config.devices = 2  # a quarter of the products is compiled
    parts = training.dry_run(config, Console(file=out))
    assert parts["flops"] == pytest.approx(numbers["flops"], rel=0.1)


@pytest.mark.usefixtures("small_data")
def test_the_flag_makes_no_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.py").write_text(
        "from lion_jax.config import Config\ndef get_config():\n    return Config()\n"
    )
    called = []
    monkeypatch.setattr(training, "dry_run", called.append)
    assert ending(["--config=c.py", "--dry_run"], train)[0] == 0
    assert len(called) == 1
    assert not (tmp_path / "runs").exists()


def test_parameters_are_counted_by_module():
    params = {"stem": {"kernel": jax.numpy.zeros((3, 4))}, "scale": jax.numpy.zeros(2)}
    params["stages"] = {0: {1: {"conv": {"kernel": jax.numpy.zeros((5, 2))}}}}
    found = preview.modules(params)
    assert found == {"(the model itself)": 2, "stages.0": 10, "stem": 12}
