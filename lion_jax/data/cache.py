"""A verified copy of a data set's arrays, so that a second start needs no TFDS.

One file a set, `<name>.npz`: the four arrays and a JSON header with name, version,
class names, the arrays' sha256, and what the set was prepared as.
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

from lion_jax.data.dataset import DataError, Dataset, ForbiddenError
from lion_jax.files import expanded, make_private, replacing, share

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
        place = os.fsencode(expanded(data_dir).resolve())
        stem += f"-{hashlib.sha256(place).hexdigest()[:12]}"
    if image_size:
        stem += f"-{image_size}px"
    return folder / f"{stem}.npz"


def read(path: Path) -> Dataset:
    """Reads and verifies a cached set.

    Raises:
      ForbiddenError: If this user may not read it.
      DataError: If the file is damaged or of another format, or the prepared folder
        that it was made from has changed.
    """
    try:
        # NumPy leaves a file open that it opened itself and cannot read.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            header = json.loads(str(file["header"]))
            arrays = {key: file[key] for key in file.files if key != "header"}
        if header.pop("format") != FORMAT:
            raise ValueError("it is of another format")
        expected = header.pop("sha256")
        prepared = Prepared(**header.pop("prepared", {}))
        dataset = Dataset(
            **{**header, "class_names": tuple(header["class_names"])}, **arrays
        )
        if dataset.sha256() != expected:
            raise ValueError("its sha256 differs from its header's")
        if prepared.has_changed():
            raise ValueError(f"{prepared.folder} was prepared anew since then")
    except PermissionError as error:
        raise ForbiddenError.of(path) from error
    except (*UNREADABLE, DataError) as error:
        raise DataError(f"{path} is no usable data set ({error}).") from error
    return dataset


def write(dataset: Dataset, path: Path, folder: Path | None = None) -> None:
    """Writes the set; the file appears whole or not at all.

    Args:
      dataset: The set.
      path: From `path_of`.
      folder: With the set's versions as TFDS prepared them; None if there is none.
    """
    make_private(path.parent)
    prepared = Prepared.of(folder) if folder else Prepared()
    header = dataclasses.asdict(dataset)
    for name in dataset.arrays:
        del header[name]
    header |= {"format": FORMAT, "sha256": dataset.sha256()}
    header["prepared"] = dataclasses.asdict(prepared)
    arrays: dict[str, Any] = {"header": np.array(json.dumps(header)), **dataset.arrays}
    with replacing(path, shared=True) as temporary, temporary.open("xb") as file:
        share(temporary)
        # Without allow_pickle, which NumPy 2.0 and 2.1 would take for an array.
        np.savez_compressed(file, **arrays)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What TFDS had prepared when a set was cached."""

    folder: str = ""  # with a folder for each version
    sha256: str = ""  # of what TFDS says of each

    @classmethod
    def of(cls, folder: Path) -> "Prepared":
        """Reads what TFDS says of the versions in a folder."""
        digest = hashlib.sha256()
        for file in sorted(folder.glob("*/dataset_info.json")):
            digest.update(file.parent.name.encode() + file.read_bytes())
        return cls(str(folder), digest.hexdigest())

    def has_changed(self) -> bool:
        """Whether it is there and says something else; a copy of the cache has none."""
        folder = Path(self.folder)
        is_there = self.folder and any(folder.glob("*/dataset_info.json"))
        return bool(is_there) and self != Prepared.of(folder)
