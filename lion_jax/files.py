"""Files that appear whole or not at all, and the user's own cache folder."""

import contextlib
import math
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Yields a name to write a file under; the file then replaces `path`.

    The file is forced to the disk before it is renamed, and its folder after that, so
    that a power failure leaves the old file or the new one. If the block raises, `path`
    is untouched.

    Args:
      path: The file to replace or create; its folder exists.
      shared: Whether several processes may write it at a time: then each uses a
        temporary name of its own.
    """
    own = f"{path.name}.{secrets.token_hex(8)}.tmp"
    temporary = path.with_name(own if shared else f".{path.name}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Forces a folder's list of names to the disk, where the system has a way."""
    with contextlib.suppress(OSError):  # Windows opens no folders; some disks refuse
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_whole(path: Path, text: str, *, shared: bool = False) -> None:
    """Writes a text file, in UTF-8, that appears whole or not at all (`replacing`).

    Bytes of a path that are not UTF-8 are written as escapes.
    """
    with replacing(path, shared=shared) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def finite(content: Any) -> Any:
    """Returns the content with None for every number that is not finite."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def obstacle(folder: Path) -> str:
    """Returns in words why a folder neither is there nor can be made; empty if it can.

    Where it is to be on a disk, the nearest folder above it tells.
    """
    for place in (folder, *folder.parents):
        try:
            place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:  # such as a name that is too long
            return error.strerror or str(error)
        if not place.exists():
            return f"{place} leads to {place.readlink()}, which is not there"
        if not place.is_dir():
            return f"{place} is a file"
        by_rights = {"effective_ids": os.access in os.supports_effective_ids}
        if place != folder and not os.access(place, os.W_OK | os.X_OK, **by_rights):
            return f"{place} may not be written to"
        break
    return ""


def expanded(path: str | os.PathLike[str]) -> Path:
    """Returns a path with the home folder in place of its `~`.

    A name that only begins with one, such as `~draft`, stays as it is; pathlib refuses
    it.
    """
    return Path(os.path.expanduser(path))


def cache_folder() -> Path:
    """Returns `$LION_JAX_CACHE`, or `lion_jax` in the user's cache folder.

    A user without a home has a folder of their own in the system's temporary one.
    """
    if folder := os.environ.get("LION_JAX_CACHE"):
        return expanded(folder)
    base = expanded(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    if base.parts[0] == "~":  # no HOME and no entry in passwd, as in some containers
        return Path(tempfile.gettempdir()) / f"lion_jax_{_user()}"
    return base / "lion_jax"


def _user() -> str:
    return str(os.getuid()) if hasattr(os, "getuid") else "user"


def share(path: Path) -> None:
    """Gives what was made in a folder the folder's rights, as far as that is safe.

    So a set that lies in a cache of several users is theirs, and one in a private
    folder private. Where everybody may write, or add files, only its owner may here.

    Args:
      path: A file, or a folder with the files in it, of this user.
    """
    rights = stat.S_IMODE(path.parent.stat().st_mode)
    rights &= 0o755 if rights & stat.S_ISVTX else 0o775
    inside = [*path.iterdir()] if path.is_dir() else []
    for each in (path, *inside):
        each.chmod(rights if each.is_dir() else rights & 0o666)


def make_private(folder: Path) -> None:
    """Makes a folder with mode 0700, and so each one above it that is missing."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
