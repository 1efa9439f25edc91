"""Campaigns that several processes divide: shards, locks, status, what is missing.

Nothing is trained here but in the tests at the end: a run's record is made up.
"""

import contextlib
import dataclasses
import errno
import io
import itertools
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import kills
import pytest
from command_line import ending
from rich.console import Console
from small_runs import build_once, small_config

from lion_jax import compare, identity
from lion_jax.compare import __main__ as command
from lion_jax.compare import (
    analysis,
    api,
    campaign,
    compiled,
    making,
    records,
    reports,
    requested,
    shards,
    status,
    unfinished,
)
from lion_jax.compare.flags import RunFlags, paths
from lion_jax.compare.shards import Shard
from lion_jax.config import ConfigError
from lion_jax.flags import CommandLine
from lion_jax.training import locks, metrics, run_folder
from lion_jax.training.program import Program

LAUNCH = Path(__file__).parents[1] / "launch"
OLD = Path(__file__).parent / "data" / "version_0_1" / "compare"
HERE = socket.gethostname()
LABELS = ["tiny_lion", "tiny_adamw"]


def configurations():
    both = [small_config(name=name) for name in LABELS]
    both[1].optimizer.name = "adamw"
    return both


@pytest.fixture
def made(monkeypatch):
    """Makes records up; returns the list of the runs that are made."""
    found = []
    old = records.read(OLD / "records/tiny/seed_0.json")

    def make(run, program, seconds, show):
        found.append((run.point.label, run.seed))
        values = {"label": run.point.label, "seed": run.seed, "config": run.config}
        result = dataclasses.replace(old.result, seed=run.seed)
        return dataclasses.replace(old, **values, result=result)

    monkeypatch.setattr(making, "_made", make)
    monkeypatch.setattr(campaign, "images_of", lambda _: 1)
    monkeypatch.setattr(campaign.environment, "describe", dict)
    monkeypatch.setattr(campaign, "build", lambda _: (object.__new__(Program), 0.0))
    return found


def run(out, seeds=3, shard=(0, 1), **options):
    """Runs the campaign; returns whether nothing is missing, and what it prints."""
    text = io.StringIO()
    console = Console(file=text, width=1000)
    complete = compare.run(
        configurations(), out, seeds=seeds, shard=shard, console=console, **options
    )
    return complete, text.getvalue()


def there(out):
    return {(r.label, r.seed) for r in records.read_all(out)}


def lock_of(out, label, seed):
    return unfinished.folder_of(out, label, seed) / run_folder.LOCK


def every_run(seeds):
    return [*itertools.product(LABELS, range(seeds))]


# --------------------------------------------------------------------------- the rule


@pytest.mark.parametrize("by", shards.BY)
def test_shards_divide_the_whole_list_and_keep_their_runs_as_it_grows(by):
    for count, things in itertools.product((1, 2, 3, 5, 8), ("a", "ab", "abc")):
        parts = [Shard(i, count, by).own(range(7), things) for i in range(count)]
        whole = [(thing, seed) for seed in range(7) for thing in things]
        assert sorted(itertools.chain(*parts)) == sorted(whole)
        assert len(set(itertools.chain(*parts))) == len(whole)
        unit = len(things) if by == "seed" else 1
        assert max(map(len, parts)) - min(map(len, parts)) <= unit
        for shard, part in enumerate(parts):
            assert part == [r for r in whole if r in part]  # in the campaign's order
            longer = Shard(shard, count, by).own(range(20), things)
            assert longer[: len(part)] == part


def test_run_k_belongs_to_shard_k_mod_n():
    assert Shard(1, 3).own([0, 1, 2], "ab") == [("b", 0), ("a", 2)]  # k = 1, 4
    assert Shard(1, 3, "seed").own([5, 6, 7, 8, 9], "ab") == [
        *(("a", 6), ("b", 6), ("a", 9), ("b", 9))
    ]


def test_pairs_are_split_by_run_and_stay_together_by_seed():
    for count in range(2, 9):
        for by, together in ("run", 0), ("seed", 25):
            parts = [Shard(i, count, by).own(range(25), "ab") for i in range(count)]
            pairs = [
                seed
                for seed, part in itertools.product(range(25), parts)
                if {("a", seed), ("b", seed)} <= {*part}
            ]
            assert len(pairs) == together
            alone = any(len({thing for thing, _ in part}) == 1 for part in parts)
            assert Shard(0, count, by).splits_optimizers(2) == alone
    assert Shard(0, 4).splits_optimizers(6)  # 3 of 6 each
    assert not Shard(0, 5).splits_optimizers(6)


@pytest.mark.parametrize("text", ["x", "1", "1/0", "3/2", "8/8", "-1/2", "1/2/3", "/8"])
def test_what_is_no_shard_is_refused_with_the_rule(text):
    with pytest.raises(ConfigError, match=r"0 <= I < N.*; give --shard=0/8 for"):
        shards.parse(text)
    assert shards.parse("") == shards.parse("0/1") == shards.WHOLE


def test_python_refuses_shards_that_are_none(tmp_path):
    with pytest.raises(ConfigError, match=r"--shard=2/2, but it must be I/N"):
        run(tmp_path / "out", shard=(2, 2))
    with pytest.raises(ConfigError, match=r"shard_by='pair', .* run or seed"):
        run(tmp_path / "out", shard=(0, 2), shard_by="pair")
    assert not (tmp_path / "out").exists()


# ----------------------------------------------------------------------- their runs


@pytest.mark.parametrize("by", shards.BY)
def test_shards_make_their_own_runs_whatever_is_there(tmp_path, made, by):
    out = tmp_path / "out"
    for index in 2, 0, 1:
        made.clear()
        complete, said = run(out, shard=(index, 3), shard_by=by)
        assert complete
        assert f"2 configurations x 3 seeds, shard {index}/3 by {by}: 0 done" in said
        assert made == Shard(index, 3, by).own(range(3), LABELS)
    assert there(out) == {*every_run(3)}
    assert len([*(out / requested.FOLDER).iterdir()]) == 1
    assert not (out / campaign.UNFINISHED).exists()
    assert run(out)[1].startswith("2 configurations x 3 seeds: 6 done, 0 remaining")


def test_a_note_is_given_where_each_shard_has_one_optimizer(tmp_path, made):
    assert campaign.SPLIT in run(tmp_path / "out", shard=(0, 2))[1]
    for options in {"shard": (0, 3)}, {"shard": (0, 2), "shard_by": "seed"}, {}:
        assert campaign.SPLIT not in run(tmp_path / "other", **options)[1]


def test_one_shard_is_one_processs_and_others_go_on_beside_it(tmp_path, made):
    out = tmp_path / "out"
    with shards.locked(Shard(0, 2), out):
        said = rf"shard 0/2 of .* is in use by process {os.getpid()} on {HERE} since"
        with pytest.raises(run_folder.InUseError, match=rf"{said} .*Z; wait for it"):
            run(out, shard=(0, 2))
        assert made == []
        assert run(out, shard=(1, 2))[0]
        assert run(out)[0]  # the whole campaign: its lock is another
    assert sorted(made) == sorted(every_run(3))
    assert run(out, shard=(0, 2))[0]


# ------------------------------------------------------------- beside other processes


def test_runs_that_others_hold_are_left_to_them_with_a_line(tmp_path, made):
    out, text = tmp_path / "out", "tiny_adamw, seed 0"
    with locks.held(lock_of(out, "tiny_adamw", 0)):
        complete, said = run(out)
    assert not complete
    holder = rf"process {os.getpid()} on {HERE} since \S+Z"
    assert re.search(rf"^{text} is left to {holder}, which holds it$", said, re.M)
    assert re.search(
        rf"^held by other processes: {text} \({holder}\); rerun", said, re.M
    )
    assert {*made} == {*every_run(3)} - {("tiny_adamw", 0)}
    complete, said = run(out)  # the remedy
    assert complete
    assert "held" not in said
    assert made[-1] == ("tiny_adamw", 0)
    assert len(made) == 6


def test_a_run_whose_holder_ends_meanwhile_is_made_in_the_end(tmp_path, made):
    held = locks.held(lock_of(tmp_path / "out", "tiny_lion", 0))
    held.__enter__()

    def release(record):
        if record.seed == 1:
            held.__exit__(None, None, None)
            assert made[0] == ("tiny_adamw", 0)

    complete, said = run(tmp_path / "out", on_run=once(release))
    assert complete
    assert "tiny_lion, seed 0 is left to process" in said
    assert "[6/6] tiny_lion, seed 0: " in said
    assert "held by" not in said
    assert made[-1] == ("tiny_lion", 0)


def once(function):
    """The function, at its first call for a seed alone."""
    seen = set()

    def called(record):
        if record.seed not in seen:
            seen.add(record.seed)
            function(record)

    return called


def test_a_run_that_another_process_records_meanwhile_is_not_made_again(tmp_path, made):
    out = tmp_path / "out"

    def record_another(record):
        if record.label == "tiny_lion":
            other = dataclasses.replace(
                record,
                label="tiny_adamw",
                config=identity.resolve(configurations()[1]) | {"seed": record.seed},
            )
            records.write(other, out)

    complete, said = run(out, seeds=2, on_run=record_another)
    assert complete
    assert made == [("tiny_lion", 0), ("tiny_lion", 1)]
    assert "[4/4] tiny_adamw, seed 1: made by another process" in said


def test_a_record_that_appears_before_the_lock_is_taken_is_kept(
    tmp_path, made, monkeypatch
):
    """The other process ends between the question for its record and the lock."""
    out = tmp_path / "out"
    run(out, seeds=1)
    paths = [records.path_of(out, label, 0) for label in LABELS]
    kept = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    occupied = run_folder.occupied

    @contextlib.contextmanager
    def recorded_before(folder, config):
        path, content = paths.pop(0), kept.pop(0)
        path.write_bytes(content)
        with occupied(folder, config):
            yield
        assert path.read_bytes() == content

    monkeypatch.setattr(run_folder, "occupied", recorded_before)
    made.clear()
    complete, said = run(out, seeds=1)
    assert complete
    assert made == kept == []
    assert "[1/2] tiny_lion, seed 0: made by another process" in said
    assert "0 done, 2 remaining" in said
    assert not (out / campaign.UNFINISHED).exists()


def test_a_holder_that_comes_while_a_program_is_built_is_respected(
    tmp_path, made, monkeypatch
):
    out, holders = tmp_path / "out", []

    def build(config):
        if not holders:
            holders.append(locks.held(lock_of(out, config.name, 0)))
            holders[0].__enter__()
        return object.__new__(Program), 0.0

    monkeypatch.setattr(campaign, "build", build)
    complete, said = run(out, seeds=1)
    assert not complete
    assert "tiny_lion, seed 0 is left to process" in said
    assert made == [("tiny_adamw", 0)]
    holders[0].__exit__(None, None, None)


def test_a_folder_that_is_being_removed_is_no_run_of_another_configuration(
    tmp_path, made
):
    """Its record is there, since that is written first."""
    out = tmp_path / "out"
    points = campaign.plan(configurations(), lambda config, _: config, {})
    run(out, seeds=1)
    folder = unfinished.folder_of(out, "tiny_lion", 0)
    folder.mkdir(parents=True)
    (folder / run_folder.RESULT).write_text("{}")  # its config.json is gone already
    path = records.path_of(out, "tiny_lion", 0)
    path.rename(tmp_path / "kept")
    with pytest.raises(run_folder.RunFolderError, match=r"but no config.json"):
        campaign.check(points, range(1), out)
    check = run_folder.check

    def recorded_meanwhile(*arguments, **options):
        (tmp_path / "kept").rename(path)
        check(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "check", recorded_meanwhile)
        campaign.check(points, range(1), out)
    assert [*unfinished.folders(out)] == []


def test_empty_folders_are_removed_and_others_are_left(tmp_path):
    one, two = (unfinished.folder_of(tmp_path, "a", seed) for seed in (0, 1))
    for folder in one, two:
        folder.mkdir(parents=True)
    unfinished.remove(tmp_path, one)
    unfinished.remove(tmp_path, one)  # another process did so
    assert two.exists()
    unfinished.remove(tmp_path, two)
    assert not (tmp_path / campaign.UNFINISHED).exists()


# ------------------------------------------------------------------------------ locks


def test_a_lock_names_host_process_and_time_while_it_is_held(tmp_path):
    path = tmp_path / "new" / ".lock"
    assert locks.is_held(path) is False
    with locks.held(path):
        holder = locks.read(path)
        assert (holder.process, holder.host) == (os.getpid(), HERE)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", holder.since)
        assert locks.is_held(path) is True
        with pytest.raises(locks.HeldError, match=str(holder)), locks.held(path):
            pass
        assert locks.read(path) == holder
    assert locks.is_held(path) is False
    assert locks.read(path) is None


def test_a_lock_of_another_host_is_taken_with_a_warning(tmp_path, caplog):
    path = tmp_path / ".lock"
    path.write_text("process 7 on elsewhere since 2026-01-02T03:04:05Z\n")
    assert locks.is_held(path) is None
    with caplog.at_level("WARNING", "lion_jax"), locks.held(path):
        assert locks.read(path).host == HERE
    assert "names process 7 on elsewhere since 2026-01-02T03:04:05Z" in caplog.text
    path.write_text(f"process 7 on {HERE} since 2026-01-02T03:04:05Z\n")
    caplog.clear()
    with locks.held(path):  # of this host it is known that it has ended
        pass
    assert not caplog.records


def test_a_disk_without_locks_knows_no_holder(tmp_path, monkeypatch):
    import fcntl

    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    (tmp_path / ".lock").touch()
    monkeypatch.setattr(fcntl, "flock", flock)
    assert locks.is_held(tmp_path / ".lock") is None


def test_a_lock_file_that_was_removed_meanwhile_is_made_anew(tmp_path, monkeypatch):
    import fcntl

    flock, folder = fcntl.flock, tmp_path / "run"
    removed = []

    def removing(file, how):
        if not removed:
            removed.append(shutil.rmtree(folder))
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", removing)
    with locks.held(folder / ".lock"):
        assert removed
        monkeypatch.undo()
        assert locks.is_held(folder / ".lock") is True


# ----------------------------------------------------------------- status and report


def shown(out):
    """The lines of `compare status`."""
    code, errors, text = ending(["status", f"--out={out}"], command)
    assert (code, errors) == (0, "")
    return text.splitlines()


def test_status_counts_runs_and_names_who_works_on_what(tmp_path, made):
    out = tmp_path / "out"
    for index in (0, 3):
        run(out, seeds=4, shard=(index, 8))
    run(out, seeds=3, shard=(0, 8))  # a shorter list adds nothing
    config = {"epochs": 5}
    for seed, label in (0, "tiny_adamw"), (1, "tiny_lion"), (2, "tiny_lion"):
        folder = unfinished.folder_of(out, label, seed)
        folder.mkdir(parents=True)
        run_folder.write_json(folder / run_folder.CONFIG, config)
    old = records.read(OLD / "records/tiny/seed_0.json")
    metrics.rewrite(folder, old.epochs)
    lock_of(out, "tiny_lion", 1).write_text("process 7 on elsewhere since then\n")
    lock_of(out, "tiny_lion", 2).write_text(f"process 7 on {HERE} since then\n")
    with locks.held(lock_of(out, "tiny_adamw", 0)), shards.locked(Shard(1, 8), out):
        lines = shown(out)
        values = json.loads(ending(["status", f"--out={out}", "--json"], command)[2])
    assert [
        re.sub(r"process \d\d+ on \S+ since \S+", "US", line) for line in lines
    ] == [
        "2 of 8 runs are there.",
        "configuration  done  diverged  missing seeds",
        "tiny_adamw      1/4         0  0, 2-3",
        "tiny_lion       1/4         0  1-3",
        "begun:",
        "  tiny_adamw, seed 0: US",
        "  tiny_lion, seed 1: process 7 on elsewhere since then, as its lock says",
        f"  tiny_lion, seed 2, {len(old.epochs)} of 5 epochs: held by nobody;"
        f" process 7 on {HERE} since then has ended",
        "shards:",
        "  1/8 by run: US",
        "shards with missing runs, not at work: "
        + ", ".join(f"{i}/8 by run" for i in (2, 4, 5, 6, 7)),
    ]
    assert (values["runs_there"], values["runs_missing"]) == (2, 6)
    assert values["missing"] == {"tiny_adamw": [0, 2, 3], "tiny_lion": [1, 2, 3]}
    assert [work["at_work"] for work in values["unfinished"]] == [True, None, False]
    assert values["shards"][0]["holder"]["process"] == os.getpid()


def test_status_of_the_whole_campaign_while_it_is_at_work(tmp_path, made):
    out, seen = tmp_path / "out", []
    run(out, seeds=1, on_run=lambda _: seen.append(status.as_text(status.read(out))))
    assert [text.splitlines()[0] for text in seen] == [
        "1 of 2 runs are there.",
        "2 of 2 runs are there.",
    ]
    assert f"shards:\n  all: process {os.getpid()} on" in seen[0]
    assert "shards" not in "".join(shown(out))


def test_status_of_records_whose_campaign_is_not_known(tmp_path):
    out = shutil.copytree(OLD, tmp_path / "out")
    shutil.rmtree(out / requested.FOLDER, ignore_errors=True)
    lines = shown(out)
    count = len(records.read_all(out))
    assert (
        lines[0] == f"{count} runs are there; how many were requested is not recorded."
    )
    code, errors, _ = ending(["status", f"--out={tmp_path / 'none'}"], command)
    assert code == 2
    assert "holds no records; make some with" in errors


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        (run_folder.CONFIG, "", "config.json: Expecting value"),
        (run_folder.CONFIG, '{"optimizer": 1}', "config.json: 1 is no group"),
        (run_folder.RESULT, "{", "result.json: Expecting property"),
        (run_folder.METRICS, "", "metrics.jsonl is there, but no config.json"),
    ],
)
def test_a_damaged_run_is_named_and_hides_no_other(tmp_path, made, name, text, why):
    out = tmp_path / "out"
    run(out, seeds=1)
    for seed in (1, 2):
        folder = unfinished.folder_of(out, "tiny_lion", seed)
        folder.mkdir(parents=True)
    if name == run_folder.RESULT:
        run_folder.write_json(folder / run_folder.CONFIG, {})
    (folder / name).write_text(text)
    lines = shown(out)
    assert lines[0] == "2 of 4 runs are there."
    (line,) = (line for line in lines if "tiny_lion, seed 2" in line)
    assert f"damaged ({why}" in line
    assert f"remove {folder}, and the run begins anew" in line
    if name == run_folder.RESULT:
        config = dataclasses.asdict(configurations()[0])
        run_folder.write_json(folder / run_folder.CONFIG, config | {"seed": 2})
    said = f"{re.escape(f'{folder} is damaged ({why}')}.*; remove that folder"
    with pytest.raises(run_folder.RunFolderError, match=said):
        run(out)
    shutil.rmtree(folder)  # the remedy
    assert run(out)[0]


def test_status_of_a_run_whose_lines_are_none(tmp_path):
    folder = unfinished.folder_of(tmp_path, "a", 0)
    folder.mkdir(parents=True)
    run_folder.write_json(folder / run_folder.CONFIG, {"epochs": 3})
    for text in ("[]", "{}", '{"epoch'):
        (folder / run_folder.METRICS).write_text(text)
        assert "  a, seed 0: held by nobody" in shown(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("labels", None, "its labels are None"),
        ("labels", "LA", "its labels are 'LA'"),
        ("labels", ["L", 3], "its labels are ['L', 3]"),
        ("labels", [""], "its labels are ['']"),
        ("seeds", 3, "its seeds are 3"),
        ("seeds", [0, True], "its seeds are [0, True]"),
        ("seeds", [2**32], f"its seeds are [{2**32}]"),
        ("shards", 1.5, "its shards is 1.5"),
        ("shards", 0, "its shards is 0"),
        ("by", "foo", "its by is 'foo', not run or seed"),
        ("by", [], "its by is [], not run or seed"),
        ("format", "1", "its format is '1', not 1"),
    ],
)
def test_a_damaged_file_of_a_campaign_is_to_be_removed(tmp_path, name, value, rule):
    requested.write(tmp_path, requested.Request(["L"], [0], 1, "run"))
    (path,) = (tmp_path / requested.FOLDER).iterdir()
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    code, errors, _ = ending(["status", f"--out={tmp_path}"], command)
    assert code == 2
    assert f"({rule}); remove it, and the next compare run writes it" in errors


def test_a_campaign_of_a_newer_format_is_not_to_be_removed(tmp_path):
    requested.write(tmp_path, requested.Request(["L"], [0], 1, "run"))
    (path,) = (tmp_path / requested.FOLDER).iterdir()
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(records.RecordError, match=r"has format 2.*upgrade") as refused:
        requested.read_all(tmp_path)
    assert "remove" not in str(refused.value)


def test_a_report_names_the_runs_that_are_missing(tmp_path, made, monkeypatch):
    out, written = tmp_path / "out", []

    def write(runs, folder, options):
        written.append(reports.markdown_of(analysis.analyse(runs, options)))
        return []

    monkeypatch.setattr(reports, "write", write)
    run(out, seeds=2, shard=(0, 3))
    api.report(out)
    run(out, seeds=2)
    api.report(out)
    shutil.rmtree(out / requested.FOLDER)
    api.report(out)
    some, all_there, unknown = written
    assert " 2 of 4 runs are there." in some
    named = "tiny_adamw, seed 0; tiny_lion, seed 1"
    assert f"- **2 of 4 runs are missing: {named}.**" in some
    assert " 4 of 4 runs are there." in all_there
    assert "missing:" not in all_there
    assert "are there" not in unknown


# ---------------------------------------------------------------------------- launch/


@pytest.mark.slow
def test_the_slurm_script_gives_each_task_its_shard_and_the_words():
    script = LAUNCH / "slurm_array.sh"
    env = os.environ | {"SLURM_ARRAY_TASK_ID": "3", "PYTHON": "echo"}
    words = ["bash", script, "--configs", "A.py", "--out", "a folder"]
    for more, shards_there in ({}, 8), ({"SHARDS": "16"}, 16):
        ran = subprocess.run(words, env=env | more, capture_output=True, text=True)
        own = "-m lion_jax.compare run --configs A.py --out a folder --shard"
        assert ran.stdout == f"{own} 3/{shards_there}\n", ran.stderr
    assert "\n#SBATCH --array=0-7\n" in script.read_text()


def test_the_job_of_kubernetes_has_a_pod_for_each_shard():
    text = (LAUNCH / "kubernetes_indexed_job.yaml").read_text()
    (completions,) = re.findall(r"completions: (\d+)", text)
    assert f'--shard "$JOB_COMPLETION_INDEX/{completions}"' in text
    (line,) = re.findall(
        r"exec python -m lion_jax.compare (.*?)\n +resources", text, re.S
    )
    argv = shlex.split(line.replace("$JOB_COMPLETION_INDEX", "7"))
    flags = CommandLine("compare run", RunFlags, argv[1:]).flags
    assert shards.parse(flags.shard) == Shard(7, int(completions))
    assert len(paths(flags.configs)) == 2


# ----------------------------------------------------------------- processes that train


CONFIG = """\
from lion_jax.config import *

def get_config():
    return Config(
        name="tiny_lion", epochs=1, batch_size=64, eval_batch_size=64, image_size=28,
        devices=1, data=DataConfig(name="fashion_mnist_sample"),
        model=ModelConfig(name="resnet_nano"), augment=AugmentConfig(flip=True),
        optimizer=OptimizerConfig(name="lion", learning_rate=1e-3),
        early_stopping=EarlyStoppingConfig(patience=0))
"""


def started(argv, where="loop._end_epoch", calls=10**6):
    """A process that runs the command, on a few images."""
    job = kills.job(where, calls, *argv)
    return subprocess.Popen(
        [sys.executable, kills.__file__, job],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_killed_shard_goes_on_beside_the_whole_campaign(
    tmp_path, kill, small_data, monkeypatch, capsys
):
    """A process and this one in one folder, after a third was killed there."""
    monkeypatch.setattr(command.runtime, "start", lambda *_, **__: None)
    monkeypatch.setattr(compiled, "Program", build_once)
    (tmp_path / "lion.py").write_text(CONFIG)
    out = tmp_path / "out"
    argv = ["run", "--configs", str(tmp_path / "lion.py"), f"--out={out}", "--seeds=3"]
    kill("loop._end_epoch", 1, *argv, "--shard=1/2")
    begun = [(label, seed) for label, seed, _ in unfinished.folders(out)]
    assert begun == [("tiny_lion", 1)]
    text = status.as_text(status.read(out))
    assert "0 of 3 runs are there" in text
    assert re.search(r"seed 1, \d of 1 epochs: held by nobody; process .* ended", text)
    assert "0/2 by run, 1/2 by run" in text
    other = started([*argv, "--shard=1/2"])
    assert command.main(argv) == 0
    outs = [*other.communicate(timeout=300), capsys.readouterr().out]
    assert other.returncode == 0, outs
    trained = [line for line in "".join(outs).splitlines() if ": validation" in line]
    assert len(trained) == 3, outs
    assert there(out) == {("tiny_lion", seed) for seed in range(3)}
    assert not (out / campaign.UNFINISHED).exists()
