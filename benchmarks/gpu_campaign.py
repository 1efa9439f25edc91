"""All that a GPU is needed for, in order, in as many calls as it takes.

    python benchmarks/gpu_campaign.py --budget 580 --out results/gpu

Stages, each bounded in time, each writing its record in --out at once:
  modes     every mode of training and optimizer against a CPU (gpu_modes.py)
  tests     the optimizer's own tests on the GPU
  speed     step times against their predictions (gpu_speed.py)
  step      the optimizer's step beside Optax's and PyTorch's (optimizer_step.py)
  peers     training steps beside PyTorch (train_step.py)
  original  the two original pairs with the original protocol
  tuned     the two tuned pairs

A stage whose record is there is not made again; a stage that fails does not stop the
next. When the budget is over, the runs under way are told to save, and the next call
goes on with them if their checkpoints are still in --out. The pairs are trained with
one seed, then with five, then with 25; with --workers, as many processes share the
seeds of a pair, which pays where a step is too small for the GPU. Needs no network: the
data come from the verified cache (python -m lion_jax.data prepare). Further flags,
--config.<field>=<value>, are set in every configuration that is trained, and in those
of speed. Exit status 1: a stage failed.
"""

import argparse
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
CONFIGS = HERE.parent / "configs"
TESTS = HERE.parent / "tests"
MODELS, OPTIMIZERS = ("resnet50", "vitb16"), ("lion", "adamw")
ENDINGS = {"original": "", "tuned": "_tuned"}  # of the configurations' names
MEASURED = ("modes", "tests", "speed", "step", "peers")
STAGES = (*MEASURED, *ENDINGS)
SEEDS = (1, 5, 25)
OPTIMIZER_TESTS = ("lion", "in_place", "int8", "variants", "bf16", "optimizers")
LEAST = 10  # seconds; less is no time to begin anything
GRACE = 60  # seconds that a run may take to save and end
ENDED = (0, 128 + signal.SIGTERM, -signal.SIGTERM, -signal.SIGKILL)


def compare(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lion_jax.compare", *arguments]


def run_for(commands: Sequence[list[str]], seconds: float) -> bool:
    """Runs commands at once, and tells them to save and end after some seconds.

    Returns:
      Whether all is well: they ended by themselves without an error, or as told.
    """
    share = f"{0.9 / len(commands):.2f}"  # of the GPU's memory
    environ = os.environ | {"XLA_PYTHON_CLIENT_MEM_FRACTION": share}
    environ |= {"LION_JAX_TEST_PLATFORMS": ""}  # tests take what JAX finds, too
    processes = [subprocess.Popen(command, env=environ) for command in commands]
    end, told = time.monotonic() + seconds, False
    for process in processes:
        try:
            process.wait(max(0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            told = True
    for process in processes if told else ():
        process.send_signal(signal.SIGTERM)
    end = time.monotonic() + GRACE
    for process in processes:
        try:
            process.wait(max(0, end - time.monotonic()))
        except subprocess.TimeoutExpired:  # within a long compilation: nothing is lost
            process.kill()
            process.wait()
    allowed = ENDED if told else (0,)
    return all(process.returncode in allowed for process in processes)


def measurements(
    stage: str, out: Path, quick: bool, rest: list[str]
) -> dict[Path, tuple[list[str], float]]:
    """Returns commands and their seconds at most by the records that they write."""

    def script(name: str, *arguments: str) -> list[str]:
        return [sys.executable, str(HERE / f"{name}.py"), *arguments]

    few = ["--rounds=1"] if quick else []
    if stage == "modes":
        some = ["--modes=float32"] if quick else []
        record = out / "modes.json"
        return {record: (script("gpu_modes", f"--out={record}", *some), 240)}
    if stage == "tests":
        record = out / "tests.xml"
        names = OPTIMIZER_TESTS[:1] if quick else OPTIMIZER_TESTS
        files = [str(TESTS / f"test_{name}.py") for name in names]
        # A plug-in that happens to be installed may warn, which is an error else.
        plain = ["-q", "-n8", "-W", "default"]
        command = [sys.executable, "-m", "pytest", *plain, *files]
        return {record: ([*command, "--tb=line", f"--junit-xml={record}"], 200)}
    if stage == "speed":
        record = out / "speed.json"
        some = ["--cases=resnet50_lion_tuned"] if quick else []
        arguments = [f"--out={record}", "--budget=490", *some, *rest]
        return {record: (script("gpu_speed", *arguments), 500)}
    if stage == "step":
        record = out / "optimizer_step.json"
        tree = ["--tree=resnet50"] if quick else []
        arguments = [f"--out={record}", *tree, *few]
        return {record: (script("optimizer_step", *arguments), 120)}
    found = {}
    for model in ("resnet50", "vit_b16"):
        record = out / f"train_step_{model}.json"
        size, batch = ("32", "4") if quick else ("224", "256")
        sizes = [f"--image-size={size}", f"--batch={batch}", *(few or ["--rounds=3"])]
        arguments = [f"--model={model}", *sizes, "--dtype=bfloat16", "--rows=bf16"]
        arguments += ["--patience=150"]
        found[record] = script("train_step", *arguments, f"--out={record}"), 240
    return found


def train(
    pair: list[str],
    seeds: int,
    out: Path,
    seconds: float,
    workers: int,
    rest: list[str],
) -> bool:
    """Trains a pair of configurations and reports it; returns whether all is well.

    Args:
      pair: The configurations' paths.
      seeds: How many.
      out: The comparison's folder.
      seconds: At most; runs under way save and end then.
      workers: Processes that share the seeds. Each is a comparison of its own in
        `parts`, whose records are copied into the whole.
      rest: Further flags.
    """
    end = time.monotonic() + seconds
    if workers > 1:  # else each would compile what the others do
        dry = [sys.executable, "-m", "lion_jax.train", "--dry_run", *rest]
        if not run_for([[*dry, f"--config={path}"] for path in pair], seconds):
            return False
    commands, parts = [], []
    ends = [i * seeds // workers for i in range(workers + 1)]
    for share in (range(*x) for x in itertools.pairwise(ends) if x[0] < x[1]):
        part = out / "parts" / f"seeds_{share[0]}_to_{share[-1]}"
        copy_records(out, part, share)
        left = end - time.monotonic()
        flags = [f"--configs={','.join(pair)}", f"--out={part}"]
        flags += [f"--seeds={len(share)}", f"--first_seed={share[0]}"]
        # What is begun in the last tenth would hardly end.
        flags += [f"--time_limit={0.9 * left}", *rest]
        commands.append(compare("run", *flags))
        parts.append((part, share))
    well = run_for(commands, end - time.monotonic())
    for part, share in parts:
        copy_records(part, out, share)
    if any(out.glob("records/*/*.json")):
        report = compare("report", f"--out={out}")
        well = subprocess.run(report).returncode == 0 and well
    return well


def copy_records(source: Path, target: Path, seeds: Sequence[int]) -> None:
    """Copies the records of some seeds from one comparison's folder to another's.

    With them goes what was requested, without which a report takes what is there for
    all that was planned.
    """
    own = source.glob("records/*/seed_*.json")
    paths = [x for x in own if int(x.stem.removeprefix("seed_")) in seeds]
    for path in [*paths, *source.glob("campaigns/*.json")]:
        copy = target / path.relative_to(source)
        if not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def chosen(parser: argparse.ArgumentParser, flag: str, text: str, of: Sequence[str]):
    """Returns the parts of a flag with commas, all of which must be known."""
    parts = text.split(",")
    if unknown := [part for part in parts if part not in of]:
        parser.error(f"--{flag}={text}: {unknown[0]!r} is none of {', '.join(of)}")
    return parts


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--budget", type=float, required=True, help="seconds")
    parser.add_argument("--out", type=Path, required=True, help="folder of the records")
    parser.add_argument("--stages", default=",".join(STAGES), help="default: all")
    parser.add_argument("--models", default=",".join(MODELS), help="default: both")
    parser.add_argument("--seeds", default=",".join(map(str, SEEDS)), help="1,5,25")
    parser.add_argument("--workers", type=int, default=1, help="of a pair's seeds")
    parser.add_argument("--quick", action="store_true", help="tiny: a trial on a CPU")
    parsed, rest = parser.parse_known_args(argv)
    stages = chosen(parser, "stages", parsed.stages, STAGES)
    models = chosen(parser, "models", parsed.models, MODELS)
    end, failed = time.monotonic() + parsed.budget, list[str]()
    parsed.out.mkdir(parents=True, exist_ok=True)

    def left() -> float:
        return end - time.monotonic()

    for stage in (x for x in MEASURED if x in stages):
        found = measurements(stage, parsed.out, parsed.quick, rest)
        for record, (command, most) in found.items():
            # Cases of speed are skipped one by one.
            if record.exists() and stage != "speed":
                print(f"{record} is there")
            elif left() > LEAST:
                print(f"--- {record.stem}, {left():.0f} s left", flush=True)
                if not run_for([command], min(most, left())):
                    failed.append(record.stem)
    jobs = [
        (int(seeds), kind, model)
        for seeds in parsed.seeds.split(",")
        for kind in ENDINGS
        for model in models
        if kind in stages
    ]
    for seeds, kind, model in jobs:
        if left() < LEAST:
            print("the budget is over")
            break
        name = f"{kind}_{model}"
        print(f"--- {name}, {seeds} seeds, {left():.0f} s left", flush=True)
        names = [f"{model}_{optimizer}{ENDINGS[kind]}" for optimizer in OPTIMIZERS]
        pair = [str(CONFIGS / f"{x}.py") for x in names]
        where = parsed.out / name
        if not train(pair, seeds, where, left(), parsed.workers, rest):
            failed.append(name)
    for stage in failed:
        print(f"{stage} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
