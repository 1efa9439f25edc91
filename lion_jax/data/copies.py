"""Whether a folder of images is a copy of another, as on another host's disk.

A copy has other times of modification, and may share a cache with the original.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lion_jax.data.ahead import in_order
from lion_jax.data.class_folders import Listing

DECODER = 2  # which pixels `pictures` makes of a file; 1 inverted no TIFF of 16 bits


def fingerprint(listing: Listing, root: Path) -> str:
    """Returns what a folder's names, sizes and times are, and how it is read."""
    return f"{DECODER}:{listing.fingerprint(root)}"


def about(listing: Listing, root: Path) -> dict[str, Any]:
    """Returns checksums of a folder's names and sizes, and of what is in its files.

    Under `shared` stands how many test files are training files too, by their content.
    """
    parts = filter(None, (listing.train, listing.test))
    train, *test = ([*in_order(_checksum, part.paths)] for part in parts)
    whole, known = hashlib.sha256(b"".join(train)), {*train}
    for digests in test:
        whole.update(b"".join(digests))
    return {
        "files": _names(listing, root),
        "content": whole.hexdigest(),
        "decoder": DECODER,
        "shared": sum(digest in known for digests in test for digest in digests),
    }


def is_one(listing: Listing, root: Path, known: Mapping[str, object]) -> bool:
    """Returns whether a folder has the checksums of another, read only if it may.

    Args:
      listing: What is in the folder.
      root: The folder.
      known: From `about`, of the other one; may lack them.
    """
    if known.get("decoder") != DECODER or known.get("files") != _names(listing, root):
        return False
    try:
        return known.get("content") == about(listing, root)["content"]
    except OSError:  # an image that cannot be read is named when it is decoded
        return False


def _names(listing: Listing, root: Path) -> str:
    return listing.fingerprint(root, times=False)


def _checksum(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
