"""What each `mesh.mode` costs on many GPUs: memory, bytes sent, predicted times.

    python benchmarks/scaling.py [--config configs/vitb16_lion.py] [--out FOLDER]
        [--devices 8 64 512] [--modes data zero1 fsdp] [--images 32]
        [--network 50] [--config.<field>=VALUE ...]

needs jax[cuda12] and no GPU: XLA compiles the training step for described H100s, eight
to a host, as benchmarks/gpu_check.py does. --images is the batch of one GPU, so that
the work of each is the same. What a GPU sends is counted from the program: of an array
of n bytes on d devices, a reduce-scatter and an all-gather send n (d - 1) / d, an
all-reduce twice that. The predicted time adds up kernels and collectives, one after the
other, at the rates of gpu_kernels.py; collectives beyond one host at --network GB/s in
one direction, 80 % of it reached. Nothing here is measured.
"""

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import gpu_programs
import gpu_report
import own_process
from gpu_kernels import LINK_SHARE, Gpu, gpu

from lion_jax import cli
from lion_jax import config as configs
from lion_jax.config import Config

ROOT = Path(__file__).parents[1]
MODES = configs.fields_of(Config)["mesh.mode"].choices


def figures(config: Config, target: Gpu, devices: int, network: float) -> Any:
    """Compiles a configuration's training step; returns what it costs one GPU.

    Args:
      config: Its batch is that of all devices.
      target: The GPU.
      devices: How many.
      network: GB/s that a GPU sends to other hosts.
    """
    if devices > gpu_programs.PER_HOST:
        link = LINK_SHARE * network * 1e9
        target = dataclasses.replace(target, link=min(target.link, link))
    mesh = gpu_programs.described(target, devices)
    _, lowered = next(gpu_programs.lowered(config, mesh))
    started = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - started
    found = gpu_report.report(compiled, target, devices, bfloat16=False, attention=0)
    row = {name: found[name] for name in ("memory", "kernels", "gigaflops")}
    memory: Any = compiled.memory_analysis()
    row["arguments"] = memory.argument_size_in_bytes
    row |= {"collectives": found["collective_bytes"]}
    row["sent"] = sum(
        int(sent(name, size, devices)) for name, size in row["collectives"].items()
    )
    collective = found["kinds"].get("collective", {"kernels": 0, "milliseconds": 0.0})
    row["collective_kernels"] = collective["kernels"]
    row["collective_milliseconds"] = collective["milliseconds"]
    row["milliseconds"] = found["milliseconds"]
    row["faults"] = found["faults"]
    return row | {"seconds_compile": round(seconds)}


def sent(name: str, size: float, devices: int) -> float:
    """Returns the bytes that one device sends for a collective."""
    return (1 + name.startswith("all-reduce")) * size * (devices - 1) / devices


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=ROOT / "configs/vitb16_lion.py")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "scaling")
    parser.add_argument("--devices", nargs="+", type=int, default=[8, 64, 512])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=[*MODES])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--network", type=float, default=50.0)
    flags, rest = parser.parse_known_args(argv)
    changed = own_process.changes(rest, parser)
    base = configs.override(cli.load_config(str(flags.config)), changed)
    kept = flags.out / f"{flags.config.stem}.json"
    rows = json.loads(kept.read_text()) if kept.exists() else {}
    for devices in flags.devices:
        for mode in flags.modes:
            batch = str(flags.images * devices)
            sizes = {"batch_size": batch, "eval_batch_size": batch}
            config = configs.override(base, sizes | {"mesh.mode": mode})
            row = figures(config, gpu("h100"), devices, flags.network)
            row |= {"images": flags.images, "network": flags.network}
            settings = [mode, *(f"{name}={value}" for name, value in changed.items())]
            rows[f"{devices} x h100, {', '.join(settings)}"] = row
            own_process.keep(kept, rows)
            print(
                f"{devices:4} {mode:6} {row['memory'] / 1e9:6.2f} GB of memory,"
                f" {row['sent'] / 1e6:8.1f} MB sent in {row['collective_kernels']}"
                f" collectives, {row['collective_milliseconds']:7.2f} of"
                f" {row['milliseconds']:7.2f} ms predicted",
                *row["faults"],
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
