"""Data sets from .npz files: names, shapes and dtypes of arrays, what is refused."""

import numpy as np
import pytest

from lion_jax import data

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (20, 5, 4), np.uint8)
Y = np.arange(20) % 4
SPLITS = {"train": (X, Y), "test": (X[:6] // 2, Y[:6])}


def load(folder, **arrays):
    np.savez(folder / "set.npz", **arrays)
    return data.load("set.npz", str(folder))


def named(images="{}_images", labels="{}_labels", test="test"):
    (x, y), (x2, y2) = SPLITS.values()
    train = {images.format("train"): x, labels.format("train"): y}
    return train | {images.format(test): x2, labels.format(test): y2}


@pytest.mark.parametrize(
    "names",
    [
        ("{}_images", "{}_labels"),
        ("x_{}", "y_{}"),
        ("X_{}", "y_{}"),
        ("{}_x", "{}_y"),
        ("{}_images", "{}_labels", "val"),
    ],
)
def test_arrays_are_found_by_the_names_that_people_give_them(tmp_path, names):
    got = load(tmp_path, **named(*names))
    np.testing.assert_array_equal(got.train_images, X[..., None])
    np.testing.assert_array_equal(got.test_images, X[:6, ..., None] // 2)
    np.testing.assert_array_equal(got.train_labels, Y)
    assert got.class_names == ("0", "1", "2", "3")
    assert got.version == got.sha256()[:12]
    assert got.name == "set.npz"


def test_val_is_not_used_beside_test_and_serves_alone(tmp_path, caplog):
    caplog.set_level("INFO")
    val = {"val_images": X, "val_labels": Y}
    assert len(load(tmp_path, **named(), **val).test_labels) == 6
    assert "not used: val_images, val_labels." in caplog.text
    load(tmp_path, **named(test="val"))
    assert "val_images serves as the test split" in caplog.text


def test_a_labelled_test_split_beside_one_pair_is_the_test_split(tmp_path, caplog):
    caplog.set_level("INFO")
    test = {"test_images": X[:6], "test_labels": Y[:6]}
    got = load(tmp_path, images=X, labels=Y, **test)
    assert (len(got.train_labels), len(got.test_labels)) == (20, 6)
    load(tmp_path, x_train=X, y_train=Y, x_test=X[:6])
    assert "not used: x_test." in caplog.text


def test_labels_may_outnumber_the_training_images(tmp_path):
    labels = {"y_train": np.array([0, 1, 2, 7, 8, 9]), "y_test": np.arange(10)}
    images = {"x_train": X[:6], "x_test": X[:10]}
    assert load(tmp_path, **images, **labels).num_classes == 10
    named = {"class_names": np.array([*"abcdefghijklmnopqrstuvwxyz"])}
    labels["y_test"] = np.arange(16, 26)
    assert load(tmp_path, **images, **labels, **named).num_classes == 26


@pytest.mark.parametrize("names", [("images", "labels"), ("x", "y"), ("X", "y")])
def test_one_pair_of_arrays_has_a_part_held_out(tmp_path, caplog, names):
    caplog.set_level("INFO")
    got = load(tmp_path, **dict(zip(names, (X, Y), strict=True)))
    assert sorted(got.test_labels) == [0, 1, 2, 3]
    assert len(got.train_labels) == 16
    assert "has no test split: 4 of its 20 images" in caplog.text


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_in_0_to_1_become_the_nearest_of_256_values(tmp_path, dtype):
    scaled = (X / 255).astype(dtype)
    got = load(tmp_path, **named() | {"train_images": scaled})
    np.testing.assert_array_equal(got.train_images, X[..., None])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint64])
def test_labels_of_every_integer_dtype_and_as_a_column(tmp_path, dtype):
    got = load(tmp_path, **named() | {"train_labels": Y[:, None].astype(dtype)})
    np.testing.assert_array_equal(got.train_labels, Y)


def test_colours_and_class_names(tmp_path, caplog):
    caplog.set_level("INFO")
    colour = RNG.integers(0, 256, (20, 5, 4, 3), np.uint8)
    arrays = {"x_train": colour, "y_train": Y, "x_test": colour[:4], "y_test": Y[:4]}
    names = ["a", "b c", "\u00e9", "d", "unseen"]
    got = load(tmp_path, **arrays, class_names=names)
    assert got.class_names == tuple(names)
    np.testing.assert_array_equal(got.train_images, colour)
    assert "has no training images of unseen." in caplog.text
    names += [str(i) for i in range(6)]
    load(tmp_path, **arrays, class_names=names)
    assert "has no training images of unseen, 0, 1 and 4 more." in caplog.text


# The arrays that are refused, the words of the message, and the remedy that it names.
REFUSED = {
    "flat": (
        {"train_images": X.reshape(20, -1)},
        "has shape (20, 20), but images have shape",
        {"train_images": X.reshape(20, -1).reshape(-1, 5, 4)},
    ),
    "channels first": (
        {"train_images": np.zeros((20, 1, 5, 40), np.uint8)},
        "give train_images.transpose(0, 2, 3, 1)",
        {
            "train_images": np.zeros((20, 1, 5, 40), np.uint8).transpose(0, 2, 3, 1),
            "test_images": np.zeros((6, 5, 40), np.uint8),
        },
    ),
    "integers": (
        {"train_images": X.astype(int)},
        "is int64, but images are uint8, 0 to 255, or floats in [0, 1]; give"
        " train_images.astype(np.uint8).",
        {"train_images": X.astype(int).astype(np.uint8)},
    ),
    "16 bits": (
        {"train_images": 257 * X.astype(np.uint16)},
        "; give np.round(train_images / 257).astype(np.uint8), if they are of 16 bits",
        {"train_images": np.round(257 * X.astype(np.uint16) / 257).astype(np.uint8)},
    ),
    "signed": (
        {"train_images": X.astype(np.int16) - 1},
        "; give (train_images - low) / (high - low), with the lowest and highest value",
        {"train_images": (X.astype(np.int16) - 1 + 1.0) / 255},
    ),
    "booleans": (
        {"train_images": X > 99},
        "; give 255 * train_images.astype(np.uint8).",
        {"train_images": 255 * (X > 99).astype(np.uint8)},
    ),
    "floats to 255": (
        {"train_images": X.astype(np.float32)},
        "but floats must be in [0, 1]; give train_images.astype(np.uint8), whose 0 to",
        {"train_images": X.astype(np.float32).astype(np.uint8)},
    ),
    "floats around 0": (
        {"train_images": X / 127.5 - 1},
        "but floats must be in [0, 1]; give (train_images - low) / (high - low), with",
        {"train_images": (X - float(X.min())) / np.ptp(X)},
    ),
    "nan": (
        {"train_images": np.where(X > 200, np.nan, X / 255)},
        "holds NaN or an infinity, which are no pixels; give np.nan_to_num(",
        {"train_images": np.nan_to_num(np.where(X > 200, np.nan, X / 255))},
    ),
    "one-hot": (
        {"train_labels": np.eye(4)[Y]},
        "but labels have shape (n,) or (n, 1); give train_labels.argmax(axis=1)",
        {"train_labels": np.eye(4)[Y].argmax(axis=1)},
    ),
    "texts": (
        {"train_labels": np.array(["cat", "dog"])[Y % 2]},
        "but labels are integers from 0; give np.unique(train_labels, return_inverse",
        {
            "train_labels": np.unique(Y % 2, return_inverse=True)[1],
            "class_names": np.array(["cat", "dog", "2", "3"]),
        },
    ),
    "identifiers": (
        {"train_labels": 2**40 + Y},
        "classes are numbered from 0, here to 25 at most; give np.unique(train_labels,",
        {"train_labels": np.unique(2**40 + Y, return_inverse=True)[1]},
    ),
    "negative": ({"train_labels": Y - 1}, "labels from -1 to 2", {"train_labels": Y}),
    "lengths": (
        {"train_labels": Y[1:]},
        "holds 20 images, but train_labels 19 labels; give one label per image",
        {},
    ),
    "shapes": (
        {"test_images": X[:6, :3]},
        "training images are (5, 4, 1), but test images (3, 4, 1); make their shapes",
        {"test_images": X[:6]},
    ),
    "few names": (
        {"class_names": np.array(["a", "b"])},
        "labels go up to 3, and there are 2 classes; give two classes or more, and a",
        {"class_names": np.array(list("abcd"))},
    ),
    "one class": (
        {"train_labels": Y * 0, "test_labels": Y[:6] * 0},
        "labels go up to 0, and there are 1 classes",
        {},
    ),
    "one number": (
        {"train_images": np.array(5)},
        "has shape (), but images have shape",
        {},
    ),
    "one label": (
        {"train_labels": np.array(5)},
        "argmax(axis=1) if they are one-hot, or one label per image",
        {},
    ),
    "empty": ({"train_images": X[:0]}, "holds no image; give some, or leave a", {}),
}


def test_a_test_split_may_be_smaller_than_the_number_of_classes(tmp_path):
    labels = np.arange(20) % 10
    last = {"test_images": X[:2], "test_labels": np.array([9, 8])}
    got = load(tmp_path, train_images=X, train_labels=labels, **last)
    assert got.num_classes == 10
    assert got.test_labels.tolist() == [9, 8]


@pytest.mark.parametrize("kind", REFUSED)
def test_arrays_that_are_none_are_refused_and_the_remedies_work(tmp_path, kind):
    wrong, words, remedy = REFUSED[kind]
    with pytest.raises(data.DataError) as error:
        load(tmp_path, **named() | wrong)
    assert words in str(error.value)
    assert "\n" not in str(error.value)
    load(tmp_path, **named() | remedy)


def test_names_of_classes_may_be_bytes(tmp_path):
    names = np.array([b"cat", "h\u00e9".encode(), b"\xff", b"d"])
    got = load(tmp_path, **named(), class_names=names)
    assert got.class_names == ("cat", "h\u00e9", "\ufffd", "d")


def test_names_that_are_none_and_files_that_are_none(tmp_path):
    with pytest.raises(data.DataError, match=r"holds a; name its arrays train_images"):
        load(tmp_path, a=X)
    load(tmp_path, images=X, labels=Y)  # the remedy
    (tmp_path / "set.npz").write_bytes(b"no zip")
    with pytest.raises(data.DataError, match=r"set\.npz is no usable \.npz file"):
        data.load(str(tmp_path / "set.npz"))
    with pytest.raises(data.DataError, match=r"is no file; give its path"):
        data.load(str(tmp_path / "none.npz"))
    with pytest.raises(data.DataError, match=r"is no file; give its path"):
        data.load(300 * "a" + ".npz")
    load(tmp_path, images=X, labels=Y)
    data.load(str(tmp_path / "set.npz"))  # the remedy
    with pytest.raises(data.DataError, match=r"set --config\.data\.image_size=0"):
        data.load(str(tmp_path / "set.npz"), image_size=28)


@pytest.mark.parametrize("key", ["images", "labels", "class_names"])
def test_arrays_of_python_objects_are_named_and_the_remedy_works(tmp_path, key):
    arrays = {"images": X, "labels": Y, "class_names": np.array(["a", "b", "c", "d"])}
    objects = np.empty(len(arrays[key]), object)
    objects[:] = [*arrays[key]]
    with pytest.raises(data.DataError, match=rf"{key} holds Python objects.*; give"):
        load(tmp_path, **arrays | {key: objects})
    listed = [x.tolist() for x in objects] if key != "class_names" else objects.tolist()
    assert load(
        tmp_path, **arrays | {key: np.asarray(listed).astype(arrays[key].dtype)}
    )


def test_one_label_that_is_no_list_is_refused(tmp_path):
    with pytest.raises(data.DataError, match=r"labels has shape \(\), but labels have"):
        load(tmp_path, images=X[:1], labels=np.array(0))
