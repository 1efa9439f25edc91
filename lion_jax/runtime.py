"""Process-wide settings applied before JAX initializes: memory, flags, programs."""

import contextlib
import ctypes
import logging
import os
import stat
import sys
import zlib
from pathlib import Path

import jax

from lion_jax import files, xla_flags

# Parameters of glibc's mallopt, from its malloc.h.
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
CHECKED = "checked"  # its time is that of the last look for half-written programs
SECONDS_WORTH_KEEPING = 0.1  # of compilation

_log = logging.getLogger(__name__)


def start(
    compilation_cache: str = "", *, bfloat16: bool = False, int8_momentum: bool = False
) -> None:
    """Applies all settings, before a command computes anything.

    Args:
      compilation_cache: Folder of compiled programs; `off` for none, empty for what
        `JAX_COMPILATION_CACHE_DIR` says, else `compiled` in the package's own cache.
      bfloat16: Whether a program of this process computes in bfloat16.
      int8_momentum: Whether one stores a momentum in int8.
    """
    keep_memory()
    flags = xla_flags.set_flags(bfloat16=bfloat16, int8_momentum=int8_momentum)
    if not all(flag.cacheable for flag in flags):
        # JAX would try to store each program, fail, and warn.
        compilation_cache = "off"
    if compilation_cache == "off":
        jax.config.update("jax_enable_compilation_cache", False)
    elif compilation_cache:
        cache_compilations(files.expanded(compilation_cache))
    elif not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        cache_compilations(files.cache_folder() / "compiled")


def keep_memory() -> bool:
    """Stops glibc from returning freed memory to the OS, so that the next step uses it.

    XLA:CPU allocates a step's temporary values afresh each time, hundreds of megabytes
    that glibc takes from the system and gives back, page by page. One heap that never
    shrinks ends that: 100,000 page faults a step of ResNet-50 become none, and on two
    cores it runs some 20 % faster, in some 0.6 GB more. To be called before JAX's first
    computation, since a thread that has a heap of its own keeps it.

    Returns:
      Whether it was done; only Linux with glibc has a way.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    wishes = {M_ARENA_MAX: 1, M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1}
    return mallopt is not None and all(mallopt(*wish) for wish in wishes.items())


def cache_compilations(folder: Path) -> bool:
    """Lets JAX keep compiled programs in a folder, for the next process to load.

    What lies there is run, so the folder must be the user's own: it is made with mode
    0700, and one that other users own or may write to is not used. It grows by some
    megabytes for each new combination of model, shapes and versions.

    Args:
      folder: Made if absent.

    Returns:
      Whether programs are kept there.
    """
    remedy = "give another --compilation_cache, or off"
    try:
        files.make_private(folder)
        status = folder.stat()
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder} is a file")
    except OSError as error:
        _log.warning("Compiled programs are not kept: %s; %s.", error, remedy)
        return False
    if hasattr(os, "getuid") and status.st_uid != os.getuid():
        _log.warning(
            "Compiled programs are not kept: %s is another user's; %s.", folder, remedy
        )
        return False
    if os.name == "posix" and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        _log.warning(
            "Compiled programs are not kept: other users may write to %s; chmod 700 it,"
            " or %s.",
            folder,
            remedy,
        )
        return False
    _remove_unfinished(folder)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update(
        "jax_persistent_cache_min_compile_time_secs", SECONDS_WORTH_KEEPING
    )
    return True


def _remove_unfinished(folder: Path) -> None:
    """Removes programs that a killed process left half-written.

    JAX would find them bad each time, warn, and never replace them. Each is checked
    once, at the first start after it was written.
    """
    stamp = folder / CHECKED
    last = stamp.stat().st_mtime_ns if stamp.exists() else 0
    with contextlib.suppress(OSError):  # a folder to read only has nothing half-written
        stamp.touch()
    for path in folder.glob("*-cache"):
        try:
            content = path.read_bytes() if path.stat().st_mtime_ns >= last else b""
            # With the package zstandard, JAX compresses otherwise; then it warns.
            if content.startswith(b"\x78") or path.stat().st_size == 0:
                zlib.decompress(content)
        except zlib.error:
            with contextlib.suppress(OSError):
                path.unlink()
        except OSError:  # another process was quicker, or it is not ours to read
            continue
