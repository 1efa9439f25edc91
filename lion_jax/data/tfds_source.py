"""Image classification sets from TensorFlow Datasets, without TensorFlow.

Sets of the MNIST family are prepared without it too (`lion_jax.data.idx`); others must
be prepared where TensorFlow is installed.
"""

import contextlib
import difflib
import io
import logging
import os
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import absl.logging
import numpy as np

from lion_jax.data import debian, idx, pictures
from lion_jax.data.class_folders import TEST_NAMES
from lion_jax.data.dataset import DataError, Dataset
from lion_jax.data.hold_out import hold_out
from lion_jax.data.idx import FILE_FORMAT, IDX_SETS

PROBE_SECONDS = 10.0
BATCH = 1000  # examples read at once: three times as fast as one by one

_log = logging.getLogger(__name__)


def load(name: str, data_dir: str = "", image_size: int = 0) -> Dataset:
    """Loads a set from its prepared folder, or else prepares that folder first.

    Args:
      name: Name of the set in TFDS.
      data_dir: TFDS's folder; empty for TFDS's own default.
      image_size: Height and width to which images are cut and resized; 0: as they are.

    Raises:
      DataError: If the set is unavailable, or is none of uint8 images with a class
        label and a train split, or of several sizes without `image_size`.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    builder = _make_builder(name, data_dir)
    source = f"the prepared TFDS folder {builder.data_path}"
    if not builder.is_prepared():
        source = _prepare(builder, name)
    return _read(builder, name, source, image_size)


def prepared_folder(name: str, data_dir: str = "") -> tuple[Path, bool]:
    """Returns the set's TFDS folder and whether it is prepared."""
    builder = _make_builder(name, data_dir)
    return Path(builder.data_path), builder.is_prepared()


def _make_builder(name: str, data_dir: str):
    import tensorflow_datasets as tfds

    root = os.path.expanduser(data_dir) if data_dir else None
    absl.logging.set_verbosity(absl.logging.ERROR)
    try:
        # TFDS prints a banner when TensorFlow is absent; our errors say what matters.
        with contextlib.redirect_stdout(io.StringIO()):
            if name not in IDX_SETS:
                return tfds.builder(name, data_dir=root)
            return idx.make_builder(name, root)
    except tfds.core.DatasetNotFoundError:
        names = tfds.list_builders(with_community_datasets=False)
        close = difflib.get_close_matches(name, names) or ["fashion_mnist"]
        raise DataError(
            f"data.name={name!r}: TensorFlow Datasets has no such set; it has"
            f" {', '.join(close)} and {len(names) - len(close)} others."
        ) from None
    except ImportError as error:
        raise DataError(
            f"data.name={name!r}: TensorFlow Datasets lacks a module for it"
            f" ({_first_line(error)}); give another set, such as fashion_mnist."
        ) from error
    except Exception as error:  # TFDS raises what its many parts raise
        raise DataError(
            f"data.name={name!r} is no name of a data set in TensorFlow Datasets"
            f" ({_first_line(error)}); give one such as fashion_mnist."
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _prepare(builder, name: str) -> str:
    """Downloads and prepares the set, or says in one line what to do instead."""
    urls = list(builder.url_infos or ())
    manual = _has_manual_files(builder)
    if manual or not urls or _is_reachable(urls[0]):
        _log.info("Preparing %s in %s.", name, builder.data_path)
        try:
            _download_and_prepare(builder)
        except DataError as error:
            reason = str(error)
            _log.warning("No download: %s", reason)
        else:
            source = "files put by hand" if manual else "the TFDS download"
            return f"{source}, prepared in {builder.data_path}"
    else:
        reason = f"{urllib.parse.urlsplit(urls[0]).hostname} cannot be reached"
    if name == "fashion_mnist" and debian.is_installed():
        _log.info("Preparing it from Debian's copy in %s.", debian.FOLDER)
        with tempfile.TemporaryDirectory() as folder:
            debian.restore_originals(Path(folder))
            _download_and_prepare(builder, manual_dir=folder)
        return f"Debian's copy in {debian.FOLDER}, prepared in {builder.data_path}"
    raise DataError(_remedies(name, str(builder.data_path), reason))


def _remedies(name: str, data_path: str, reason: str) -> str:
    needs = "" if name in IDX_SETS else " (with tensorflow installed)"
    message = (
        f"data.name={name!r}: not prepared in {data_path}, and {reason}. Remedies:"
        f" (1) go online once and run `python -m lion_jax.data prepare --name {name}`"
        f"{needs}; (2) copy a TFDS folder prepared in the {FILE_FORMAT} format here and"
        " give its parent as --config.data.data_dir"
    )
    if name == "fashion_mnist":
        message += (
            ", or on Debian install the package dataset-fashion-mnist; (3) train on"
            " the embedded sample: --config.data.name=fashion_mnist_sample"
        )
    return message + "."


def _is_reachable(url: str) -> bool:
    """Asks once: TFDS itself would try for minutes before it gave up."""
    import requests

    try:
        answer = requests.head(url, timeout=PROBE_SECONDS, allow_redirects=True)
        return answer.status_code < 400
    except requests.RequestException as error:
        _log.info("No download: %s", type(error).__name__)
        return False


def _has_manual_files(builder) -> bool:
    folder = Path(builder.data_dir_root) / "downloads" / "manual"
    names = [info.filename for info in (builder.url_infos or {}).values()]
    # Some are put by hand alone: TFDS knows no address, and no name, of theirs.
    return bool(names) and all(name and (folder / name).exists() for name in names)


def _download_and_prepare(builder, manual_dir: str | None = None) -> None:
    import tensorflow_datasets as tfds

    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    options = {} if builder.name in IDX_SETS else {"file_format": FILE_FORMAT}
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(download_config=config, **options)
    except ImportError as error:
        raise DataError(f"TFDS cannot prepare it without {error.name}") from error
    except Exception as error:  # TFDS raises what its many parts raise
        reason = f"TFDS could not prepare it ({_first_line(error)})"
        raise DataError(reason) from error


def _in_batches(source) -> Iterator[dict[str, Any]]:
    """Reads a TFDS data source in order."""
    for start in range(0, len(source), BATCH):
        yield from source.__getitems__(range(start, min(start + BATCH, len(source))))


def _read(builder, name: str, source: str, image_size: int = 0) -> Dataset:
    """Decodes the train and the test split into arrays."""
    splits = _splits(name, set(builder.info.splits))
    try:
        sources = {
            part: builder.as_data_source(split=split) for part, split in splits.items()
        }
    except NotImplementedError as error:
        raise DataError(
            f"data.name={name!r}: {builder.data_path} is prepared in a format that"
            f" needs TensorFlow; prepare it in the {FILE_FORMAT} format elsewhere and"
            " give --config.data.data_dir."
        ) from error
    image_key, label_key = builder.info.supervised_keys or ("image", "label")
    features = builder.info.features
    if not hasattr(features[label_key], "names"):
        raise DataError(
            f"data.name={name!r}: {label_key!r} is no class label; choose a set for"
            " image classification."
        )
    keys = image_key, label_key
    arrays = {
        part: _decode(name, _in_batches(examples), keys, image_size)
        for part, examples in sources.items()
    }
    if "test" not in arrays:
        images, labels = arrays["train"]
        train, test = hold_out(labels, f"data.name={name!r}")
        rows = {"train": train, "test": test}
        arrays = {part: (images[i], labels[i]) for part, i in rows.items()}
    names = tuple(features[label_key].names)
    version = str(builder.version)
    return Dataset(name, version, source, names, *arrays["train"], *arrays["test"])


def _splits(name: str, there: set[str]) -> dict[str, str]:
    """Returns the names of the set's training and, if it has one, its test split."""
    if "train" not in there:
        raise DataError(
            f"data.name={name!r}: its splits are {sorted(there)}, but a split named"
            " train is needed; choose another set."
        )
    found = [split for split in TEST_NAMES if split in there]
    if found and found[0] != "test":
        _log.info("%s has no test split: %s serves as one.", name, found[0])
    return {"train": "train"} | ({"test": found[0]} if found else {})


def _decode(
    name: str, examples: Iterator[Any], keys: tuple[str, str], image_size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns a split's images and labels."""
    images, labels, shapes = [], [], set()
    for example in examples:
        image, label = (example[key] for key in keys)
        if image.dtype != np.uint8:
            raise DataError(
                f"data.name={name!r}: its images are {image.dtype}, but must be uint8;"
                " choose another set."
            )
        shapes.add(image.shape)
        images.append(pictures.fit(image, image_size) if image_size else image)
        labels.append(label)
    if len(shapes) > 1 and not image_size:
        small, *_, large = sorted(shapes, key=lambda shape: (np.prod(shape), shape))
        raise DataError(
            f"data.name={name!r}: its images have {len(shapes)} shapes, from"
            f" {'x'.join(map(str, small))} to {'x'.join(map(str, large))}; set"
            " --config.data.image_size=224, for instance, to cut and resize them."
        )
    return np.stack(images), np.asarray(labels, np.int32)
