"""Data sets: the sample, the cache, the sources, the split."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from lion_jax import data, train
from lion_jax.config import Config
from lion_jax.data import __main__ as command_of_data
from lion_jax.data import cache, debian, idx, tfds_reading, tfds_source
from lion_jax.flags import CommandLine
from lion_jax.training.tables import TABLES

SAMPLE_SHA256 = "94c4abc1e7b00619ea407a254d435383695ba79be61896e6895de3b749f63402"
FULL_SHA256 = "4f7946283f0877aa80c038a37e9c23efaa7895b3cddcb7660d588a3108a3f75f"
# What TFDS itself expects of the files that it downloads.
ORIGINAL_SHA256 = {
    "train-images-idx3-ubyte.gz": (
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"
    ),
    "train-labels-idx1-ubyte.gz": (
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"
    ),
}
needs_debian = pytest.mark.skipif(
    not debian.is_installed(),
    reason="Debian's package dataset-fashion-mnist is not installed",
)


def tiny(seed=0, n=20):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, 4, 4, 1), np.uint8)
    labels = (np.arange(n) % 3).astype(np.int32)
    return data.Dataset(
        name="tiny",
        version="1.0.0",
        source="a test",
        class_names=("a", "b", "c"),
        train_images=images,
        train_labels=labels,
        test_images=images[:5],
        test_labels=labels[:5],
    )


@pytest.fixture
def offline(monkeypatch):
    """No address can be reached, whatever the machine."""
    monkeypatch.setattr(tfds_source, "_is_reachable", lambda url: False)


def test_the_embedded_sample_is_real_balanced_and_unchanged():
    sample = data.load(data.SAMPLE)
    assert sample.sha256() == SAMPLE_SHA256
    assert sample.num_classes == 10
    assert np.bincount(sample.train_labels).tolist() == [500] * 10
    assert np.bincount(sample.test_labels).tolist() == [100] * 10
    assert data.SAMPLE_PATH.stat().st_size < 3e6
    assert "MIT" in data.SAMPLE_PATH.with_name("LICENSE.fashion-mnist").read_text()


def test_the_sample_has_its_size_already():
    with pytest.raises(data.DataError, match=r"set --config\.data\.image_size=0"):
        data.load(data.SAMPLE, image_size=28)
    data.load(data.SAMPLE, image_size=0)


@pytest.mark.parametrize("name", [data.SAMPLE, "lion_jax.data:load"])
def test_a_folder_for_data_that_are_elsewhere_is_refused(name, tmp_path):
    with pytest.raises(data.DataError, match=r"set --config\.data\.data_dir= \("):
        data.load(name, str(tmp_path))
    line = CommandLine(
        "train",
        train.Flags,
        [f"--config.data.name={name}", "--config.data.data_dir="],
        file_of=train.Flags.load,
        tables=TABLES,
    )
    assert line.configure(Config()).data.data_dir == ""


@needs_debian
def test_debians_files_become_the_originals(tmp_path):
    debian.restore_originals(tmp_path)
    for name, expected in ORIGINAL_SHA256.items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == expected


def in_the_order_of_tfds(split, n):
    """Where its n examples lie: in that of the hashes of their numbers."""
    return sorted(range(n), key=lambda i: hashlib.md5(f"{split}{i}".encode()).digest())


@pytest.mark.slow
@needs_debian
def test_data_from_debian_then_tfds_then_cache(tmp_path, offline, monkeypatch):
    """Of 2,000 images of each split: all 70,000 would be PNGs and back in a minute."""
    few, read = 2000, idx.read_idx
    monkeypatch.setattr(idx, "read_idx", lambda path: read(path)[:few])
    folders = {"data_dir": str(tmp_path / "tfds"), "cache_dir": str(tmp_path / "cache")}
    first = data.load("fashion_mnist", **folders)
    assert "Debian's copy" in first.source
    whole = {}
    for (split, part), name in debian.FILES.items():
        values = read(debian.FOLDER / name)
        values = values[..., None] if part == "images" else values.astype(np.int32)
        found = getattr(first, f"{split}_{part}")
        assert found.dtype == values.dtype
        order = in_the_order_of_tfds(split, few)
        np.testing.assert_array_equal(found, values[order])
        order = in_the_order_of_tfds(split, len(values))
        whole[f"{split}_{part}"] = values[order]
    assert len(whole["train_images"]) == 60_000
    assert len(whole["test_labels"]) == 10_000
    full = dataclasses.replace(first, **whole)
    assert full.sha256() == FULL_SHA256

    import tensorflow_datasets as tfds

    plain = tfds.data_source("fashion_mnist", data_dir=folders["data_dir"])
    assert len(plain["train"]) == few

    sample = data.load(data.SAMPLE)
    chosen = np.sort(
        np.concatenate([np.flatnonzero(full.test_labels == k)[:100] for k in range(10)])
    )
    np.testing.assert_array_equal(full.test_images[chosen], sample.test_images)

    with monkeypatch.context() as patch:
        patch.setattr(tfds_source, "load", None)  # the cache must be enough
        assert data.load("fashion_mnist", **folders).sha256() == first.sha256()


def test_a_second_start_needs_no_tfds(tmp_path, command):
    cache.write(tiny(), cache.path_of("tiny", tmp_path))
    code = (
        "import sys; from lion_jax import data;"
        f" print(data.load('tiny', cache_dir={str(tmp_path)!r}).sha256());"
        " print([m for m in ('tensorflow_datasets', 'tensorflow') if m in sys.modules])"
    )
    script = command.folder / "second_start.py"
    script.write_text(code)
    ran = command.run("second_start")
    assert ran.stdout.split("\n")[:2] == [tiny().sha256(), "[]"], ran.stderr


def test_cache_keeps_everything(tmp_path):
    path = cache.path_of("tiny", tmp_path / "new" / "folder")
    cache.write(tiny(), path)
    read = cache.read(path)
    assert read.sha256() == tiny().sha256()
    assert (read.name, read.version, read.class_names) == (
        "tiny",
        "1.0.0",
        ("a", "b", "c"),
    )
    for folder in (path.parent, path.parent.parent):  # both of them are new
        assert folder.stat().st_mode & 0o777 == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["tiny.npz"]


@pytest.mark.parametrize("damage", ["flip", "truncate", "header", "empty", "pickle"])
def test_a_damaged_cache_is_never_used(tmp_path, damage):
    path = cache.path_of("tiny", tmp_path)
    cache.write(tiny(), path)
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 3] ^= 1
    elif damage == "truncate":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = bytearray()
    path.write_bytes(content)
    if damage in ("header", "pickle"):
        wrong = dataclasses.replace(
            tiny(), train_labels=tiny().train_labels[::-1].copy()
        )
        with np.load(tmp_path / "tiny.npz") as file:
            header = file["header"]
        if damage == "pickle":
            header = np.array([json], dtype=object).astype(str).astype(object)
        np.savez(path, header=header, **wrong.arrays)
    with pytest.raises(data.DataError, match=r"tiny\.npz is no usable data set"):
        cache.read(path)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 1, 3], r"train label 2 is 3, but labels must be >= 0 and < 3"),
        ([0, -1, 2], r"train label 1 is -1"),
    ],
)
def test_labels_that_are_none_are_refused(labels, said):
    images = tiny().train_images[:3]
    with pytest.raises(data.DataError, match=said):
        dataclasses.replace(
            tiny(), train_images=images, train_labels=np.array(labels, np.int32)
        )


def test_a_damaged_cache_is_made_again(tmp_path, monkeypatch, caplog):
    path = cache.path_of("tiny", tmp_path)
    path.write_bytes(b"nonsense")
    place = tmp_path / "tiny" / "1.0.0"
    monkeypatch.setattr(tfds_source, "load", lambda *_: tiny())
    monkeypatch.setattr(tfds_source, "prepared_folder", lambda *_: (place, True))
    assert data.load("tiny", cache_dir=str(tmp_path)).sha256() == tiny().sha256()
    assert "made again" in caplog.text
    assert cache.read(path).sha256() == tiny().sha256()


def test_the_sample_is_never_taken_in_silence(tmp_path, offline, monkeypatch):
    monkeypatch.setattr(debian, "FOLDER", tmp_path / "absent")
    with pytest.raises(data.DataError) as error:
        data.load("fashion_mnist", str(tmp_path / "tfds"), str(tmp_path / "cache"))
    message = str(error.value)
    assert "\n" not in message
    for remedy in (
        "python -m lion_jax.data prepare --name fashion_mnist",
        "--config.data.data_dir",
        "dataset-fashion-mnist",
        "--config.data.name=fashion_mnist_sample",
    ):
        assert remedy in message
    assert not (tmp_path / "cache").exists()


def test_an_unknown_name_and_a_close_one(tmp_path):
    with pytest.raises(data.DataError, match=r"'kmnits'.*no such set; it has.*kmnist"):
        data.load("kmnits", str(tmp_path), str(tmp_path))


def make_tfds_set(
    name, folder, size=6, splits=("train", "test"), version="1.0.0", unlabelled=""
):
    """Prepares a set of random color images in a TFDS folder, without TensorFlow."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import registered

    def info(builder):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=["cat", "dog"]),
            }
        )
        return tfds.core.DatasetInfo(
            builder=builder, features=features, supervised_keys=("image", "label")
        )

    def examples(n, seed, sign=1):
        pixels = np.random.default_rng(seed).integers(0, 256, (n, 9, 9, 3), np.uint8)
        for i, image in enumerate(pixels):
            cut = image[: size + (i % 2 if size == 7 else 0)]
            yield i, {"image": Image.fromarray(cut), "label": i % 2 if sign > 0 else -1}

    def split_generators(builder, dl_manager):
        return {
            split: examples(12 // (i + 1), i, -1 if split == unlabelled else 1)
            for i, split in enumerate(splits)
        }

    body = {
        "VERSION": tfds.core.Version(version),
        "_info": info,
        "_split_generators": split_generators,
        "_generate_examples": None,
        "name": name,
        "__module__": __name__,
        "pkg_dir_path": folder,
    }
    with registered.skip_registration():
        made = type("Toy", (tfds.core.GeneratorBasedBuilder,), body)
    made(data_dir=folder, file_format="array_record").download_and_prepare()


def test_any_prepared_image_classification_set_works_by_name(tmp_path):
    make_tfds_set("toy", tmp_path / "tfds")
    got = data.load("toy", str(tmp_path / "tfds"), str(tmp_path / "cache"))
    assert got.train_images.shape == (12, 6, 9, 3)
    assert got.class_names == ("cat", "dog")
    assert sorted(got.train_labels) == [0] * 6 + [1] * 6
    original = np.random.default_rng(0).integers(0, 256, (12, 9, 9, 3), np.uint8)[:, :6]
    assert {i.tobytes() for i in got.train_images} == {i.tobytes() for i in original}


def test_a_set_that_was_prepared_anew_is_read_anew(tmp_path, monkeypatch):
    """The cache knows of which prepared versions it was made."""
    folders = str(tmp_path / "tfds"), str(tmp_path / "cache")
    make_tfds_set("toy", tmp_path / "tfds")
    assert data.load("toy", *folders).version == "1.0.0"
    make_tfds_set("toy", tmp_path / "tfds", size=5, version="1.0.1")
    assert data.load("toy", *folders).train_images.shape == (12, 5, 9, 3)
    with monkeypatch.context() as patch:
        patch.setattr(tfds_source, "load", None)  # from the cache
        assert data.load("toy", *folders).version == "1.0.1"
        (tmp_path / "tfds" / "toy").rename(tmp_path / "removed")
        assert data.load("toy", *folders).version == "1.0.1"


def test_a_test_split_without_labels_is_passed_over(tmp_path, caplog):
    """As of ImageNet: TFDS gives -1 where labels are secret."""
    caplog.set_level("INFO")
    splits = ("train", "validation", "test")
    make_tfds_set("toy", tmp_path / "tfds", splits=splits, unlabelled="test")
    got = data.load("toy", str(tmp_path / "tfds"), str(tmp_path / "cache"))
    assert len(got.test_labels) == 6
    assert "a test split unlabelled: validation serves as one" in caplog.text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"splits": ("first", "test")}, "a split named train is needed; choose"),
        ({"size": 7}, "2 shapes, from 7x9x3 to 8x9x3; set --config.data.image_size="),
    ],
)
def test_sets_that_do_not_fit_are_refused(tmp_path, options, said):
    make_tfds_set("toy", tmp_path / "tfds", **options)
    with pytest.raises(data.DataError, match=said):
        data.load("toy", str(tmp_path / "tfds"), str(tmp_path / "cache"))


def test_a_tfds_set_of_several_sizes_is_cut_and_resized(tmp_path):
    make_tfds_set("toy", tmp_path / "tfds", size=7)
    folders = str(tmp_path / "tfds"), str(tmp_path / "cache")
    got = data.load("toy", *folders, image_size=224)
    assert got.train_images.shape == (12, 224, 224, 3)
    small = data.load("toy", *folders, image_size=7)  # cached apart
    assert small.train_images.shape == (12, 7, 7, 3)
    original = np.random.default_rng(0).integers(0, 256, (12, 9, 9, 3), np.uint8)
    # Of those 7 pixels high and 9 wide, the square around the centre.
    expected = {image[:7, 1:-1].tobytes() for image in original[::2]}
    assert expected <= {image.tobytes() for image in small.train_images}


@pytest.mark.parametrize(
    ("splits", "sizes", "said"),
    [
        (("train",), (10, 2), "no test split: 2 of its 12 images, 20 % of each class"),
        (("train", "other"), (10, 2), "no test split: 2 of its 12 images"),
        (("train", "validation"), (12, 6), "no test split: validation serves as one"),
    ],
)
def test_a_tfds_set_without_a_test_split(tmp_path, caplog, splits, sizes, said):
    caplog.set_level("INFO")
    make_tfds_set("toy", tmp_path / "tfds", splits=splits)
    got = data.load("toy", str(tmp_path / "tfds"), str(tmp_path / "cache"))
    assert (len(got.train_labels), len(got.test_labels)) == sizes
    assert said in caplog.text
    images = [*got.train_images, *got.test_images]
    assert len({image.tobytes() for image in images}) == sum(sizes)


def test_an_altered_download_is_refused_with_all_remedies(
    tmp_path, offline, monkeypatch
):
    monkeypatch.setattr(debian, "FOLDER", tmp_path / "absent")
    manual = tmp_path / "tfds" / "downloads" / "manual"
    manual.mkdir(parents=True)
    for name in debian.FILES.values():
        (manual / name).write_bytes(b"not what TFDS knows")
    with pytest.raises(data.DataError) as error:
        data.load("fashion_mnist", str(tmp_path / "tfds"), str(tmp_path / "cache"))
    assert "wrong checksum" in str(error.value)
    assert "fashion_mnist_sample" in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "cache").exists()


def test_a_failing_download_goes_on_to_debians_copy(tmp_path, monkeypatch):
    tried = []

    def fail_first(builder, manual_dir=None):
        tried.append(manual_dir)
        if manual_dir is None:
            raise data.DataError("the connection broke")

    def made(builder, name, source, image_size):
        return dataclasses.replace(tiny(), source=source)

    monkeypatch.setattr(tfds_source, "_is_reachable", lambda url: True)
    monkeypatch.setattr(tfds_source, "_download_and_prepare", fail_first)
    monkeypatch.setattr(tfds_reading, "read", made)
    monkeypatch.setattr(debian, "is_installed", lambda: True)
    monkeypatch.setattr(debian, "restore_originals", lambda folder: None)
    source = tfds_source.load("fashion_mnist", str(tmp_path)).source
    assert source.startswith("Debian's copy")
    assert len(tried) == 2


def test_a_folder_in_a_format_that_needs_tensorflow_is_reported(tmp_path, offline):
    make_tfds_set("toy", tmp_path / "tfds")
    folder = tmp_path / "tfds" / "toy" / "1.0.0"
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    for path in folder.glob("*.array_record*"):
        path.rename(folder / path.name.replace("array_record", "tfrecord"))
    with pytest.raises(data.DataError, match="prepared in a format that needs Tensor"):
        data.load("toy", str(tmp_path / "tfds"), str(tmp_path / "cache"))
    make_tfds_set("toy", tmp_path / "elsewhere")  # the remedy
    data.load("toy", str(tmp_path / "elsewhere"), str(tmp_path / "cache"))


def test_an_idx_set_prepared_for_tensorflow_is_prepared_again_beside_it(tmp_path):
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    builder = tfds_source._make_builder("mnist", str(tmp_path / "other"))
    builder.info.write_to_directory(folder)
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    place, prepared = tfds_source.prepared_folder("mnist", str(tmp_path))
    assert not prepared
    assert place == tmp_path / "lion_jax" / "mnist" / "3.0.1"


def test_the_variable_for_tfdss_folder_is_part_of_the_caches_name(monkeypatch):
    request = data.Request("mnist", "", "/cache", 0, "")
    (first, *_), paths = data._places_of_tfds(request), set()
    for folder in ("", "/a", "/b"):
        monkeypatch.setenv("TFDS_DATA_DIR", folder)
        paths.add(data._cached(request))
    assert len(paths) == 3
    assert first.path in paths


def test_every_tfds_folder_has_a_cache_of_its_own(tmp_path):
    make_tfds_set("toy", tmp_path / "a", size=6)
    make_tfds_set("toy", tmp_path / "b", size=5)
    shapes = [
        data.load(
            "toy", str(tmp_path / name), str(tmp_path / "cache")
        ).train_images.shape
        for name in ("a", "b", "a")
    ]
    assert shapes == [(12, 6, 9, 3), (12, 5, 9, 3), (12, 6, 9, 3)]
    again = data.load("toy", str(tmp_path / "a"), str(tmp_path / "cache"))
    assert again.source.startswith("the cache")
    assert "prepared TFDS folder" in again.source


@pytest.mark.parametrize("name", ["", "Fashion MNIST", "../x", "mnist:9.9.9"])
def test_names_that_are_none(tmp_path, name):
    with pytest.raises(data.DataError, match=r"^data\.name="):
        data.load(name, str(tmp_path), str(tmp_path))


def test_no_flipped_bit_of_a_cache_goes_unnoticed(tmp_path):
    path = cache.path_of("tiny", tmp_path)
    smooth = np.zeros((20, 4, 4, 1), np.uint8)  # compresses: zlib's errors come up
    cache.write(dataclasses.replace(tiny(), train_images=smooth), path)
    content, expected = path.read_bytes(), cache.read(path).sha256()
    noticed = 0
    for position in range(0, len(content), 7):
        damaged = bytearray(content)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        try:
            read = cache.read(path)
        except data.DataError:
            noticed += 1
        else:
            assert read.sha256() == expected
    assert noticed > len(content) / 7 / 2


def test_split_is_a_partition_and_a_function_of_its_seed():
    train, validation = data.split(1001, 0.2, seed=42)
    assert len(validation) == 200
    assert sorted([*train, *validation]) == list(range(1001))
    again = data.split(1001, 0.2, seed=42)
    np.testing.assert_array_equal(train, again[0])
    assert (data.split(1001, 0.2, seed=43)[1] != validation).any()


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_pixel_statistics_are_numpys(channels):
    # Of an odd number of pixels, so that one of them has no neighbour.
    images = np.random.default_rng(0).integers(0, 256, (51, 7, 7, channels), np.uint8)
    mean, std = data.pixel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-9)


def test_a_constant_channel_keeps_its_size():
    """An opaque alpha, divided by its deviation, would be a million where it is cut."""
    images = np.random.default_rng(0).integers(0, 256, (9, 8, 8, 4), np.uint8)
    images[..., 3] = 255
    mean, std = data.pixel_statistics(images)
    assert (mean[3], std[3]) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("./photos", r"is a folder; set --config.data.name=folder and --config.data.*"),
        ("set.NPZ", "is a file; give arrays of images and labels"),
    ],
)
def test_a_name_that_is_a_path_leads_to_what_reads_it(
    tmp_path, monkeypatch, name, said
):
    monkeypatch.chdir(tmp_path)
    for i in range(10):
        path = tmp_path / "photos" / f"class {i % 2}" / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(path)
    arrays = {"images": np.zeros((20, 4, 4), np.uint8), "labels": np.arange(20) % 2}
    np.savez(tmp_path / "set.npz", **arrays)
    (tmp_path / "set.npz").rename(tmp_path / "set.NPZ")
    with pytest.raises(data.DataError, match=said):
        data.load(name, "", str(tmp_path / "cache"))
    if name == "./photos":
        data.load("folder", name, str(tmp_path / "cache"))
    else:
        (tmp_path / name).rename(tmp_path / "set.npz")
        data.load("set.npz")


def test_the_data_command_names_its_own_flags(capsys):
    with pytest.raises(data.DataError, match=r"give it as --data_dir=DIR, with images"):
        command_of_data.main(["prepare", "--name=folder"])


def test_where_and_prepare_commands(command):
    where = command.run("lion_jax.data", "where")
    assert where.returncode == 0, where.stderr
    assert "absent  verified cache" in where.stdout
    prepared = command.run("lion_jax.data", "prepare", "--name", data.SAMPLE)
    assert SAMPLE_SHA256 in prepared.stdout


@pytest.mark.parametrize("name", ["imagenet2012", "huggingface:mnist", "coco"])
def test_a_set_that_tfds_cannot_make_here_is_refused_in_one_line(
    tmp_path, monkeypatch, name
):
    monkeypatch.setattr(tfds_source, "_is_reachable", lambda _: False)
    with pytest.raises(data.DataError, match=name) as error:
        data.load(name, str(tmp_path / "tfds"), str(tmp_path / "cache"))
    assert "\n" not in str(error.value)
    assert "fashion_mnist" in str(error.value) or "copy a TFDS folder" in str(
        error.value
    )


@pytest.mark.parametrize("source", data.SOURCES)
def test_every_source_lists_its_places_and_the_last_takes_every_name(source, tmp_path):
    names = [data.SAMPLE, "folder", "mine.npz", "fashion_mnist", "mnist"]
    names.append("./shapes.py:stripes")
    served = [name for name in names if data.source_of(name) is source]
    assert served
    for name in served:
        places = source.places(data.Request(name, str(tmp_path), str(tmp_path)))
        assert len({place.title for place in places}) == len(places) > 0
        assert all(place.path is None or place.path.is_absolute() for place in places)
    assert data.SOURCES[-1].has("any name")
