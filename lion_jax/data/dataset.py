"""What a data set is, here: uint8 images and int32 labels, in two splits."""

import collections
import dataclasses
import functools
import hashlib
from pathlib import Path

import numpy as np
from jaxtyping import Int32, UInt8

from lion_jax.data.rows import blocks


class DataError(Exception):
    """A data set that is unavailable or invalid; the message names the remedy."""


class ForbiddenError(DataError):
    """A set in a cache that this user may not read, and so must not replace."""

    @classmethod
    def of(cls, path: Path) -> "ForbiddenError":
        """Names the set's place."""
        return cls(
            f"{path} is another user's, who keeps it to themselves; give a folder of"
            " your own as --config.data.cache_dir."
        )


@dataclasses.dataclass(frozen=True)
class Dataset:
    """An image classification set; the images may be mapped from files."""

    name: str
    version: str
    source: str  # where it came from, in words
    class_names: tuple[str, ...]
    train_images: UInt8[np.ndarray, "n h w c"]
    train_labels: Int32[np.ndarray, " n"]
    test_images: UInt8[np.ndarray, "m h w c"]
    test_labels: Int32[np.ndarray, " m"]

    def __post_init__(self) -> None:
        """Checks that two classes or more differ in name, and labels are of them."""
        often = collections.Counter(self.class_names)
        if twice := [name for name, count in often.items() if count > 1]:
            raise DataError(
                f"{self.name}: two classes are called {twice[0]!r}; name each in a way"
                " of its own."
            )
        for part in ("train", "test"):
            labels = self.arrays[f"{part}_labels"]
            bad = np.flatnonzero((labels < 0) | (labels >= self.num_classes))
            if len(bad):
                raise DataError(
                    f"{self.name}: {part} label {bad[0]} is {labels[bad[0]]}, but"
                    f" labels must be >= 0 and < {self.num_classes}, the number of"
                    " classes; prepare the set anew."
                )
        if self.num_classes < 2:
            raise DataError(
                f"{self.name} has {self.num_classes} class, but there is nothing to"
                " learn from one; give images of two classes or more."
            )

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The four arrays by name."""
        names = ("train_images", "train_labels", "test_images", "test_labels")
        return {name: getattr(self, name) for name in names}

    def versioned_by_content(self) -> "Dataset":
        """Returns the set with the first digits of its checksum as its version."""
        versioned = dataclasses.replace(self, version=self.sha256()[:12])
        vars(versioned)["_sha256"] = self.sha256()  # of the same arrays
        return versioned

    def sha256(self) -> str:
        """Returns the checksum of the four arrays: their dtypes, shapes and bytes."""
        return self._sha256

    @functools.cached_property
    def _sha256(self) -> str:
        digest = hashlib.sha256()
        for name, array in self.arrays.items():
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            for block in blocks(array):
                digest.update(np.ascontiguousarray(block).data)
        return digest.hexdigest()
