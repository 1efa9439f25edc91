"""The comparison that needs a GPU, in as many calls as it takes.

    python benchmarks/gpu_campaign.py --budget 580 --out results/gpu

In this order: the four original pairs at 224 pixels with the original protocol, one
seed each; the four tuned recipes, one seed each; then five seeds of each; then 25. What
an earlier call finished is in --out and is not made again; when the budget is over, the
run under way is told to save, and the next call goes on with it if its checkpoints are
still in --out. After each step the reports are made anew. Needs no network: the data
come from the verified cache (python -m lion_jax.data prepare). Further flags,
--config.<field>=<value>, are set in every configuration.
"""

import argparse
import signal
import subprocess
import sys
import time
from pathlib import Path

CONFIGS = Path(__file__).parents[1] / "configs"
PAIRS = ("resnet50_lion", "resnet50_adamw", "vitb16_lion", "vitb16_adamw")
KINDS = {"original": PAIRS, "tuned": tuple(f"{name}_tuned" for name in PAIRS)}
SEEDS = (1, 5, 25)
LEAST = 10  # seconds; less is no time to begin anything
GRACE = 60  # seconds that a run may take to save and end


def compare(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lion_jax.compare", *arguments]


def run_for(command: list[str], seconds: float) -> bool:
    """Runs a command, and tells it to save and end after some seconds.

    Returns:
      Whether all is well: it ended by itself without an error, or as it was told.
    """
    process = subprocess.Popen(command)
    try:
        return process.wait(seconds) == 0
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(GRACE)
    except subprocess.TimeoutExpired:  # within a long compilation: nothing is lost
        process.kill()
        process.wait()
    return process.returncode in (
        0,
        128 + signal.SIGTERM,
        -signal.SIGTERM,
        -signal.SIGKILL,
    )


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budget", type=float, required=True, help="seconds")
    parser.add_argument("--out", type=Path, required=True, help="folder of the records")
    parser.add_argument("--kinds", default=",".join(KINDS), help="original,tuned")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="1,5,25")
    parsed, overrides = parser.parse_known_args(argv)
    kinds = parsed.kinds.split(",")
    if unknown := [kind for kind in kinds if kind not in KINDS]:
        parser.error(f"--kinds={parsed.kinds}: {unknown[0]!r} is none of {[*KINDS]}")
    end = time.monotonic() + parsed.budget
    for seeds in parsed.seeds.split(","):
        for kind in kinds:
            left = end - time.monotonic()
            if left < LEAST:
                print("the budget is over")
                return 0
            paths = ",".join(str(CONFIGS / f"{name}.py") for name in KINDS[kind])
            where = f"--out={parsed.out / kind}"
            print(f"--- {kind}, {seeds} seeds, {left:.0f} s left", flush=True)
            command = compare(
                *("run", f"--configs={paths}", f"--seeds={seeds}", where),
                *(f"--time_limit={left}", *overrides),
            )
            well = run_for(command, left)
            if any((parsed.out / kind).glob("records/*/*.json")):
                subprocess.run(compare("report", where), check=True)
            if not well:
                print(f"{kind} ended with an error")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
