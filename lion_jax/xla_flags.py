"""Flags with which XLA:CPU trains faster, by the version that they were measured with.

XLA reads its flags once, when JAX's backend starts, and ends the process at a flag that
it does not know. So a flag is set only for a jaxlib with which it was tried, only where
a CPU that profits will compute, and never against what the user has set.
"""

import functools
import importlib.metadata
import importlib.util
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

SWITCH = "LION_JAX_XLA"  # `off` leaves XLA's flags alone
VARIABLE = "XLA_FLAGS"
SETTINGS: Any = jax.config  # the types of jax 0.10 lack its attributes


@dataclass(frozen=True)
class Flag:
    """One flag and when it pays."""

    name: str
    value: str
    jaxlibs: tuple[str, ...]  # versions with which it was tried
    why: str
    needs_bfloat16: bool = False
    needs_processor: frozenset[str] = frozenset()  # one of these instruction sets
    excludes_int8_momentum: bool = False
    cacheable: bool = True  # whether programs compiled with it can be stored
    beside: str = ""  # another flag, without which it was not tried

    def pays(self, *, bfloat16: bool, int8_momentum: bool) -> bool:
        """Whether it speeds up such a program on the installed jaxlib."""
        return bool(
            jaxlib_version() in self.jaxlibs
            and (bfloat16 or not self.needs_bfloat16)
            and (not self.needs_processor or self.needs_processor & instruction_sets())
            and not (int8_momentum and self.excludes_int8_momentum)
        )


# The measurements are in benchmarks/LOG.md, "Flags of XLA:CPU".
FLAGS = (
    Flag(
        "xla_cpu_experimental_onednn_custom_call",
        "true",
        jaxlibs=("0.12.0.1",),
        why="bfloat16 products by oneDNN: 1.4 to 1.7 times the training speed;"
        " programs cannot be stored (std::bad_alloc when serialised)",
        needs_bfloat16=True,
        needs_processor=frozenset({"avx512_bf16", "amx_bf16"}),
        cacheable=False,
    ),
    Flag(
        "xla_cpu_experimental_ynn_fusion_type",
        "-individual_dot",
        jaxlibs=("0.12.0.1",),
        why="leaves YNNPACK's products to oneDNN, too: 1.06 times ResNet-50's training"
        " speed, ViT-B/16's alike",
        beside="xla_cpu_experimental_onednn_custom_call",
    ),
    Flag(
        "xla_backend_extra_options",
        "xla_cpu_use_multi_output_fusion=true",
        jaxlibs=("0.12.0.1",),
        why="loops over the same values become one: 1.15 to 1.3 times ResNet-50's"
        " training speed; an int8 momentum takes 1.8 times as long",
        excludes_int8_momentum=True,
    ),
)


def jaxlib_version() -> str:
    """Returns the installed version of jaxlib."""
    return importlib.metadata.version("jaxlib")


@functools.cache
def instruction_sets() -> frozenset[str]:
    """Returns the processor's features by Linux's names; none where it has no list."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    match = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return frozenset(match[1].split()) if match else frozenset()


def set_flags(*, bfloat16: bool, int8_momentum: bool) -> list[Flag]:
    """Adds to `XLA_FLAGS` what pays for a program, before JAX's backend starts.

    Args:
      bfloat16: Whether the program computes in bfloat16.
      int8_momentum: Whether its optimizer stores the momentum in int8.

    Returns:
      The flags that were set: none with `LION_JAX_XLA=off`, once the backend runs,
      where an accelerator may be used or `XLA_FLAGS` names a file, or on an untried
      jaxlib.
    """
    if os.environ.get(SWITCH) == "off" or not _computes_on_cpu() or _backend_runs():
        return []
    there = os.environ.get(VARIABLE, "")
    if there.strip() and not there.strip().startswith("-"):  # names a file of flags
        return []
    chosen = [
        flag
        for flag in FLAGS
        if flag.pays(bfloat16=bfloat16, int8_momentum=int8_momentum)
        and f"--{flag.name}=" not in there
        and f"--{flag.name}" not in there.split()
    ]
    names = {flag.name for flag in chosen}
    chosen = [flag for flag in chosen if not flag.beside or flag.beside in names]
    added = [f"--{flag.name}={flag.value}" for flag in chosen]
    if added:
        os.environ[VARIABLE] = " ".join([*there.split(), *added])
    return chosen


def _computes_on_cpu() -> bool:
    """Whether JAX will choose the CPU, as far as that can be known beforehand."""
    if platforms := SETTINGS.jax_platforms:
        return platforms.split(",")[0] == "cpu"
    plugins = ("jax_plugins", "libtpu")
    return not any(importlib.util.find_spec(name) for name in plugins)


def _backend_runs() -> bool:
    """Whether JAX has started its backend, after which flags have no effect."""
    name = "jax_num_cpu_devices"  # JAX refuses to change it once the backend runs
    before = SETTINGS.jax_num_cpu_devices
    try:
        jax.config.update(name, before + 1)
    except RuntimeError:
        return True
    jax.config.update(name, before)
    return False
