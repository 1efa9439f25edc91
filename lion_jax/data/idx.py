"""TFDS's builders of the MNIST family, without TensorFlow.

TFDS itself needs TensorFlow to unzip, to read the idx files of these sets and to encode
PNGs. The builders made here do these three with the standard library, NumPy and
Pillow; names, addresses, checksums and the prepared format stay those of TFDS.
"""

import gzip
import os
import urllib.parse
from collections.abc import Iterator
from typing import Any

import numpy as np

from lion_jax.data import debian

IDX_SETS = ("fashion_mnist", "mnist", "kmnist")
FILE_FORMAT = "array_record"  # the format TFDS reads at random without TensorFlow


def make_builder(name: str, root: str | None):
    """Makes the builder of a set in `IDX_SETS`; `root` None for TFDS's own folder."""
    from tensorflow_datasets.core import constants

    make = _tensorflow_free(name)
    root = root or constants.DATA_DIR
    try:
        return make(data_dir=root, file_format=FILE_FORMAT)
    except ValueError:
        # The folder was prepared in another format, which needs TensorFlow to read.
        return make(data_dir=os.path.join(root, "lion_jax"), file_format=FILE_FORMAT)


def _tensorflow_free(name: str):
    """Makes the builder of an idx set that needs no TensorFlow."""
    from PIL import Image
    from tensorflow_datasets.core import registered

    base: Any = registered.imported_builder_cls(name)

    def split_generators(builder, dl_manager):
        paths = dl_manager.download(
            {
                f"{split}_{part}": urllib.parse.urljoin(builder.URL, file)
                for (split, part), file in debian.FILES.items()
            }
        )
        return {
            split: examples(paths[f"{split}_images"], paths[f"{split}_labels"])
            for split in ("train", "test")
        }

    def examples(images_path, labels_path) -> Iterator:
        images, labels = read_idx(images_path), read_idx(labels_path)
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield index, {"image": Image.fromarray(image), "label": int(label)}

    overrides = {
        "_split_generators": split_generators,
        # TFDS finds the set's folder and checksums by name and package.
        "name": base.name,
        "pkg_dir_path": base._get_pkg_dir_path(),
        "url_infos": base.url_infos,
    }
    with registered.skip_registration():
        return type(base.__name__, (base,), overrides)


def read_idx(path: os.PathLike | str) -> np.ndarray:
    """Reads a gzipped idx file of bytes: MNIST's format, four-byte sizes first."""
    with gzip.open(path) as file:
        content = file.read()
    rank = content[3]
    shape = np.frombuffer(content, ">u4", count=rank, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
