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
from pathlib import Path

import absl.logging

from lion_jax.data import debian, idx, tfds_reading
from lion_jax.data.dataset import DataError, Dataset
from lion_jax.data.idx import FILE_FORMAT, IDX_SETS
from lion_jax.files import expanded

PROBE_SECONDS = 10.0

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
    return tfds_reading.read(builder, name, source, image_size)


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
        _refuse_path(name)
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
        _refuse_path(name)
        raise DataError(
            f"data.name={name!r} is no name of a data set in TensorFlow Datasets"
            f" ({_first_line(error)}); give one such as fashion_mnist."
        ) from error


def _refuse_path(name: str) -> None:
    """Says what to set where the name is that of the user's own images."""
    if os.path.isdir(expanded(name)):
        raise DataError(
            f"data.name={name!r} is a folder; set --config.data.name=folder and"
            f" --config.data.data_dir={name}."
        )
    if os.path.isfile(expanded(name)):
        raise DataError(
            f"data.name={name!r} is a file; give arrays of images and labels, saved by"
            " numpy.savez as FILE.npz."
        )


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
