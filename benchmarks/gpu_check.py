"""Compiles a run's programs for GPUs that are not there, and checks what they became.

    python benchmarks/gpu_check.py [--configs configs/vitb16_lion_tuned.py ...]
        [--gpus a100 h100 h200] [--devices 1 8] [--programs training ...]
        [--write] [--again] [--lower] [--config.<field>=VALUE ...]

needs jax[cuda12] and neither a GPU nor a driver; `make gpu-check` makes an environment
that has it. XLA compiles the training step, the evaluation step, the optimizer's step
alone and the initialization of every configuration from shapes. It prints, and with
--write keeps under results/gpu_check: kernels by kind and by part of the model with
their number, MB, GFLOP and predicted ms, collectives, and memory. Not seen: kernels
chosen by racing them, cuDNN's workspaces, the time between kernels. gpu_kernels.py
states what the predicted times assume.

Exit status 1: a program does not lower or compile, needs more than 90 % of the memory,
has 3 % more kernels or bytes than the committed figures, or breaks a rule of
gpu_report.py. A program that is the committed one (by the sha256 of its lowered text)
is not compiled, unless with --again: its committed faults count. --lower compiles
nothing: it shows in seconds whether everything traces and lowers.
"""

import argparse
import hashlib
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import gpu_programs
import gpu_report
import jax
import own_process
from gpu_kernels import PEAKS, Gpu, gpu
from jax.sharding import Mesh

from lion_jax import cli, models
from lion_jax import config as configs
from lion_jax.config import Config
from lion_jax.training.lowering import compiler_options

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "gpu_check"
PROGRAMS = ("training", "evaluation", "optimizer", "init")
Figures = dict[str, Any]  # of a program


class Checker:
    """Compiles programs, each once, and remembers what is known of them."""

    def __init__(self, again: bool, lower: bool = False) -> None:
        """Reads the committed figures.

        Args:
          again: Whether programs whose figures are committed are compiled too.
          lower: Whether none is compiled.
        """
        self.lower = lower
        self.known: dict[str, Figures] = {}
        for path in [] if again else sorted(RESULTS.glob("*.json")):
            for programs in json.loads(path.read_text()).values():
                self.known |= {row["program"]: row for row in programs.values()}

    def check(
        self, config: Config, target: Gpu, devices: int, names: Sequence[str]
    ) -> Iterator[tuple[str, Figures]]:
        """Yields the figures of a configuration's programs by name."""
        mesh = gpu_programs.described(target, devices)
        for name, lowered in gpu_programs.lowered(config, mesh):
            if name in names:
                key = _key(lowered, config, target, mesh)
                if self.lower:
                    yield name, {"program": key, "faults": []}
                    continue
                if key not in self.known:
                    started = time.perf_counter()
                    try:
                        compiled = lowered.compile()
                    except Exception as error:  # whatever XLA refuses
                        yield name, {"program": key, "faults": [_in_one_line(error)]}
                        continue
                    report = gpu_report.report(
                        compiled,
                        target,
                        devices,
                        bfloat16=config.model.dtype == "bfloat16"
                        and name in ("training", "evaluation"),
                        attention=_attention_calls(config, name),
                        step_loops=int(config.scan_steps > 1),
                    )
                    self.known[key] = {"program": key} | report
                    print(f"compiled in {time.perf_counter() - started:.0f} s")
                yield name, self.known[key]


def _key(lowered: jax.stages.Lowered, config: Config, target: Gpu, mesh: Mesh) -> str:
    """Identifies a program: its text, what it is compiled for, by what, and how."""
    parts = [lowered.as_text(), target.description, str(mesh.size), jax.__version__]
    options = compiler_options(config, mesh)
    parts += [f"{name}={value}" for name, value in options.items()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _attention_calls(config: Config, program: str) -> int:
    """Returns how often a program must call cuDNN's attention."""
    row = models.MODELS[config.model.name].keywords
    if config.model.dtype != "bfloat16" or config.deterministic or "heads" not in row:
        return 0
    # The last layer's is of one query, where the head reads the class token alone.
    layers = row["layers"] - (config.model.pool == "token")
    return layers * {"training": 2, "evaluation": 1}.get(program, 0)


def _in_one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def show(place: str, row: Figures, faults: Sequence[str]) -> None:
    """Prints a program's figures."""
    print(f"== {place}")
    if "kernels" in row:
        print(
            f"{row['kernels']:,} kernels, {row['megabytes']:,.0f} MB,"
            f" {row['gigaflops']:,.0f} GFLOP, {row['memory'] / 1e9:.2f} GB of memory,"
            f" predicted {row['milliseconds']:.2f} ms"
        )
        for group in row["kinds"], row["parts"]:
            for name, part in group.items():
                values = "".join(f"{value:>14,}" for value in part.values())
                print(f"  {name:30}{values}")
        for name, size in row["collective_bytes"].items():
            print(f"  {name}: {size / 1e6:,.1f} MB")
    for fault in faults:
        print(f"  FAULT: {fault}")
    sys.stdout.flush()


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = sorted((ROOT / "configs").glob("*.py"))
    parser.add_argument("--configs", nargs="+", type=Path, default=every)
    parser.add_argument("--gpus", nargs="+", choices=PEAKS, default=[*PEAKS])
    parser.add_argument("--devices", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=PROGRAMS)
    parser.add_argument("--write", action="store_true", help="keep the figures")
    parser.add_argument("--again", action="store_true", help="compile what is known")
    parser.add_argument("--lower", action="store_true", help="compile nothing")
    flags, rest = parser.parse_known_args(argv)
    changed = own_process.changes(rest, parser)
    if changed and flags.write:
        parser.error("--write keeps configurations as they are; leave --config.* out.")
    checker, wrong = Checker(flags.again, flags.lower), 0
    for path in flags.configs:
        config = configs.override(cli.load_config(str(path)), changed)
        kept = RESULTS / f"{path.stem}.json"
        known = kept.exists() and not changed
        figures = json.loads(kept.read_text()) if known else {}
        for name, devices in itertools.product(flags.gpus, flags.devices):
            rows = figures.setdefault(f"{name} x {devices}", {})
            place = f"{path.stem}, {name} x {devices}"
            try:
                for program, row in checker.check(
                    config, gpu(name), devices, flags.programs
                ):
                    faults = row["faults"] + gpu_report.grown(
                        rows.get(program, {}), row
                    )
                    show(f"{place}, {program}", row, faults)
                    rows[program] = row
                    wrong += len(faults)
            except Exception as error:  # whatever JAX refuses to lower
                show(place, {}, [_in_one_line(error)])
                wrong += 1
            if flags.write and not flags.lower:
                own_process.keep(kept, figures)
    print(f"{wrong} faults")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
