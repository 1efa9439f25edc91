"""Trained models in other hands: no data, no trainer, no lion_jax."""

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import ending
from PIL import Image
from rich.console import Console
from safetensors.numpy import load_file
from small_models import STEM
from small_runs import build_once, small_config, small_dataset

from lion_jax import data, export, predict, training
from lion_jax.config import ConfigError
from lion_jax.data import pictures
from lion_jax.models.layers import attention
from lion_jax.training import experiment, exported, metrics, pretrained

DOCS = Path(__file__).parents[1] / "docs" / "trained_models.md"
OLD = Path(__file__).parent / "data" / "version_0_1" / "run"


@pytest.fixture(scope="module")
def small():
    return small_dataset()


@pytest.fixture
def model(whole, small, monkeypatch):
    """The model of a run, on a machine without its data."""

    def no_data(*_):
        raise data.DataError("the data are elsewhere")

    monkeypatch.setattr(data, "load", no_data)
    return training.load(whole)


@pytest.fixture
def pngs(tmp_path, small):
    """Files of the first test images."""
    names = [str(tmp_path / f"garment [{i}].png") for i in range(3)]
    for name, image in zip(names, small.test_images, strict=False):
        Image.fromarray(image[..., 0]).save(name)
    return names


def python_of(page):
    """The Python blocks of a page, by their first line."""
    blocks = page.read_text().split("```python\n")[1:]
    texts = [block.split("```")[0] for block in blocks]
    return {text.splitlines()[0]: text for text in texts}


def run_without(package, code, folder):
    """Runs code in a process that cannot import a package."""
    blocked = f"import sys\nsys.modules[{package!r}] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + code],
        cwd=folder,
        env=os.environ | {"JAX_NUMPY_RANK_PROMOTION": "allow"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_model_needs_no_data_to_be_used(model, whole, small):
    assert model.class_names == small.class_names
    assert model.signature.image_shape == (28, 28, 1)
    assert model.signature.dataset == small.name
    result = json.loads((whole / "result.json").read_text())
    hits = model.predict(small.test_images).argmax(1) == small.test_labels
    assert np.mean(hits) == pytest.approx(result["test_accuracy"])
    assert model.predict(small.test_images[:0]).shape == (0, 10)
    sums = model.probabilities(small.test_images).sum(axis=1)
    np.testing.assert_allclose(sums, 1, rtol=1e-5)
    with pytest.raises(data.DataError, match="elsewhere"):
        _ = model.dataset


def test_a_model_saved_without_signature_takes_it_from_its_data():
    old = training.load(OLD)
    assert old.class_names == data.load(data.SAMPLE).class_names
    assert len(old.signature.mean) == 1


@pytest.mark.usefixtures("model")
def test_predict_prints_what_the_model_says(whole, pngs, small):
    images = small.test_images[:3]
    expected = predict.predictions(training.load(whole), images, top=2)
    with pytest.raises(ValueError, match=r"top=-1, but it must be >= 0; set 0 for all"):
        predict.predictions(training.load(whole), images, top=-1)
    assert len(predict.predictions(training.load(whole), images, top=0)[0]) == 10
    argv = ["--workdir", str(whole), *pngs, "--top=2"]
    status, errors, out = ending(argv, predict)
    assert (status, errors) == (0, "")
    for line, name, row in zip(out.splitlines(), pngs, expected, strict=True):
        first, second = row
        assert first["probability"] >= second["probability"]
        assert line.split("  ")[0] == name
        assert line.endswith(
            f"{first['class']} {first['probability']:.1%},"
            f" {second['class']} {second['probability']:.1%}"
        )
    status, errors, out = ending([*pngs, f"--workdir={whole}", "--json"], predict)
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["file"] for row in rows] == pngs
    assert [row["predictions"][:2] for row in rows] == expected
    assert [len(row["predictions"]) for row in rows] == [3, 3, 3]


@pytest.mark.usefixtures("model")
def test_what_predict_cannot_use_is_one_line(whole, pngs, tmp_path):
    text = tmp_path / "notes.png"
    text.write_text("no image")
    absent = tmp_path / "absent.png"
    argv = ["--workdir", str(whole), pngs[0], str(text), str(absent)]
    status, errors, out = ending(argv, predict)
    assert (status, out) == (2, "")
    assert errors == (
        f"error: {text} (no image that Pillow reads), {absent} (no such file or"
        " directory): cannot be read as images; leave them out, or save them anew as"
        " PNG or JPEG.\n"
    )
    for argv, rule in (
        (["--workdir", str(whole)], "there is no image file; give one or more"),
        (pngs, "--workdir is missing; give the folder of a run"),
        ([*pngs, "--workdir", str(tmp_path)], "holds no config.json; give a folder"),
    ):
        status, errors, _ = ending(argv, predict)
        assert status == 2
        assert rule in errors


def test_pictures_of_all_kinds_get_the_shape_of_the_set(tmp_path):
    grey = np.arange(12 * 20, dtype=np.uint8).reshape(12, 20)
    tall = Image.fromarray(grey).rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter: to be shown as it was
    kinds = {
        "grey.png": Image.fromarray(grey),
        "deep.png": Image.fromarray(grey.astype(np.uint16) * 257),
        "rgb.png": Image.fromarray(grey).convert("RGB"),
        "rgba.png": Image.fromarray(grey).convert("RGBA"),
        "palette.gif": Image.fromarray(grey).convert("P"),
        "turned.png": tall,
    }
    for name, image in kinds.items():
        image.save(tmp_path / name, **({"exif": exif} if image is tall else {}))
        for channels in 1, 3:
            array = pictures.read(tmp_path / name, (12, 20, channels))
            assert array.shape == (12, 20, channels)
            np.testing.assert_array_equal(array[..., 0], grey, err_msg=name)
    for name, pixels in (
        ("float.tiff", grey / 255),
        ("deep.tiff", 2**16 + grey.astype(int)),
    ):
        kind = np.float32 if name == "float.tiff" else np.int32
        Image.fromarray(pixels.astype(kind)).save(tmp_path / name)
        with pytest.raises(ValueError, match=r"floats|not of 8 to 16 bits"):
            pictures.read(tmp_path / name, (12, 20, 1))
    middle = pictures.read(tmp_path / "grey.png", (12, 12, 1))
    np.testing.assert_array_equal(middle[..., 0], grey[:, 4:16])


@pytest.mark.slow
def test_an_exported_program_runs_without_the_package(model, whole, small, tmp_path):
    out = tmp_path / "model.jaxexport"
    status, errors, said = ending(["--workdir", str(whole), f"--out={out}"], export)
    assert (status, errors) == (0, "")
    assert said.startswith(f"{out}: program for cpu and cuda of {STEM}, ")
    np.save(tmp_path / "images.npy", small.test_images[:5])
    code = python_of(DOCS)["import json"]
    said = run_without("lion_jax", code, tmp_path)
    wanted = model.predict(small.test_images[:5])
    names = [small.class_names[i] for i in wanted.argmax(1)]
    assert said.split("\n")[:5] == names
    logits = np.load(tmp_path / "logits.npy")
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_exported_weights_fit_the_model_without_the_trainer(small, tmp_path):
    out = tmp_path / "made" / "model.safetensors"
    status, errors, _ = ending(["--workdir", str(OLD), f"--out={out}"], export)
    assert (status, errors) == (0, "")
    model = training.load(OLD)  # of a model with a name
    np.save(out.parent / "images.npy", small.test_images[:5])
    code = python_of(DOCS)["from safetensors import safe_open"]
    run_without("lion_jax.training", code, out.parent)
    logits = np.load(out.parent / "logits.npy")
    wanted = model.predict(small.test_images[:5])
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-5)


def test_what_export_cannot_write_is_one_line(whole, tmp_path):
    for argv, rule in (
        ([], "--workdir is missing; give the folder of a run"),
        ([f"--workdir={whole}"], "--out is missing; give a file"),
        ([f"--workdir={whole}", f"--out={tmp_path}"], "is a folder; give a file in it"),
    ):
        status, errors, _ = ending(argv, export)
        assert status == 2
        assert rule in errors


def test_weights_are_written_where_a_link_leads(model, tmp_path, monkeypatch):
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "there.safetensors")
    monkeypatch.chdir(tmp_path)
    training.write_weights(model, "link.safetensors")
    assert (tmp_path / "link.safetensors").is_symlink()
    assert not (tmp_path / "there.safetensors").is_symlink()
    assert load_file(tmp_path / "there.safetensors")


def test_on_a_gpu_a_program_for_all_platforms_leaves_cudnn_out(monkeypatch, model):
    asked = []

    def applies(device, *_):
        asked.append(device.platform)
        return False

    monkeypatch.setattr(attention, "_cudnn_applies", applies)
    with jax.default_device(jax.devices("cpu")[0]):
        monkeypatch.setattr(jax, "devices", lambda *_: ["a GPU"])
        query = jnp.zeros((1, 4, 2, 8))
        attention.attend(query, query, query)
    assert asked == ["cpu"]
    assert exported.description(model)["class_names"] == model.class_names


@pytest.mark.slow
def test_training_in_a_thread_tells_of_each_epoch(tmp_path, small, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *_: small)
    monkeypatch.setattr(experiment, "Program", build_once)
    told, results = [], []
    config = small_config()
    quiet = Console(quiet=True)

    def work():
        results.append(
            training.run(config, tmp_path / "run", quiet, on_epoch=told.append)
        )

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [epoch.epoch for epoch in told] == [1, 2, 3]
    assert told == metrics.read(tmp_path / "run")
    assert results[0].test_accuracy == pytest.approx(
        np.trace(results[0].test_confusion) / 100
    )
    assert (tmp_path / "run" / "confusion.png").exists()


@pytest.mark.slow
def test_what_a_callable_raises_ends_a_run_that_goes_on(tmp_path, small, monkeypatch):
    monkeypatch.setattr(data, "load", lambda *_: small)
    monkeypatch.setattr(experiment, "Program", build_once)

    def prune(epoch):
        raise LookupError(f"pruned after epoch {epoch.epoch}")

    quiet, told = Console(quiet=True), []
    with pytest.raises(LookupError, match="pruned after epoch 1"):
        training.run(small_config(), tmp_path / "run", quiet, on_epoch=prune)
    training.run(small_config(), tmp_path / "run", quiet, on_epoch=told.append)
    assert [epoch.epoch for epoch in told] == [2, 3]


@pytest.mark.parametrize(
    "place",
    [
        "curves.svg",
        "confusion.png",
        "tracker_id",
        "checkpoints/9/model.safetensors",
        "damaged/model",
        "environment",
    ],
)
def test_no_file_is_exported_over_or_into_what_a_run_keeps(whole, tmp_path, place):
    shutil.copytree(whole, tmp_path / "run")
    shutil.move(tmp_path / "run" / "checkpoints", tmp_path / "disk")
    (tmp_path / "run" / "checkpoints").symlink_to(tmp_path / "disk")
    before = sorted(tmp_path.rglob("*"))
    argv = ["--workdir", str(tmp_path / "run"), "--out"]
    with pytest.raises(ConfigError, match="would change the run's own"):
        export.main([*argv, str(tmp_path / "run" / place)])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_file_of_weights_is_one_by_the_name_that_is_given(whole, tmp_path):
    """In capitals, or a link to a file without an ending."""
    (tmp_path / "blob").touch()
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "blob")
    for name in ("M.SAFETENSORS", "link.safetensors"):
        export.main(["--workdir", str(whole), "--out", str(tmp_path / name)])
        assert load_file(tmp_path / name)
        assert pretrained.read(str(tmp_path / name)).arrays
    assert (tmp_path / "link.safetensors").is_symlink()
