"""Fashion-MNIST as Debian's package `dataset-fashion-mnist` installs it.

Debian wrote the gzip headers anew and kept the compressed streams. With the original
headers put back the files are the originals byte for byte, so TFDS takes them after
its own checksum test.
"""

import struct
from pathlib import Path

FOLDER = Path("/usr/share/datasets/fashion-mnist")
FILES = {
    ("train", "images"): "train-images-idx3-ubyte.gz",
    ("train", "labels"): "train-labels-idx1-ubyte.gz",
    ("test", "images"): "t10k-images-idx3-ubyte.gz",
    ("test", "labels"): "t10k-labels-idx1-ubyte.gz",
}
_MODIFIED = {"train": 1504176606, "test": 1504176627}  # seconds since 1970
_PLAIN_HEADER_BYTES = 10


def is_installed() -> bool:
    """Returns whether all four files are there."""
    return all((FOLDER / name).exists() for name in FILES.values())


def restore_originals(folder: Path) -> None:
    """Writes the four files with their original gzip headers into `folder`."""
    for (split, _), name in FILES.items():
        debian = (FOLDER / name).read_bytes()
        original_name = name.removesuffix(".gz").encode()
        # Magic, deflate, "name follows"; time of modification; flags, Unix.
        header = b"\x1f\x8b\x08\x08" + struct.pack("<I", _MODIFIED[split]) + b"\x00\x03"
        content = header + original_name + b"\x00" + debian[_PLAIN_HEADER_BYTES:]
        (folder / name).write_bytes(content)
