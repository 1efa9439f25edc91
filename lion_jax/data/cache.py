"""A verified copy of a data set's arrays, so that a second start needs no TFDS.

One file a set, `<name>.npz`, in a folder of the user's own: the four arrays and a
JSON header with name, version, class names and the arrays' sha256.
"""

import dataclasses
import hashlib
import json
import os
import re
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from lion_jax.data.dataset import DataError, Dataset
from lion_jax.files import expanded, make_private, replacing

FORMAT = 1
# What NumPy, zipfile, zlib and json raise for files that are not what they should be.
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,  # zipfile: encrypted, or compressed in a way it does not know
    zipfile.BadZipFile,
    zlib.error,
)


def path_of(name: str, folder: Path, data_dir: str = "", image_size: int = 0) -> Path:
    """Returns where the set is cached, or would be.

    Apart for each TFDS folder, and for each size to which images are cut and resized.
    """
    stem = re.sub(r"[^\w.-]", "-", name)
    if data_dir:
        place = str(expanded(data_dir).resolve())
        stem += f"-{hashlib.sha256(place.encode()).hexdigest()[:12]}"
    if image_size:
        stem += f"-{image_size}px"
    return folder / f"{stem}.npz"


def read(path: Path) -> Dataset:
    """Reads and verifies a cached set.

    Raises:
      DataError: If the file is damaged or of another format.
    """
    try:
        # NumPy leaves a file open that it opened itself and cannot read.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            arrays = {key: file[key] for key in file.files if key != "header"}
        if header.pop("format") != FORMAT:
            raise ValueError("it is of another format")
        expected = header.pop("sha256")
        dataset = Dataset(
            **{**header, "class_names": tuple(header["class_names"])}, **arrays
        )
        if dataset.sha256() != expected:
            raise ValueError("its sha256 differs from its header's")
    except (*UNREADABLE, DataError) as error:
        raise DataError(f"{path} is no usable data set ({error}).") from error
    return dataset


def write(dataset: Dataset, path: Path) -> None:
    """Writes the set; the file appears whole or not at all."""
    make_private(path.parent)
    header = dataclasses.asdict(dataset)
    for name in dataset.arrays:
        del header[name]
    header |= {"format": FORMAT, "sha256": dataset.sha256()}
    arrays: dict[str, Any] = {"header": np.array(json.dumps(header)), **dataset.arrays}
    with replacing(path, shared=True) as temporary, temporary.open("xb") as file:
        os.chmod(temporary, 0o600)  # as its folder: the user's own
        # Without allow_pickle, which NumPy 2.0 and 2.1 would take for an array.
        np.savez_compressed(file, **arrays)
