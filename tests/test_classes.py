"""What a test says of each class."""

import os
from pathlib import Path

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.figure import Figure
from PIL import Image

from lion_jax import plots
from lion_jax.training import classes
from lion_jax.training.history import Result
from lion_jax.training.state import CONFUSED, Evaluated


def evaluated(logits, labels, counts=None):
    counts = jnp.ones(len(labels), bool) if counts is None else jnp.asarray(counts)
    sums = Evaluated.zeros(logits.shape[1])
    return sums.add(jnp.zeros(len(labels)), jnp.asarray(logits), labels, counts)


@pytest.mark.slow
def test_accuracy_by_class_top_5_and_confusion_agree_with_numpy():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 7)).astype(np.float32)
    labels = rng.integers(0, 6, 200)  # none of the last class
    counts = rng.random(200) < 0.8
    sums = evaluated(logits, jnp.asarray(labels), counts)
    names = [*"abcdefg"]
    found = classes.figures(sums, names)
    right, labels, order = logits[counts].argmax(1), labels[counts], -logits[counts]
    for i, name in enumerate(names[:-1]):
        of_class = labels == i
        assert found["test_class_accuracy"][name] == np.mean(right[of_class] == i)
    assert found["test_class_accuracy"]["g"] is None
    first_five = np.argsort(order, axis=1)[:, :5]
    assert found["test_top5_accuracy"] == np.mean(
        (first_five == labels[:, None]).any(1)
    )
    matrix = np.array(found["test_confusion"])
    assert matrix.sum() == counts.sum()
    assert matrix[2, 3] == np.sum((labels == 2) & (right == 3))
    name, value = classes.worst(found["test_class_accuracy"])
    assert value == min(
        v for v in found["test_class_accuracy"].values() if v is not None
    )
    assert found["test_class_accuracy"][name] == value
    assert classes.worst({"g": None}) is None


def test_a_logit_that_is_not_a_number_is_never_in_the_top_5():
    logits = np.zeros((3, 8), np.float32)
    logits[0, 2] = logits[1] = np.nan
    logits[2, 7] = 1
    assert int(evaluated(logits, jnp.array([2, 1, 7])).top5) == 1


def test_of_equal_logits_the_first_are_the_largest():
    assert int(evaluated(np.zeros((8, 8), np.float32), jnp.arange(8)).top5) == 5


@pytest.mark.slow
def test_few_classes_have_no_top_5_and_many_no_matrix():
    few = evaluated(np.eye(5, dtype=np.float32), jnp.arange(5))
    assert "test_top5_accuracy" not in classes.figures(few, [*"abcde"])
    many = evaluated(np.zeros((1, CONFUSED + 1), np.float32), jnp.array([3]))
    assert classes.figures(many, []).keys() == set()
    names = [str(i) for i in range(classes.LISTED + 1)]
    listed = evaluated(np.zeros((1, len(names)), np.float32), jnp.array([3]))
    found = classes.figures(listed, names)
    assert "test_confusion" not in found
    assert found["test_class_accuracy"]["3"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("k", [2, 10, 30])
def test_the_confusion_matrix_is_drawn(tmp_path, k):
    names = [f"class {i}" for i in range(k)]
    classes.plot(tmp_path, np.eye(k, dtype=int).tolist(), names)
    with Image.open(tmp_path / "confusion.png") as image:
        assert min(image.size) > 300


def test_no_matrix_makes_no_picture(tmp_path):
    classes.plot(tmp_path, None, [])
    classes.plot(tmp_path, np.eye(classes.DRAWN + 1, dtype=int).tolist(), [])
    assert not [*tmp_path.iterdir()]


def test_results_of_earlier_versions_have_no_classes():
    old = Result.from_dict(
        {
            "seed": 0,
            "best_epoch": 1,
            "stopped_epoch": 1,
            "stop_reason": "epochs",
            "val_loss": 1.0,
            "val_accuracy": 0.5,
            "seconds_train": 1.0,
            "images_per_second": 1.0,
        }
    )
    assert old.test_confusion is None
    assert old.test_class_accuracy is None


def test_names_that_no_font_has_are_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    classes.plot(tmp_path, [[1, 2], [3, 4]], ["\u978b", "hat"])
    picture = (tmp_path / "confusion.svg").read_text()
    assert all(f"<!-- {name} -->" in picture for name in ("0", "hat"))
    assert "no installed font has U+978B; install one" in picture
    with pytest.warns(UserWarning, match=r"x\.png: no installed font has U\+978B"):
        plots.save(Figure().suptitle("\u978b").figure, tmp_path / "x")


def test_names_are_drawn_in_a_font_that_has_them(tmp_path, monkeypatch):
    # A font for formulas that comes with Matplotlib, in place of one for a language.
    math = Path(matplotlib.get_data_path(), "fonts", "ttf", "STIXNonUni.ttf")
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [str(math)])
    names, said = plots.drawable(["\ue000"])
    assert (names, said) == (["\ue000"], "")
    classes.plot(tmp_path, [[1, 2], [3, 4]], [*names, "hat"])  # warnings are errors
    assert "STIXNonUnicode-" in (tmp_path / "confusion.svg").read_text()


def test_names_that_are_formulas_or_no_text_are_drawn(tmp_path):
    names = "cost_$1_$x^2$", os.fsdecode(b"caf\xe9")
    classes.plot(tmp_path, [[1, 2], [3, 4]], names)
    assert (tmp_path / "confusion.png").exists()
    picture = (tmp_path / "confusion.svg").read_text()
    assert all(f"<!-- {name} -->" in picture for name in ("caf?", names[0]))
