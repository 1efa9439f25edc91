"""A verified cache whose arrays are mapped from files, so that they may be large.

One folder per set: the four arrays as .npy files and `header.json`, with name, version,
class names, the arrays' sha256 and the fingerprint of what they were made from. The
folder appears whole or not at all.
"""

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lion_jax.data.dataset import DataError, Dataset, ForbiddenError
from lion_jax.files import make_private, share, sync_folder, write_whole

FORMAT = 1
HEADER = "header.json"
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
NAMES = ("name", "version", "source")
MOST_COPIES = 64  # of what a set was made from, that are known by their fingerprints

_log = logging.getLogger(__name__)


def header(path: Path) -> dict[str, Any]:
    """Returns the header of a cached set that was read; what `finish` was told, too."""
    return json.loads((path / HEADER).read_text(encoding="utf-8"))


def read(
    path: Path,
    fingerprint: str,
    is_same: Callable[[dict[str, Any]], bool] = lambda _: False,
) -> Dataset | None:
    """Maps and verifies a cached set.

    Args:
      path: The set's folder in the cache.
      fingerprint: Of what the set is to be made from.
      is_same: Whether that is, for all that, what the set was made from, as the header
        tells; asked where the fingerprint is another.

    Returns:
      The set; None if there is none, or if it was made from something else.

    Raises:
      ForbiddenError: If this user may not read it.
      DataError: If the folder is damaged or of another format.
    """
    if not path.exists():
        return None
    try:
        content = header(path)
        if content["format"] != FORMAT:
            raise ValueError("it is of another format")
        known = [content["fingerprint"], *content.get("copies", [])]
        if fingerprint not in known:
            if not is_same(content):
                return None
            copies = [*content.get("copies", []), fingerprint][-MOST_COPIES:]
            with contextlib.suppress(OSError):  # else it is asked again
                text = json.dumps(content | {"copies": copies}, indent=2)
                write_whole(path / HEADER, text, shared=True)
                share(path)
        dataset = _map(path, content)
        if dataset.sha256() != content["sha256"]:
            raise ValueError("its sha256 differs from its header's")
    except PermissionError as error:
        raise ForbiddenError.of(path) from error
    except (OSError, EOFError, ValueError, KeyError, TypeError, DataError) as error:
        raise DataError(f"{path} is no usable data set ({error}).") from error
    return dataset


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lets one process at a time read or make a set; all, where locks are impossible.

    Args:
      path: The set's folder in the cache; the lock lies beside it.
    """
    with contextlib.ExitStack() as stack:
        try:
            import fcntl

            make_private(path.parent)
            lock = path.with_name(f"{path.name}.lock")
            lock.touch()
            with contextlib.suppress(PermissionError):  # another user's
                share(lock)
            file = stack.enter_context(lock.open())
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _log.info("Another process holds %s; waiting for it.", path)
                fcntl.flock(file, fcntl.LOCK_EX)
        except ImportError:  # Windows
            pass
        except OSError as error:  # a disk without locks, a cache of somebody else
            _log.warning("%s cannot be locked: %s.", path, error.strerror)
        yield


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields an empty folder that replaces `path` if the block succeeds.

    The caller holds the lock: what is found under the temporary names was left by an
    interrupted process, and is removed.
    """
    make_private(path.parent)
    temporary, old = (path.with_name(f"{path.name}.{end}") for end in ("tmp", "old"))
    for left in (temporary, old):
        shutil.rmtree(left, ignore_errors=True)
    temporary.mkdir(mode=0o700)
    try:
        yield temporary
        share(temporary)
        if path.exists():  # a folder is replaced in two steps
            path.rename(old)
        temporary.rename(path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def require_space(folder: Path, needed: int) -> None:
    """Refuses to decode images for which a disk has no room.

    Args:
      folder: From `replacing`.
      needed: Bytes of all images.

    Raises:
      DataError: Names what is needed, and what is free.
    """
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"the decoded images take {needed / 1e9:.1f} GB, but {folder.parent} has"
            f" {free / 1e9:.1f} GB left; free space there, or give a folder on another"
            " disk as --config.data.cache_dir."
        )


@contextlib.contextmanager
def writing(
    path: Path, shape: tuple[int, ...], dtype: type = np.uint8
) -> Iterator[Callable[[np.ndarray], None]]:
    """Yields a function that appends rows to a new .npy file of a given shape."""
    description = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
        "fortran_order": False,
        "shape": shape,
    }
    with path.open("xb") as file:
        np.lib.format.write_array_header_2_0(file, description)

        def write(rows: np.ndarray) -> None:
            file.write(np.ascontiguousarray(rows).data)

        yield write
        file.flush()
        os.fsync(file.fileno())


def finish(
    folder: Path,
    fingerprint: str,
    *,
    name: str,
    source: str,
    class_names: tuple[str, ...],
    version: str = "",
    about: Mapping[str, Any] | None = None,
) -> None:
    """Writes the header of a folder whose four arrays are written.

    Args:
      folder: From `replacing`.
      fingerprint: Of what the set was made from.
      name: Of the set.
      source: Where it came from, in words.
      class_names: In the order of the labels.
      version: Of the set; empty for the first digits of the arrays' sha256.
      about: What `read` and `header` are to tell of what the set was made from.
    """
    content = dict(about or {}) | {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "name": name,
        "version": version,
        "source": source,
        "class_names": class_names,
    }
    content["sha256"] = _map(folder, content).sha256()
    content["version"] = version or content["sha256"][:12]
    write_whole(folder / HEADER, json.dumps(content, indent=2))


def _map(path: Path, content: dict) -> Dataset:
    arrays = {
        name: np.load(
            path / f"{name}.npy",
            mmap_mode="r" if name.endswith("images") else None,
            allow_pickle=False,
        )
        for name in ARRAYS
    }
    names = {name: content[name] for name in NAMES}
    return Dataset(class_names=tuple(content["class_names"]), **names, **arrays)
