"""Folders of images: layouts, orders, files of every kind, the cache."""

import io
import json
import os
import shutil
import stat
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps, PngImagePlugin
from rich.console import Console

from lion_jax import data
from lion_jax.data import (
    ahead,
    class_folders,
    copies,
    folder,
    mapped,
    pictures,
    progress,
)


def picture(seed, size=(6, 4), mode="RGB"):
    """An image of random pixels."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], bands), "u1")
    return Image.fromarray(pixels.squeeze(), mode if bands > 1 else None)


def twelve_bits(value, size=(6, 4)):
    """A TIFF file whose grey values have 12 bits each, two of them in three bytes."""
    width, height = size
    pair = bytes([value >> 4, (value & 15) << 4 | value >> 8, value & 255])
    pixels = pair * (width * height // 2)
    tags = [(256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 0)]
    tags += [(277, 1), (278, height), (279, len(pixels))]
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 1, start if tag == 273 else number)
        for tag, number in tags
    )
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    return head + entries + bytes(4) + pixels


def fill(root, classes=("cat", "dog"), n=5, seed=0, **options):
    """Puts n images into each class's folder."""
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            image = picture(100 * seed + 10 * label + i, **options)
            image.save(root / name / f"{i}.png")
    return root


def load(root, **options):
    cache = str(root.parent / "cache")
    return data.load("folder", str(root), cache, **options)


def arrays_equal(a, b):
    return all((a.arrays[name] == b.arrays[name]).all() for name in a.arrays)


def test_a_folder_with_both_splits_is_read_to_the_bit(tmp_path):
    fill(tmp_path / "d" / "train")
    fill(tmp_path / "d" / "test", n=2, seed=1)
    got = load(tmp_path / "d")
    assert got.class_names == ("cat", "dog")
    assert got.train_labels.tolist() == [0] * 5 + [1] * 5
    assert got.test_labels.tolist() == [0, 0, 1, 1]
    expected = [picture(10 * label + i) for label in (0, 1) for i in range(5)]
    np.testing.assert_array_equal(got.train_images, expected)
    expected = [picture(100 + 10 * label + i) for label in (0, 1) for i in (0, 1)]
    np.testing.assert_array_equal(got.test_images, expected)


def test_without_a_test_split_a_fifth_of_each_class_is_held_out(tmp_path, caplog):
    caplog.set_level("INFO")
    got = load(fill(tmp_path / "d", n=10))
    assert "no test split: 4 of its 20 images, 20 % of each class" in caplog.text
    assert got.test_labels.tolist() == [0, 0, 1, 1]
    pixels = {x.tobytes() for part in (got.train_images, got.test_images) for x in part}
    assert len(pixels) == 20
    shutil.copytree(tmp_path / "d", tmp_path / "e")
    assert arrays_equal(load(tmp_path / "e"), got)


def test_decoded_once_and_again_only_if_the_folder_changed(
    tmp_path, monkeypatch, caplog
):
    caplog.set_level("INFO")
    root = fill(tmp_path / "d")
    first = load(root)
    with monkeypatch.context() as patch:
        patch.setattr(folder, "_decode", None)  # the cache must be enough
        again = load(root)
    assert arrays_equal(first, again)
    assert again.sha256() == first.sha256()
    assert "has changed" not in caplog.text
    for change in (
        lambda: picture(77).save(root / "cat" / "0.png"),
        lambda: (root / "dog" / "4.png").unlink(),
        lambda: (root / "dog" / "3.png").rename(root / "dog" / "33.png"),
    ):
        caplog.clear()
        change()
        load(root)
        assert "read, has changed since it was decoded" in caplog.text
    left = {path.name.partition(".")[2] for path in (tmp_path / "cache").iterdir()}
    assert left == {"", "lock"}


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "header"])
def test_a_damaged_decoded_folder_is_made_again(tmp_path, caplog, damage):
    root = fill(tmp_path / "d")
    first = load(root)
    (cached,) = (path for path in (tmp_path / "cache").iterdir() if path.is_dir())
    file = cached / ("header.json" if damage == "header" else "train_images.npy")
    content = bytearray(file.read_bytes())
    del first
    if damage == "remove":
        file.unlink()
    else:
        content[-1] ^= damage == "flip"
        file.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    assert load(root).train_images.shape == (8, 4, 6, 3)
    assert "is made again" in caplog.text
    caplog.clear()
    load(root)
    assert not caplog.text


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Image.new("1", (6, 4), 1), 255),
        (lambda: Image.new("L", (6, 4), 7), 7),
        (lambda: Image.new("LA", (6, 4), (7, 0)), 7),
        (lambda: Image.fromarray(np.full((4, 6), 7 * 257, np.uint16)), 7),
        (lambda: Image.fromarray(np.full((4, 6), 65535, np.uint16)), 255),
        (lambda: twelve_bits(4095), 255),
        (lambda: twelve_bits(112), 7),
        (lambda: Image.new("RGB", (6, 4), (1, 2, 3)), (1, 2, 3)),
        (lambda: Image.new("RGBA", (6, 4), (1, 2, 3, 0)), (1, 2, 3)),
        (lambda: Image.new("RGB", (6, 4), (1, 2, 3)).quantize(4), (1, 2, 3)),
    ],
    ids=[
        "bit",
        "grey",
        "LA",
        "16 bit",
        "16 bit white",
        "12 bit white",
        "12 bit",
        "RGB",
        "RGBA",
        "palette",
    ],
)
def test_every_kind_of_pixel(tmp_path, make, expected):
    root = fill(tmp_path / "d", classes=("x", "y"), n=3, mode="L")
    for path in root.glob("*/*.png"):
        made = make()
        if isinstance(made, bytes):
            path.with_suffix(".tif").write_bytes(made)
            path.unlink()
        else:
            made.save(path)
    got = load(root)
    channels = 3 if isinstance(expected, tuple) else 1
    assert got.train_images.shape == (4, 4, 6, channels)
    np.testing.assert_array_equal(got.train_images, got.train_images * 0 + expected)


def test_one_coloured_image_makes_a_set_coloured(tmp_path):
    root = fill(tmp_path / "d", mode="L")
    picture(3).save(root / "dog" / "1.png")
    assert load(root).train_images.shape[-1] == 3


def test_the_cameras_rotation_is_undone(tmp_path):
    root = fill(tmp_path / "d", classes=("x", "y"), n=3, size=(4, 6))
    upright = picture(5, size=(4, 6))
    exif = Image.Exif()
    exif[folder.ORIENTATION] = 6
    turned = upright.transpose(Image.Transpose.ROTATE_90)
    turned.save(root / "x" / "0.png", exif=exif)
    got = load(root)  # all are of one size only if it is undone
    images = [*got.train_images, *got.test_images]
    assert np.asarray(upright).tobytes() in {image.tobytes() for image in images}


@pytest.mark.parametrize("where", ["xmp", "raw profile", "late"])
def test_a_png_that_says_elsewhere_how_it_is_turned_is_not_cut(tmp_path, where):
    """Its sides are exchanged, and the set has images of two sizes."""
    root = fill(tmp_path / "d", n=3)
    path, exif, info = root / "cat" / "0.png", Image.Exif(), PngImagePlugin.PngInfo()
    exif[folder.ORIENTATION] = 6
    if where == "xmp":
        about = '<rdf:Description tiff:Orientation="6"/>'
        info.add_itxt("XML:com.adobe.xmp", about)
    elif where == "raw profile":
        text = exif.tobytes().hex()
        info.add_text("Raw profile type exif", f"\nexif\n    {len(text) // 2}\n{text}")
    picture(1).save(path, pnginfo=info)
    if where == "late":  # a chunk behind the pixels, before the last one, of 12 bytes
        chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
        whole = struct.pack(">I", len(chunk) - 4) + chunk
        whole += struct.pack(">I", zlib.crc32(chunk))
        file = path.read_bytes()
        path.write_bytes(file[:-12] + whole + file[-12:])
    assert ImageOps.exif_transpose(Image.open(path)).size == (4, 6)
    refused(root, "pixels once it is turned" if where == "late" else "2 sizes")
    assert load(root, image_size=4).train_images.shape[1:] == (4, 4, 3)


def test_images_of_several_sizes_need_an_image_size(tmp_path):
    root = fill(tmp_path / "d", n=3)
    picture(0, size=(20, 5)).save(root / "cat" / "big.png")
    picture(0, size=(3, 7)).save(root / "cat" / "small.png")
    with pytest.raises(data.DataError) as error:
        load(root)
    assert "3 sizes, from 3 x 7 to 20 x 5 pixels" in str(error.value)
    assert "set --config.data.image_size=224" in str(error.value)
    assert load(root, image_size=224).train_images.shape[1:] == (224, 224, 3)
    assert load(root, image_size=4).train_images.shape[1:] == (4, 4, 3)


def test_a_square_is_cut_around_the_centre_before_it_is_resized(tmp_path):
    root = fill(tmp_path / "d", classes=("x", "y"), n=3, size=(12, 4))
    stripes = np.zeros((4, 12, 3), np.uint8)
    stripes[:, 4:8] = 200  # the square in the middle
    for path in root.glob("*/*.png"):
        Image.fromarray(stripes).save(path)
    # Its outermost pixels are mixed with those beside it.
    assert (load(root, image_size=8).train_images[:, :, 1:-1] == 200).all()


def test_unreadable_files_are_named_all_in_one_error(tmp_path):
    root = fill(tmp_path / "d", n=6)
    (root / "cat" / "0.png").write_bytes(b"no image")
    (root / "cat" / "1.jpg").write_bytes(b"")
    whole = (root / "dog" / "2.png").read_bytes()
    (root / "dog" / "2.png").write_bytes(whole[: len(whole) // 2])
    (root / "dog" / "link.png").symlink_to(root / "nowhere.png")
    with pytest.raises(data.DataError) as error:
        load(root)
    message = str(error.value)
    assert "4 of 14 images cannot be read" in message
    for name in ("cat/0.png", "cat/1.jpg", "dog/2.png", "dog/link.png"):
        assert name in message
        (root / name).unlink()  # the remedy
    assert len(load(root).train_labels) == 8


def test_images_of_floats_are_refused_by_name(tmp_path):
    root = fill(tmp_path / "d")
    Image.fromarray(np.zeros((4, 6), np.float32)).save(root / "cat" / "0.tif")
    refused(root, "1 of 11 images cannot be read: cat/0.tif (its pixels are floats)")


def test_without_a_terminal_lines_tell_the_time_left(tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(progress, "SECONDS", 0)
    root = fill(tmp_path / "d")
    load(root)
    for line in (
        f"reading the sizes in {root}: 10 of 10, about 0 min left",
        f"decoding {root}: 5 of 10, about 0 min left",
    ):
        assert line in caplog.text


def test_a_terminal_shows_a_bar_with_the_time_left(monkeypatch):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80)
    monkeypatch.setattr(progress, "Console", lambda **_: console)
    with progress.progress("decoding", 8) as show:
        show(4)
    assert "decoding" in out.getvalue()
    assert "4/8" in out.getvalue()
    assert "-:--:--" in out.getvalue()  # no speed is known yet


def test_some_images_are_decoded_ahead_and_not_all(monkeypatch):
    monkeypatch.setattr(ahead, "AHEAD", 4)
    decoded = []
    paths = [Path(str(i)) for i in range(20)]
    images = ahead.in_order(lambda path: decoded.append(path) or path, paths)
    assert next(images) == paths[0]
    assert len(decoded) <= 4
    assert [paths[0], *images] == paths


def test_many_unreadable_files_are_counted(tmp_path):
    root = fill(tmp_path / "d", n=15)
    for path in root.glob("*/*.png"):
        path.write_bytes(b"no image")
    with pytest.raises(data.DataError, match=r"30 of 30 images.* and 10 more; remove"):
        load(root)


def test_what_a_system_leaves_is_ignored_and_other_files_are_named(tmp_path, caplog):
    caplog.set_level("INFO")
    root = fill(tmp_path / "d")
    expected = load(root)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png"):
        (root / "cat" / name).write_bytes(b"litter")
    for name in (".ipynb_checkpoints", "__MACOSX", ".git", "lost+found"):
        fill(root, classes=(name,), n=1)
    fill(root / "cat" / "@eaDir", classes=("1.png",), n=1)  # thumbnails
    caplog.clear()
    assert arrays_equal(load(root), expected)
    assert "ignored" not in caplog.text
    (root / "dog" / "labels.csv").write_text("a,b")
    load(root)
    assert "Files that are no images are ignored: dog/labels.csv." in caplog.text


def test_odd_names_and_symlinks(tmp_path):
    names = ("[a]*?", "b c", "\u00e9", "z\udcff")
    root = fill(tmp_path / "d [x]", classes=names, n=3)
    outside = fill(tmp_path / "more", classes=("far",), n=3)
    (root / "linked").symlink_to(outside / "far")
    (root / "b c" / "deep" / "er").mkdir(parents=True)
    picture(9).save(root / "b c" / "deep" / "er" / "0.png")
    (root / "b c" / "deep" / "loop").symlink_to(root / "b c")
    (root / "b c" / "UPPER.PNG").symlink_to(root / "b c" / "0.png")
    got = load(root)
    assert got.class_names == ("[a]*?", "b c", "linked", "z\udcff", "\u00e9")
    counts = np.bincount(np.concatenate([got.train_labels, got.test_labels]))
    assert counts.tolist() == [3, 5, 3, 3, 3]


def test_links_bring_no_other_classes_and_are_followed_in_one_order(tmp_path, caplog):
    caplog.set_level("INFO")
    root, real = fill(tmp_path / "d"), fill(tmp_path / "real", classes=("x",), n=2)
    expected = load(root)
    (root / "cat" / "loop").symlink_to("..")
    (root / "dog" / "self").symlink_to("../dog")
    assert arrays_equal(load(root), expected)
    assert "no images are ignored: cat/loop, dog/self." in caplog.text
    for names in "zb", "bz":  # made in either order
        for name in names:
            (root / "cat" / name).symlink_to(real / "x")
        listed = class_folders.read(root).train.paths[:7]
        assert [path.parent.name for path in listed] == 5 * ["cat"] + 2 * ["b"]
        for name in names:
            (root / "cat" / name).unlink()
    (root / "bird").symlink_to(tmp_path / "gone")
    with pytest.raises(
        data.DataError, match=r"d/bird leads nowhere; mend the link, or"
    ):
        load(root)
    (root / "bird").unlink()  # the remedy
    assert arrays_equal(load(root), expected)


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    root = fill(tmp_path / "d")

    def refuse(path):
        if Path(path).name == "dog":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    real = os.scandir
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(
        data.DataError, match=r"d/dog cannot be read \(Permission .*; g"
    ):
        class_folders.read(root)


@pytest.mark.parametrize("ending", ["tif", "jpg", "png", "webp"])
def test_turned_pictures_keep_their_sides(tmp_path, ending):
    root = fill(tmp_path / "d", size=(6, 4))
    for path in root.rglob("*.png"):
        image = Image.open(path)
        path.unlink()
        exif = Image.Exif()
        exif[folder.ORIENTATION] = 6
        image.save(path.with_suffix(f".{ending}"), exif=exif)
    assert load(root).train_images.shape[1:] == (6, 4, 3)


def test_composed_and_decomposed_accents_are_ordered_alike(tmp_path):
    composed = fill(tmp_path / "a", classes=("\u00e9", "f", "e"))
    decomposed = fill(tmp_path / "b", classes=("e\u0301", "f", "e"))
    listings = [class_folders.read(root) for root in (composed, decomposed)]
    assert listings[0].class_names == listings[1].class_names == ("e", "f", "\u00e9")
    kept = [[path.parent.name for path in x.train.paths] for x in listings]
    assert [name.replace("e\u0301", "\u00e9") for name in kept[1]] == kept[0]


def test_val_serves_as_the_test_split_and_is_said_to(tmp_path, caplog):
    caplog.set_level("INFO")
    fill(tmp_path / "d" / "train")
    fill(tmp_path / "d" / "val", n=2)
    assert len(load(tmp_path / "d").test_labels) == 4
    assert f"{tmp_path / 'd' / 'val'} serves as the test split" in caplog.text
    fill(tmp_path / "d" / "test", n=1)
    assert len(load(tmp_path / "d").test_labels) == 2
    assert f"{tmp_path / 'd' / 'val'}." in caplog.text


def test_capitals_of_a_splits_name_make_no_difference(tmp_path, caplog):
    caplog.set_level("INFO")
    fill(tmp_path / "d" / "Train")
    fill(tmp_path / "d" / "TEST", n=2)
    assert len(load(tmp_path / "d").test_labels) == 4
    fill(tmp_path / "d" / "test", n=1)
    assert len(load(tmp_path / "d").test_labels) == 2
    beside = f"beside {tmp_path / 'd' / 'Train'}: {tmp_path / 'd' / 'TEST'}."
    assert beside in caplog.text


def test_a_class_without_test_images_is_said(tmp_path, caplog):
    caplog.set_level("INFO")
    fill(tmp_path / "d" / "train")
    fill(tmp_path / "d" / "test", classes=("dog",))
    assert load(tmp_path / "d").test_labels.tolist() == [1] * 5
    assert f"{tmp_path / 'd' / 'test'} has no images of cat." in caplog.text


def test_a_class_called_train_is_a_class(tmp_path):
    assert load(fill(tmp_path / "d", classes=("car", "train"))).num_classes == 2


def refused(root, words):
    with pytest.raises(data.DataError) as error:
        load(root)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_layouts_that_are_none_are_refused_and_the_remedies_work(tmp_path):
    root = tmp_path / "d"
    refused(root, "is no folder; give one that holds a folder per class")
    root.mkdir()
    picture(0).save(root / "a.png")
    refused(root, "holds no class folders; make a folder per class")
    fill(root, classes=("cat",))
    refused(root, "one class only, 'cat'; make a folder per class")
    (root / "dog").mkdir()
    refused(root, f"no image is in {root / 'dog'}; put images there, or remove")
    (root / "dog" / "a.heic").write_bytes(b"not opened by Pillow")
    refused(root, f"(but {root / 'dog' / 'a.heic'}, which Pillow does not open); put")
    fill(root, classes=("dog",))
    load(root)


def test_what_lies_beside_the_training_split_is_said_not_to_be_used(tmp_path, caplog):
    """`train` may be a class among others, whose folders look like classes."""
    caplog.set_level("INFO")
    fill(tmp_path / "d", classes=("bus", "car"))
    fill(tmp_path / "d" / "train", classes=("fast", "slow"))
    load(tmp_path / "d")
    both = f"{tmp_path / 'd' / 'bus'}, {tmp_path / 'd' / 'car'}"
    assert f"Not used, beside {tmp_path / 'd' / 'train'}: {both}." in caplog.text


@pytest.mark.parametrize("names", [("Training", "Testing"), ("test", "val")])
def test_splits_of_other_names_are_no_classes(tmp_path, names):
    root = tmp_path / "d"
    for name in names:
        fill(root / name)
    refused(root, "look like splits, not classes; name them train and test")
    for i, name in enumerate(names):  # the remedy, by way of names of neither
        (root / name).rename(root / str(i))
    (root / "0").rename(root / "train")
    (root / "1").rename(root / "test")
    load(root)


def test_a_split_whose_folder_lies_in_one_of_its_name_is_no_class(tmp_path):
    root = tmp_path / "d"
    for name in "seg_train", "seg_test":
        fill(root / name / name)
    fill(root / "seg_pred", classes=("seg_pred",))
    refused(root, "look like splits, not classes; name them train and test, with the")
    for name in "train", "test":
        (root / f"seg_{name}" / f"seg_{name}").rename(root / name)
    assert load(root).class_names == ("cat", "dog")


@pytest.mark.parametrize("names", [("seg_train", "seg_test", "seg_pred"), ("a-val",)])
def test_splits_with_other_words_in_their_names_are_no_classes(tmp_path, names):
    root = tmp_path / "d"
    for name in (*names, "train 2"):
        fill(root / name)
    refused(root, "look like splits, not classes; name them train and test")
    (root / "train 2").rename(root / "train")
    (root / names[0]).rename(root / "0")
    (root / names[-1] if len(names) > 1 else root / "0").rename(root / "test")
    load(root)
    trains = fill(tmp_path / "e", classes=("toy_train", "test_tube"))
    assert load(trains).class_names == ("test_tube", "toy_train")


def test_splits_within_classes_are_refused_and_the_remedy_works(tmp_path):
    root = tmp_path / "d"
    for name in ("cat", "dog"):
        fill(root / name, classes=("Train", "test"))
    refused(root, "cat/Train look like splits within a class; move them, so that a")
    for name in ("cat", "dog"):
        for split in ("Train", "test"):
            to = root / split.lower() / name
            to.parent.mkdir(exist_ok=True)
            (root / name / split).rename(to)
        (root / name).rmdir()
    assert len(load(root).test_labels) == 10


def test_images_in_no_class_folder_are_said_not_to_be_used(tmp_path, caplog):
    caplog.set_level("INFO")
    root = tmp_path / "d"
    fill(root / "train")
    for place in (root, root / "train"):
        picture(0).save(place / "loose.png")
    load(root)
    said = "Images in no class folder are not used: loose.png, train/loose.png."
    assert said in caplog.text


@pytest.mark.parametrize(
    "files",
    [
        ("config.json", "environment.json"),
        ("config.json", ".lock"),
        ("campaigns/a.json", "records/a.json"),
        ("campaigns/a.json", ".lock"),
        ("folder-0123456789ab.tmp/train_images.npy",),
    ],
)
def test_pictures_of_runs_below_the_images_are_no_data(tmp_path, caplog, files):
    """As by `cd images; train --config.data.data_dir=.`, which makes `runs` there."""
    caplog.set_level("INFO")
    root = fill(tmp_path / "d")
    before = load(root)
    own = root / "runs" / "mine" / "seed_0"
    for file in files:
        (own / file).parent.mkdir(parents=True, exist_ok=True)
        (own / file).write_text("{}")
    picture(5, size=(60, 40)).save(own / "curves.png")
    caplog.clear()
    after = load(root)
    assert (after.class_names, after.version) == (before.class_names, before.version)
    assert "What lion_jax wrote there is ignored: runs/mine/seed_0." in caplog.text
    assert "decoded" not in caplog.text


def test_a_cache_below_the_images_is_no_class(tmp_path):
    root = fill(tmp_path / "d")
    picture(0, size=(9, 9)).save(root / "cat" / "large.png")
    with pytest.raises(data.DataError, match="2 sizes"):
        data.load("folder", str(root), str(root / "cache"))
    for size in 4, 4, 5:
        got = data.load("folder", str(root), str(root / "cache"), size)
        assert got.class_names == ("cat", "dog")


def test_test_images_that_are_trained_on_are_counted_at_every_load(tmp_path, caplog):
    root = tmp_path / "d"
    fill(root / "train")
    fill(root / "test", n=2, seed=1)
    shutil.copy(root / "train" / "cat" / "0.png", root / "test" / "cat" / "copy.png")
    for _ in range(2):
        caplog.clear()
        load(root)
        assert "1 of 5 test images are training images too" in caplog.text
    (root / "test" / "cat" / "copy.png").unlink()
    caplog.clear()
    load(root)
    assert not caplog.text


def test_values_of_fewer_bits_than_their_files_are_said(tmp_path, caplog):
    root = fill(tmp_path / "d", n=3)
    for path in root.rglob("*.png"):
        values = np.arange(24, dtype=np.uint16).reshape(4, 6) * 178  # of 12 bits
        Image.fromarray(values).save(path)
    load(root)
    assert "the brightest of all pixels is 16 of 255" in caplog.text


def test_classes_too_small_to_be_held_out_are_counted(tmp_path, caplog):
    root = fill(tmp_path / "d", n=5)
    fill(root, classes=("emu",), n=2, seed=3)
    load(root)
    assert "1 of its 3 classes have fewer than 3 images" in caplog.text


def test_what_an_earlier_version_decoded_is_decoded_again(tmp_path, monkeypatch):
    """It may have read other pixels, and did not look for what is warned of."""
    root = fill(tmp_path / "d")
    load(root)
    monkeypatch.setattr(copies, "DECODER", copies.DECODER + 1)
    decoded = []
    monkeypatch.setattr(folder, "_decode", lambda *_: decoded.append(1))
    with pytest.raises(AssertionError):
        load(root)
    assert decoded


def test_a_tiff_whose_zero_is_white_is_inverted(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.full((4, 6), 60000, np.uint16)).save(path, tiffinfo={262: 0})
    assert np.unique(pictures.read(path, (4, 6, 1))).tolist() == [22]


def test_a_picture_with_too_many_pixels_says_what_to_do(tmp_path, monkeypatch):
    picture(0).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 11)
    with pytest.raises(data.DataError, match="more pixels than 22: make it smaller"):
        pictures.read_all([tmp_path / "a.png"], (4, 6, 3))


def test_whatever_pillow_raises_is_named(tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("Failed to decode image")  # as of an AVIF

    monkeypatch.setattr(pictures, "read", broken)
    with pytest.raises(data.DataError, match=r"a\.avif \(Failed to decode image\)"):
        pictures.read_all([tmp_path / "a.avif"], (4, 6, 3))


def test_two_folders_of_one_name_are_refused(tmp_path):
    root = tmp_path / "d"
    fill(root, classes=("caf\u00e9", "cafe\u0301", "dog"))
    refused(root, "two folders called 'caf\u00e9'")
    for path in (root / "cafe\u0301").iterdir():
        path.rename(root / "caf\u00e9" / f"b{path.name}")
    (root / "cafe\u0301").rmdir()
    load(root)


def test_test_splits_that_are_none_are_refused_and_the_remedies_work(tmp_path):
    root = tmp_path / "d"
    fill(root / "train")
    (root / "test" / "cat").mkdir(parents=True)
    refused(root, f"no image is in {root / 'test'}; put images there, or remove it")
    fill(root / "test", classes=("cat", "cow"), n=1)
    refused(root, "holds cow, which the training split does not; remove the folder")
    shutil.rmtree(root / "test" / "cow")
    load(root)
    fill(root / "train", classes=("cat", "dog"), n=2)
    shutil.rmtree(root / "test")
    for path in root.glob("train/*/[1-4].png"):
        path.unlink()
    refused(root, "no class with 3 images or more")
    fill(root / "train", n=3)
    load(root)


def test_a_folder_is_asked_for(tmp_path):
    with pytest.raises(
        data.DataError, match=r"give it as --config\.data\.data_dir=DIR"
    ):
        data.load("folder", cache_dir=str(tmp_path))


def test_a_disk_without_space_is_reported_beforehand(tmp_path, monkeypatch):
    root = fill(tmp_path / "d")
    usage = shutil.disk_usage(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
        with pytest.raises(data.DataError, match=r"free space there, or give a folder"):
            load(root)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]
    load(root)


def test_what_an_interrupted_decoding_left_is_removed(tmp_path, monkeypatch):
    root = fill(tmp_path / "d")
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)  # as after a SIGKILL
        patch.setattr(mapped, "finish", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            load(root)
    assert list((tmp_path / "cache").glob("*.tmp/train_images.npy"))
    load(root)
    assert not list((tmp_path / "cache").glob("*.tmp"))


def test_a_second_process_waits_for_the_first(tmp_path, caplog):
    caplog.set_level("INFO")
    path = tmp_path / "cache" / "set"
    passed = []

    def second():
        with mapped.locked(path):
            passed.append(True)

    with mapped.locked(path):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        assert not passed
    thread.join()
    assert passed
    assert "waiting for it" in caplog.text


def test_a_cache_that_cannot_be_written_is_reported(tmp_path):
    root = fill(tmp_path / "d")
    Path(tmp_path / "file").touch()
    with pytest.raises(data.DataError, match=r"give a folder on another disk as"):
        data.load("folder", str(root), str(tmp_path / "file" / "cache"))
    data.load("folder", str(root), str(tmp_path / "elsewhere"))


def test_a_copy_with_other_times_shares_what_was_decoded(tmp_path, caplog):
    """As on the disks of two hosts, whose home, and cache, is one."""
    caplog.set_level("INFO")
    root = fill(tmp_path / "d")
    load(root)
    (made,) = (tmp_path / "cache").glob("folder-*/")
    inode = (made / "train_images.npy").stat().st_ino
    for times in (1, 2, 1):
        for path in root.rglob("*.png"):
            os.utime(path, (times, times))
        assert load(root).num_classes == 2
        assert (made / "train_images.npy").stat().st_ino == inode
    assert len(json.loads((made / "header.json").read_text())["copies"]) == 2
    assert "has changed" not in caplog.text
    first, second = sorted((root / "cat").glob("*.png"))[:2]
    swapped = Image.open(first), Image.open(second)
    for image, path in zip(swapped, (second, first), strict=True):
        image.copy().save(path)
    os.utime(first, (3, 3))
    load(root)
    assert "has changed" in caplog.text


@pytest.mark.parametrize(
    ("rights", "of_folder", "of_file"),
    [
        (0o700, 0o700, 0o600),
        (0o755, 0o755, 0o644),
        (0o2775, 0o775, 0o664),  # of a group
        (0o777, 0o775, 0o664),  # nobody else may change it
        (0o1777, 0o755, 0o644),  # as /tmp
    ],
)
def test_a_cache_of_several_users_is_theirs(tmp_path, rights, of_folder, of_file):
    root, cache = fill(tmp_path / "d"), tmp_path / "cache"
    cache.mkdir()
    cache.chmod(rights)
    load(root)
    for path in cache.rglob("*"):
        wanted = of_folder if path.is_dir() else of_file
        assert stat.S_IMODE(path.stat().st_mode) & 0o777 == wanted, path


def test_what_another_user_keeps_is_not_replaced(tmp_path, monkeypatch):
    root = fill(tmp_path / "d")
    load(root)
    (made,) = (tmp_path / "cache").glob("folder-*/")

    def read_text(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", read_text)
        with pytest.raises(data.DataError, match=r"another user's.*; give a folder of"):
            load(root)
    assert made.exists()
    data.load("folder", str(root), str(tmp_path / "own"))  # the remedy
