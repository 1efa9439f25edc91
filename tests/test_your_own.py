"""From an empty folder to an answer: an own network on a folder of images.

What docs/your_own.md, docs/data.md, docs/trained_models.md and docs/comparing.md say,
in the order in which somebody does it.
"""

import contextlib
import json
import signal
from pathlib import Path

import numpy as np
import pytest
from command_line import ending
from jax import export as programs
from PIL import Image
from small_runs import interrupt_at

from lion_jax import evaluate, export, predict, train, training
from lion_jax.compare import __main__ as compare
from lion_jax.compare import records

DOCS = Path(__file__).parents[1] / "docs"
CONFIG = """
from lion_jax.config import *

def get_config():
    return Config(
        name={name!r},
        epochs={epochs},
        batch_size=40,
        image_size=16,
        channels=1,
        model=ModelConfig(name="./net.py:Net", options={{"width": 4}}),
        data=DataConfig(name="folder", data_dir="photos", cache_dir="cache"),
        optimizer=OptimizerConfig({optimizer}),
    )
"""
OPTIMIZERS = {
    "lion": "learning_rate=3e-3, weight_decay=0.1",
    "adamw": "name='adamw', learning_rate=1e-2, weight_decay=0.03",
    "ademamix": "name='optax.contrib:ademamix', learning_rate=1e-2",
}


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with 500 images of three classes, a network, three configurations."""
    monkeypatch.chdir(tmp_path)
    page = (DOCS / "your_own.md").read_text()
    network = page[page.index("`net.py`:") :].split("```python\n")[1].split("```")[0]
    assert len(network.splitlines()) <= 30
    Path("net.py").write_text(network)
    rng = np.random.default_rng(0)
    for i in range(500):
        row = ("dark", "light", "middle")[i % 3]
        folder = Path("photos", row)
        folder.mkdir(parents=True, exist_ok=True)
        level = {"dark": 40, "light": 200, "middle": 120}[row]
        pixels = np.clip(rng.normal(level, 30, (16, 16)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    for name, optimizer in OPTIMIZERS.items():
        text = CONFIG.format(name=name, optimizer=optimizer, epochs=4)
        Path(f"{name}.py").write_text(text)
    return tmp_path


@pytest.mark.slow
@pytest.mark.standard_promotion("Optax's AdEMAMix divides integers by floats")
def test_from_an_empty_folder_to_an_answer(place):
    # Train, be told to end in the third epoch, resume.
    argv = ["--config", "lion.py", "--workdir", "run"]
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 20)
        assert ending(argv, train)[0] == 128 + signal.SIGTERM
    assert not Path("run/result.json").exists()
    status, errors, said = ending(argv, train)
    assert (status, errors) == (0, "")
    assert "resumed at step" in said
    result = json.loads(Path("run/result.json").read_text())
    assert result["stopped_epoch"] == 4
    assert result["test_accuracy"] > 0.5  # of three classes, after 32 steps
    assert set(result["test_class_accuracy"]) == {"dark", "light", "middle"}
    Path("elsewhere").mkdir()
    with contextlib.chdir("elsewhere"):
        status, _, said = ending(["--workdir", "../run"], evaluate)
    assert status == 0
    assert json.loads(said)["test_accuracy"] == result["test_accuracy"]

    # Predict a picture; export the model.
    picture = np.full((30, 40), 210, np.uint8)
    Image.fromarray(picture).save("seen.png")
    status, _, said = ending(["--workdir", "run", "seen.png", "--json"], predict)
    assert status == 0
    first = json.loads(said)["predictions"][0]
    model = training.load("run")
    images = np.full((2, 16, 16, 1), 210, np.uint8)  # as the picture is cut and resized
    logits = model.predict(images)
    assert first["class"] == model.class_names[logits[0].argmax()]
    for out in "model.jaxexport", "model.safetensors":
        assert ending(["--workdir", "run", "--out", out], export)[0] == 0
    program = programs.deserialize(bytearray(Path("model.jaxexport").read_bytes()))
    np.testing.assert_allclose(program.call(images), logits, rtol=1e-4, atol=1e-5)

    # Is Lion better for me?
    files = [f"{name}.py" for name in OPTIMIZERS]
    more = ["--seeds", "2", "--out", "records", "--config.epochs=1"]
    more += ["--config.devices=1"]  # eight of them would wait for each other
    status, errors, _ = ending(["run", "--configs", *files, *more], compare)
    assert (status, errors) == (0, "")
    assert len(records.read_all(Path("records"))) == 6
    status, _, said = ending(["report", "--out", "records"], compare)
    assert status == 0
    report = json.loads(Path("records/report.json").read_text())
    primary = [c for c in report["comparisons"] if c["primary"]]
    assert len(primary) == 3  # contrasts of three optimizers
    assert [c["n_pairs"] for c in primary] == [2, 2, 2]
    assert "ademamix" in Path("records/report.html").read_text()
