"""Where a result was produced: versions, devices, switches, commit, memory."""

import contextlib
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("lion-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
# JAX's switches that change numbers.
SWITCHES = (
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_numpy_dtype_promotion",
    "jax_disable_jit",
)
# Variables that do: TF32 on NVIDIA's GPUs, and libraries below XLA.
VARIABLES = ("NVIDIA_TF32_OVERRIDE", "TF_CUDNN_DETERMINISTIC", "LIBTPU_INIT_ARGS")
# These differ without changing a number.
HARMLESS = frozenset({"python", "system", "orbax-checkpoint"})


def describe() -> dict[str, Any]:
    """Returns what identifies this machine, this installation and its switches."""
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        **versions(),
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "processor": _processor(),
        "processor_features": _features(),
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "commit": commit(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "switches": {name: _switch(name) for name in SWITCHES},
        "variables": {x: os.environ[x] for x in VARIABLES if x in os.environ},
    }


def versions() -> dict[str, str | None]:
    """Returns the versions of the packages that compute, by name."""
    return {name: _version(name) for name in PACKAGES}


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Names what differs between two environments and may change numbers.

    What was not recorded before is not compared.
    """
    return [
        f"{name} ({before[name]!r} then, {now.get(name)!r} now)"
        for name in before
        if name not in HARMLESS and before[name] != now.get(name)
    ]


def _switch(name: str) -> bool | str | None:
    """Returns the value of one of JAX's switches; None for one it does not have."""
    value = getattr(jax.config, name, None)
    value = getattr(value, "value", value)  # of an enumeration
    return value if isinstance(value, bool) or value is None else str(value)


def _version(package: str) -> str | None:
    """Returns a package's version; None if it runs from a source tree, uninstalled."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpuinfo(field: str) -> str:
    """Returns a field of Linux's first processor; empty where there is none."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    match = re.search(rf"^{field}\s*:(.*)$", text, re.MULTILINE)
    return match[1].strip() if match else ""


def _processor() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _features() -> str:
    """Returns the vector instructions that compilers choose by, and a sum of all."""
    features = (_cpuinfo("flags") or _cpuinfo("Features")).split()
    known = ("avx", "amx", "fma", "sve", "asimd", "bf16")
    vector = sorted(name for name in features if name.startswith(known))
    total = zlib.crc32(" ".join(sorted(features)).encode())
    return " ".join([*vector, f"({len(features)} in all, crc32 {total:08x})"])


def commit() -> str | None:
    """Returns the commit of the source tree, `-dirty` if changed; None outside one.

    The tree may be another user's, of whose commands git is wary: its code runs anyway.
    """
    tree = Path(__file__).parents[1]
    if not (tree / ".git").exists():  # installed, perhaps inside another repository
        return None
    # Without locks: the user's own git commands must not fail for a run's sake, as they
    # would beside `git describe --dirty`.
    git = ["git", "--no-optional-locks", "-c", f"safe.directory={tree}"]
    head = _output([*git, "rev-parse", "--short=12", "HEAD"], tree)
    changed = _output([*git, "status", "--porcelain", "--untracked-files=no"], tree)
    return f"{head}{'-dirty' if changed else ''}" if head else None


def _output(command: list[str], folder: Path) -> str:
    try:
        process = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except OSError:
        return ""
    return process.stdout.strip()


def host_memory(system: Path = Path("/")) -> int:
    """Returns the bytes of memory that this process may use, as far as is known.

    Args:
      system: Where the folders are in which Linux tells its limits.
    """
    sizes = []
    if hasattr(os, "sysconf"):
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for file in _limits(system):
        with contextlib.suppress(OSError, ValueError):  # absent, or "max"
            sizes.append(int(file.read_text()))
    return min(sizes, default=2**34)


def _limits(system: Path) -> Iterator[Path]:
    """Yields where Linux may keep limits of this process's memory.

    A container's own are at the root of what it sees; a scheduler's or a service's are
    in the control group of the process, or in one that holds it.
    """
    try:
        lines = (system / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        top, file = system / "sys/fs/cgroup", "memory.max"
        if "memory" in controllers.split(","):  # version 1
            top, file = top / "memory", "memory.limit_in_bytes"
        elif controllers:
            continue
        path = top / name.lstrip("/")
        yield from (x / file for x in (path, *path.parents) if x.is_relative_to(top))


def peak_memory() -> dict[str, int | None]:
    """Returns the largest memory used so far in bytes, on the host and on a device.

    None where the system (Windows) or the device does not know.
    """
    statistics = jax.local_devices()[0].memory_stats() or {}
    return {
        "peak_host_bytes": _peak_host_bytes(),
        "peak_device_bytes": statistics.get("peak_bytes_in_use"),
    }


def _peak_host_bytes() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
