"""Where a result was produced: versions, devices, commit, memory."""

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

PACKAGES = ("lion-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


def describe() -> dict[str, Any]:
    """Returns what identifies this machine and installation."""
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
        "system": platform.platform(),
        "processors": os.cpu_count(),
        "platform": device.platform,
        "device": device.device_kind,
        "devices": jax.device_count(),
        "commit": commit(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def commit() -> str | None:
    """Returns the commit of the source tree, `-dirty` if changed; None outside one."""
    tree = Path(__file__).parents[1]
    if not (tree / ".git").exists():  # installed, perhaps inside another repository
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        found = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    except OSError:
        return None
    return found.stdout.strip() or None


def peak_memory() -> dict[str, int | None]:
    """Returns the largest memory used so far in bytes, on the host and on a device."""
    unit = 1 if sys.platform == "darwin" else 1024
    statistics = jax.local_devices()[0].memory_stats() or {}
    return {
        "peak_host_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
        "peak_device_bytes": statistics.get("peak_bytes_in_use"),
    }
