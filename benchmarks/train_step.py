"""How many images a second does a training step take in, beside its peers?

    python benchmarks/train_step.py --model resnet50 --image-size 32 --batch 128

Ours is the product's own step: the program that `lion_jax.train` runs, with images as
uint8 on the device, augmentation, metrics and optimizer. The peers are the same model
with the same optimizer, written as their own users would: PyTorch (if it is installed;
peer_torch.py) and a plain Flax model in the manner of Flax's ImageNet example
(peer_flax.py), both fed with finished float32 batches. The optimizer is Lion. On a CPU
the trainer keeps its memory between steps (lion_jax.runtime.keep_memory) and sets the
flags of lion_jax.xla_flags, and so does its row; the peers' processes get the same
memory settings, unless `--peer-memory installed` leaves them as their users have them.

Every row lives in a process of its own, so that its peak of memory is its own; only one
of them computes at any time. Rounds go through all rows in turn, so that a slow minute
of the machine falls on all of them alike, and every ratio is the median over rounds of
two speeds measured side by side. "Of peak" is the share of the fastest large matrix
product (float32 or bfloat16, JAX's or PyTorch's) seen in the same run that the
arithmetic of the model, three times its forward pass, would take. "Ready" is the
time from nothing to the end of the first step: imports, initial values, compilation.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from train_step_row import OURS, Job

ROW = Path(__file__).with_name("train_step_row.py")
TURNS_BEFORE = 1  # that do not count
# Times the speed of the best peer, of whatever arithmetic.
GOALS = {"resnet50": 1.5, "vit_b16": 1.1}
TORCH_MODES = (
    "torch eager",
    "torch channels-last",
    "torch compile",
    "torch bf16",
    "torch compile bf16",
)
# What lion_jax.runtime.keep_memory does to our own process, for glibc's malloc.
KEPT_MEMORY = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "-1",
}


@dataclass
class Row:
    """One row of the table: its process and what it measured."""

    name: str
    process: subprocess.Popen[str]
    patience: int  # seconds until a process that does not answer is given up
    ready: dict[str, Any] = field(default_factory=dict)
    speeds: list[float] = field(default_factory=list)  # images a second
    error: str = ""

    def ask(self, question: str) -> dict[str, Any]:
        """Sends one line, and reads one line of JSON."""
        assert self.process.stdin
        try:
            self.process.stdin.write(question + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        return self.hear()

    def hear(self) -> dict[str, Any]:
        """Reads one line of JSON; a process that ends or takes too long is an error."""
        assert self.process.stdout
        watch = threading.Timer(self.patience, self.process.kill)
        watch.start()
        line = self.process.stdout.readline()
        late = not watch.is_alive()
        watch.cancel()
        why = f"no answer in {self.patience} s" if late else "its process ended"
        answer = json.loads(line) if line else {"error": why}
        self.error = self.error or answer.get("error", "")
        return answer


# ------------------------------------------------------------------------- in the main


def start(job: Job, patience: int, python: str, memory: dict[str, str]) -> Row:
    """Starts a row's process and waits until it is ready.

    Args:
      job: What it is to do.
      patience: Seconds until a process that does not answer is given up.
      python: Its interpreter.
      memory: Settings of malloc, for the rows of peers.
    """
    command = [python, str(ROW), json.dumps(asdict(job))]
    environ = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if job.row not in OURS:
        environ |= memory
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environ,
    )
    row = Row(job.row, process, patience)
    print(f"{job.row} ...", end=" ", flush=True)
    row.ready = row.hear()
    said = row.error or f"ready after {row.ready['seconds_ready']:.1f} s"
    print(said, flush=True)
    return row


def ratio(row: Row, peer: Row) -> float:
    """Median over rounds of one row's speed over another's."""
    pairs = zip(row.speeds, peer.speeds, strict=True)
    return statistics.median(a / b for a, b in pairs)


def measure(rows: list[Row], rounds: int) -> None:
    """Lets all rows compute in turn; one that fails says why and takes part no more."""
    for row in rows:
        row.speeds.clear()
    for turn in range(TURNS_BEFORE + rounds):
        for row in rows:
            if row.error:
                continue
            answer = row.ask("turn")
            if row.error:
                print(f"{row.name} gave up: {row.error}", flush=True)
            elif turn >= TURNS_BEFORE:
                row.speeds.append(answer["speed"])


def fastest(rows: list[Row]) -> Row | None:
    """The row of the highest median speed, or None if there is none."""
    return max(rows, key=lambda row: statistics.median(row.speeds), default=None)


def report(rows: list[Row], goal: float) -> dict[str, Any]:
    """Prints the table of a run, against the goal for the last line; returns it."""
    rows = [row for row in rows if not row.error]
    ours = [row for row in rows if row.name in OURS]
    peers = [row for row in rows if row.name not in OURS]
    best = fastest(peers)
    peaks = {
        dtype: max((row.ready["peak"][dtype] for row in rows), default=0)
        for dtype in ("float32", "bfloat16")
    }
    peak = max(peaks.values())
    flops = max((row.ready.get("flops", 0) for row in rows), default=0)
    heads = ("images/s", "x best peer", "of peak", "ready (s)", "memory (GiB)")
    print("\n" + " " * 20 + "".join(f"{head:>13}" for head in heads))
    lines = []
    for row in rows:
        speed = statistics.median(row.speeds)
        line = {
            "name": row.name,
            "images_per_second": speed,
            "range": [min(row.speeds), max(row.speeds)],
            "times_best_peer": ratio(row, best) if best else None,
            "share_of_peak": speed * flops / peak if flops else None,
            "seconds_ready": row.ready["seconds_ready"],
            "peak_memory_bytes": row.ask("memory").get("memory"),
        }
        lines.append(line)
        cells = (
            f"{speed:.1f}",
            f"{line['times_best_peer']:.2f}" if best else "-",
            f"{line['share_of_peak']:.2f}" if flops else "-",
            f"{line['seconds_ready']:.1f}",
            f"{(line['peak_memory_bytes'] or 0) / 2**30:.2f}",
        )
        print(f"{row.name:20}" + "".join(f"{cell:>13}" for cell in cells))
    said = ", ".join(f"{dtype} {peaks[dtype] / 1e9:.0f}" for dtype in peaks)
    print(f"fastest matrix product, GFLOP/s: {said}")
    half = [row for row in peers if "bf16" in row.name]
    single = [row for row in peers if row not in half]
    goals = {}
    for text, peer in (
        ("the best float32 peer", fastest(single)),
        ("the best bfloat16 peer", fastest(half)),
        ("the best peer", best),
    ):
        if (our := fastest(ours)) and peer:
            times = goals[text] = ratio(our, peer)
            verdict = "met" if times >= goal else "MISSED"
            print(
                f"{our.name} is {times:.2f} x {text}, {peer.name}"
                f" (goal {goal}: {verdict})"
            )
    print(flush=True)
    return {"rows": lines, "matmul_flops": peaks, "times": goals}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=("resnet50", "vit_b16"), default="resnet50")
    parser.add_argument("--image-size", type=int, default=32, help="default 32 pixels")
    parser.add_argument("--batch", type=int, default=128, help="default 128 images")
    parser.add_argument(
        "--dtype",
        default="float32,bfloat16",
        help="of our rows' computation, with commas; default float32,bfloat16",
    )
    parser.add_argument("--rows", default="", help="only rows whose name holds this")
    parser.add_argument("--rounds", type=int, default=7, help="in a run; default 7")
    parser.add_argument("--runs", type=int, default=1, help="tables; default 1")
    parser.add_argument(
        "--patience",
        type=int,
        default=300,
        help="seconds until a row that does not answer is given up; default 300",
    )
    parser.add_argument(
        "--torch-python",
        default=sys.executable,
        help="interpreter with PyTorch, if another environment has it",
    )
    parser.add_argument("--out", type=Path, help="file for the numbers, JSON")
    parser.add_argument(
        "--peer-memory",
        choices=("kept", "installed"),
        default="kept",
        help="whether peers keep their memory as ours does; default kept",
    )
    parsed = parser.parse_args()
    if min(parsed.rounds, parsed.runs, parsed.batch, parsed.image_size) < 1:
        parser.error("--rounds, --runs, --batch and --image-size must be at least 1")
    if not set(parsed.dtype.split(",")) <= {"float32", "bfloat16"}:
        parser.error(f"--dtype={parsed.dtype} must be of float32 and bfloat16")
    names = [f"lion_jax {dtype}" for dtype in parsed.dtype.split(",")]
    names += ["flax example"] if parsed.model == "resnet50" else []
    elsewhere = parsed.torch_python != sys.executable
    if elsewhere or importlib.util.find_spec("torch"):
        names += TORCH_MODES
    else:
        print("PyTorch is not installed: no rows for it")
    job = Job("", parsed.model, parsed.image_size, parsed.batch)
    chosen = [n for n in names if parsed.rows in n or n in OURS]
    rows = [
        start(
            replace(job, row=name),
            parsed.patience,
            parsed.torch_python if name in TORCH_MODES else sys.executable,
            KEPT_MEMORY if parsed.peer_memory == "kept" else {},
        )
        for name in chosen
    ]
    tables = []
    for _ in range(parsed.runs):
        measure(rows, parsed.rounds)
        tables.append(report(rows, GOALS[parsed.model]))
    for row in rows:
        row.process.kill()
    if parsed.out:
        from lion_jax import environment

        record = {"model": parsed.model, "image_size": parsed.image_size}
        record |= {"batch": parsed.batch, "environment": environment.describe()}
        record |= {"peer_memory": parsed.peer_memory}
        record["xla_flags"] = {row.name: row.ready.get("xla_flags") for row in rows}
        versions = {row.name: row.ready.get("version", row.error) for row in rows}
        record |= {"versions": versions, "tables": tables}
        parsed.out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
