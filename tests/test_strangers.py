"""What users of trainers do with a run and its folder: nothing is lost by it."""

import contextlib
import dataclasses
import errno
import importlib.metadata
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console
from small_runs import (
    STEPS,
    assert_same_run,
    interrupt_at,
    run,
    saved_state,
    small_config,
)

from lion_jax import environment, files, identity, interruption, startup, training
from lion_jax.config import Config, ConfigError
from lion_jax.config.reference import REFERENCES
from lion_jax.data import cache
from lion_jax.training import (
    checkpoint,
    console,
    curves,
    experiment,
    interval,
    locks,
    loop,
    manifest,
    metrics,
    places,
    quarantine,
    restored,
    run_folder,
    sharding,
    stored,
)

pytestmark = pytest.mark.usefixtures("small_data")


def goes_on_from(step, folder, whole):
    """Finishes a run; it must resume at the step and end like the undisturbed one."""
    status, said = run(small_config(), folder)
    assert status == 0
    assert f"resumed at step {step}" in said
    assert_same_run(folder, whole)


# ---------------------------------------------------------------------- work is lost


@pytest.mark.parametrize(
    "name", ["exp[lr=1e-3]", "what? ü*", r"back\slash", os.fsdecode(b"l\xe4ufe")]
)
def test_a_folder_with_signs_of_glob_trains_and_restores(tmp_path, whole, name):
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 10)
        run(small_config(), tmp_path / name)
    goes_on_from(STEPS, tmp_path / name, whole)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_first_checkpoint_that_cannot_be_read_back_ends_the_run(
    tmp_path, whole, monkeypatch
):
    """As Orbax alone does it below a folder with brackets."""

    @contextlib.contextmanager
    def plain(folder):
        yield str(folder)

    with monkeypatch.context() as patch:
        patch.setattr(stored, "plain_name", plain)
        said = "first checkpoint was saved, but cannot be read back.*another folder"
        with pytest.raises(checkpoint.CheckpointError, match=said):
            run(small_config(), tmp_path / "a[b]")
    assert run(small_config(), tmp_path / "another")[0] == 0  # the remedy


def test_other_values_read_back_end_the_run(tmp_path, monkeypatch):
    read = stored.read

    def altered(path):
        tree = read(path)
        tree["model"]["params"] = jax.tree.map(lambda x: x + 1, tree["model"]["params"])
        return tree

    with monkeypatch.context() as patch:
        patch.setattr(stored, "read", altered)
        with pytest.raises(checkpoint.CheckpointError, match="has other values"):
            run(small_config(), tmp_path / "run")
    assert [x.name for x in (tmp_path / "run" / "damaged").iterdir()] == [str(STEPS)]
    status, said = run(small_config(), tmp_path / "run")  # resumes from nothing
    assert (status, "resumed" in said) == (0, False)


def test_a_linked_checkpoint_folder_is_resumed_from(two_epochs, whole, tmp_path):
    shutil.move(two_epochs / "checkpoints", tmp_path / "bigger_disk")
    (two_epochs / "checkpoints").symlink_to(tmp_path / "bigger_disk")
    goes_on_from(2 * STEPS, two_epochs, whole)


def test_a_copy_of_configuration_and_checkpoints_alone_is_resumed_from(
    two_epochs, whole, tmp_path, caplog
):
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(two_epochs / "config.json", copy)
    shutil.copytree(two_epochs / "checkpoints", copy / "checkpoints")
    with caplog.at_level("WARNING", "lion_jax"):
        goes_on_from(2 * STEPS, copy, whole)
    assert "12 has no list of checksums" in caplog.text


def test_a_checkpoint_that_cannot_be_read_and_has_no_list_is_kept_aside(
    two_epochs, whole
):
    (two_epochs / "checksums" / "12.json").unlink()
    broken = two_epochs / "checkpoints" / "12" / "model" / "manifest.ocdbt"
    broken.write_bytes(b"")
    goes_on_from(STEPS, two_epochs, whole)
    assert (two_epochs / "damaged" / "12").exists()


def test_files_that_a_system_leaves_are_not_damage(two_epochs, whole):
    step = two_epochs / "checkpoints" / "12"
    for place in (step.parent, step, step / "model"):
        (place / ".DS_Store").write_text("x")
        (place / "._model").write_text("x")
    (step / "@eaDir").mkdir()
    (step / "@eaDir" / "thumb").touch()
    goes_on_from(2 * STEPS, two_epochs, whole)


def test_a_full_by_product_is_warned_of_and_nothing_else(
    tmp_path, whole, monkeypatch, caplog
):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(curves.Events, "_write", full)
    monkeypatch.setattr(curves, "plot", full)
    monkeypatch.setattr(metrics, "append", full)
    with caplog.at_level("WARNING", "lion_jax"):
        assert run(small_config(), tmp_path / "run", drawn=True)[0] == 0
    warned = [record.message.split(" cannot")[0] for record in caplog.records]
    assert warned.count("TensorBoard's event file") == 1
    assert {"curves.png", "metrics.jsonl"} <= {*warned}
    assert_same_run(tmp_path / "run", whole)


def test_a_killed_epoch_goes_on_from_its_last_save_in_between(
    tmp_path, whole, monkeypatch
):
    config = small_config(save_every_minutes=1e-9)
    with monkeypatch.context() as patch:
        end_epoch = loop._end_epoch

        def dying(run, state, epoch):
            if epoch == 2:
                raise RuntimeError("the power is gone")
            return end_epoch(run, state, epoch)

        patch.setattr(loop, "_end_epoch", dying)
        with pytest.raises(RuntimeError, match="power"):
            run(config, tmp_path / "run")
    goes_on_from(2 * STEPS - 1, tmp_path / "run", whole)


def test_states_within_an_epoch_are_saved_when_the_minutes_are_over(monkeypatch):
    now = 0.0
    monkeypatch.setattr(interval, "perf_counter", lambda: now)
    ten, never = interval.Interval(10.0), interval.Interval(0.0)
    assert Config().save_every_minutes == 10
    now = 599.0
    assert not ten.is_over()
    now = 600.0
    assert ten.is_over()
    assert not never.is_over()
    ten.restart()
    assert not ten.is_over()


@pytest.mark.parametrize("name", interruption.DEFERRED)
def test_every_signal_that_ends_a_run_is_deferred(name):
    number = getattr(signal, name)
    # Under nohup the tests themselves ignore SIGHUP.
    outside = signal.signal(number, signal.SIG_DFL)
    try:
        with interruption.caught_signals() as interrupted:
            signal.raise_signal(number)
            assert interrupted() == number
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        signal.signal(number, outside)


def test_a_warning_sent_twice_does_not_kill_and_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with interruption.caught_signals() as interrupted:
            signal.raise_signal(signal.SIGHUP)
            assert not interrupted()
            for _ in range(2):
                signal.raise_signal(signal.SIGUSR1)
            assert interrupted() == signal.SIGUSR1
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_run_in_a_thread_has_no_signals_and_needs_none():
    seen = []

    def work():
        with interruption.caught_signals() as interrupted:
            seen.append(interrupted())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [0]


@contextlib.contextmanager
def standard_output(monkeypatch, encoding="utf-8"):
    """A pipe as the process's output; yields its console and its reading end."""
    read, write = os.pipe()
    with os.fdopen(write, "w", encoding=encoding) as stream:
        monkeypatch.setattr(sys, "__stdout__", stream)
        yield Console(file=stream), read
        with contextlib.suppress(OSError):
            os.close(read)


def test_a_reader_that_goes_away_changes_nothing(monkeypatch):
    with standard_output(monkeypatch) as (terminal, read):
        with console.unfailing(terminal):
            console.printer(terminal)("one line")
            assert os.read(read, 9) == b"one line\n"
            os.close(read)
            for _ in range(3):
                console.printer(terminal)("unread")
                time.sleep(0.05)
        print("by others", file=terminal.file, flush=True)


def test_a_reader_that_does_not_read_holds_nothing_up(monkeypatch):
    monkeypatch.setattr(console, "PATIENCE", 0.1)
    started = time.perf_counter()
    with (
        standard_output(monkeypatch) as (terminal, _),
        console.unfailing(terminal),
    ):
        for _ in range(100):
            console.printer(terminal)("x" * 10_000)  # a pipe holds 65,536
    assert time.perf_counter() - started < 5


def test_what_is_left_unread_goes_to_no_other_file(monkeypatch, tmp_path):
    monkeypatch.setattr(console, "PATIENCE", 0.1)
    with (
        standard_output(monkeypatch) as (terminal, read),
        contextlib.ExitStack() as stack,
    ):
        number = terminal.file.fileno()
        with console.unfailing(terminal):
            for _ in range(100):
                console.printer(terminal)("x" * 10_000)
        terminal.file.close()
        paths = [tmp_path / str(i) for i in range(9)]
        others = [stack.enter_context(path.open("w")) for path in paths]
        assert number in [file.fileno() for file in others]
        assert os.read(read, 100_000)  # the thread goes on
        time.sleep(0.2)
        assert [path.read_text() for path in paths] == [""] * len(paths)


def test_an_ascii_terminal_shows_what_it_can(monkeypatch):
    with standard_output(monkeypatch, "ascii") as (terminal, read):
        with console.unfailing(terminal):
            console.printer(terminal)("Läufe")
        assert os.read(read, 99) == b"L?ufe\n"


def test_other_streams_are_written_at_once_and_may_fail():
    class Broken(io.StringIO):
        def write(self, text):
            raise OSError(errno.EIO, "the terminal is gone")

    terminal = Console(file=Broken())
    with console.unfailing(terminal):
        console.printer(terminal)("lost")
    said = io.StringIO()
    terminal = Console(file=said)
    with console.unfailing(terminal):
        console.printer(terminal)("a line")
        assert said.getvalue() == "a line\n"


def test_a_quarantine_on_another_disk_is_moved_to(two_epochs, whole, monkeypatch):
    largest = max(
        (two_epochs / "checkpoints" / "12").rglob("*"), key=lambda x: x.stat().st_size
    )
    largest.write_bytes(b"")
    rename = os.rename

    def across(source, target, **options):
        if "damaged" in str(target):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(source, target, **options)

    monkeypatch.setattr(os, "rename", across)
    goes_on_from(STEPS, two_epochs, whole)
    assert (two_epochs / "damaged" / "12").is_dir()


@pytest.mark.parametrize("name", ["18_copy", "0012", "²"])
def test_only_a_step_by_its_own_name_is_a_checkpoint(two_epochs, whole, name):
    """As text, 6 is after 12; and people keep copies beside the checkpoints."""
    saves = two_epochs / "checkpoints"
    shutil.copytree(saves / "6", saves / name)
    goes_on_from(2 * STEPS, two_epochs, whole)
    assert (saves / name).is_dir()


def test_many_warnings_of_a_scheduler_do_not_fill_the_disk(tmp_path):
    for calls in (2, 3, 4, 2, 5):
        with pytest.MonkeyPatch.context() as patch:
            interrupt_at(patch, calls, signal.SIGUSR1)
            assert run(small_config(), tmp_path / "run")[0] == 128 + signal.SIGUSR1
    assert len(stored.steps_in(tmp_path / "run" / "checkpoints")) <= 3
    assert len(list((tmp_path / "run" / "checksums").iterdir())) <= 3


@pytest.mark.parametrize("text", ['{"python": ', "[]"])
def test_a_damaged_description_of_the_environment_is_no_hindrance(two_epochs, text):
    (two_epochs / "environment.json").write_text(text)
    status, said = run(small_config(), two_epochs)
    assert status == 0
    assert "warning: " in said
    assert json.loads((two_epochs / "environment.json").read_text())["jax"]


@pytest.mark.parametrize("width", [0, 1])
def test_a_terminal_without_width_shows_a_bar(width):
    terminal = Console(file=io.StringIO(), force_terminal=True, width=width)
    with console.unfailing(terminal), console.progress(terminal, 10) as show:
        show("epoch 1/1", 5)
        console.printer(terminal)("a line")


# ------------------------------------------------------------- wrong without a word


def test_a_folder_of_a_newer_version_says_so(two_epochs):
    saved = json.loads((two_epochs / "config.json").read_text())
    saved["optimizer"]["sharpness"] = 1.0
    (two_epochs / "config.json").write_text(json.dumps(saved))
    said = r"newer version of lion_jax, which has optimizer.sharpness; upgrade"
    for read in (
        lambda: run(small_config(), two_epochs),
        lambda: restored.read_config(two_epochs),
    ):
        with pytest.raises(run_folder.RunFolderError, match=said):
            read()


def test_a_configuration_of_another_program_is_no_newer_version(tmp_path):
    (tmp_path / "config.json").write_text('{"architectures": ["ViT"], "vocab_size": 3}')
    with pytest.raises(run_folder.RunFolderError, match="that is no run's; give anoth"):
        run(small_config(), tmp_path)


def test_the_list_of_commands_may_be_cut_short():
    """As by `| head`; the reader of this pipe is gone before anything is written."""
    read, write = os.pipe()
    os.close(read)
    ran = subprocess.run(
        [sys.executable, "-m", "lion_jax"], stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert (ran.returncode, ran.stderr) == (1, b"")


def test_resuming_under_other_switches_is_reported_and_recorded(two_epochs, whole):
    path = two_epochs / "environment.json"
    before = json.loads(path.read_text())
    assert before["switches"]["jax_default_prng_impl"] == "threefry2x32"
    before["switches"]["jax_default_prng_impl"] = "rbg"
    before["processor"] = "another"
    path.write_text(json.dumps(before))
    _, said = run(small_config(), two_epochs)
    assert "begun under other conditions" in said
    assert "processor ('another' then," in said
    assert "'rbg'" in said
    now = json.loads(path.read_text())
    assert now["earlier"] == [before]
    assert now["switches"]["jax_default_prng_impl"] == "threefry2x32"


def test_the_same_conditions_are_not_reported(two_epochs):
    _, said = run(small_config(), two_epochs)
    assert "warning" not in said
    assert "earlier" not in json.loads((two_epochs / "environment.json").read_text())


def test_the_commit_is_read_without_a_lock_in_the_users_repository(
    tmp_path, monkeypatch
):
    def git(*words):
        author = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", *author, *words], cwd=tmp_path, check=True)

    module = tmp_path / "package" / "environment.py"
    module.parent.mkdir()
    module.write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    monkeypatch.setattr(environment, "__file__", str(module))
    index = (tmp_path / ".git" / "index").read_bytes()
    os.utime(module, (0, 0))  # what a lock would be taken for: to note this time
    assert re.fullmatch("[0-9a-f]{12}", environment.commit())
    assert (tmp_path / ".git" / "index").read_bytes() == index
    module.write_text("2")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert environment.commit().endswith("-dirty")  # though the tree is another user's


def test_environment_names_what_changes_numbers(monkeypatch):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    described = environment.describe()
    assert described["variables"] == {"NVIDIA_TF32_OVERRIDE": "0"}
    assert {"jax_enable_x64", "jax_default_matmul_precision"} <= {
        *described["switches"]
    }
    assert described["processor"]
    assert "crc32" in described["processor_features"]


# ------------------------------------------------------------------------- no way on


def resolved(**changes):
    """A configuration as it is stored, with fields set by dotted path."""
    config = dataclasses.asdict(small_config())
    for path, value in changes.items():
        *parents, name = path.split("__")
        holder = config
        for parent in parents:
            holder = holder[parent]
        holder[name] = value
    return config


@pytest.mark.parametrize(
    "changes",
    [
        {"devices": 4, "eval_batch_size": 248, "scan_steps": 8},
        {"save_every_minutes": 0.0, "name": "other"},
        {"data__data_dir": "/elsewhere", "data__cache_dir": "/elsewhere"},
        {"epochs": 12},
        {"early_stopping__patience": 0, "epochs": 12},
    ],
)
def test_what_changes_no_number_may_change_between_starts(changes):
    saved = resolved(early_stopping__patience=3)
    wanted = resolved(**{"early_stopping__patience": 3} | changes)
    assert identity.conflicts(saved, wanted) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 2}, r"epochs \(3 there, 2 asked for\)"),
        ({"early_stopping__patience": 2}, r"patience \(3 there, 2"),
        ({"seed": 1}, r"seed \(0 there, 1 asked for\)"),
        ({"batch_size": 32, "epochs": 9}, r"batch_size \(64 there, 32 asked for\)"),
        (
            {"epochs": 9, "optimizer__schedule": "cosine"},
            r"epochs \(3 there, 9 asked for\), on which the learning rate's schedule",
        ),
        (
            {"epochs": 9, "optimizer__warmup_fraction": 0.1},
            r"epochs \(3 there, 9 asked for\), on which the learning rate's schedule",
        ),
    ],
)
def test_what_changes_numbers_is_refused_naming_the_field(tmp_path, changes, said):
    same = {"early_stopping__patience": 3}
    same |= {k: v for k, v in changes.items() if k.startswith("optimizer")}
    run_folder.write_json(tmp_path / "config.json", resolved(**same))
    (tmp_path / run_folder.METRICS).write_text("{}\n")
    with pytest.raises(run_folder.RunFolderError, match=said):
        run_folder.check(tmp_path, resolved(**same | changes))
    elsewhere = tmp_path / "another"  # the remedy
    run_folder.check(elsewhere, resolved(**same | changes))


@pytest.mark.standard_promotion("Optax's cosine schedule adds floats to integers")
def test_a_run_begins_with_the_best_parameters_of_another(tmp_path, whole):
    """The remedy where a schedule depends on the epochs."""
    config = small_config(init_from=str(tmp_path / "nothing"))
    message = r"init_from='.*nothing' holds no best checkpoint.*give the folder"
    with pytest.raises(run_folder.RunFolderError, match=message):
        run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    config.init_from = str(tmp_path / "pretrained")
    shutil.copytree(whole, config.init_from)
    config.epochs, config.optimizer.schedule = 1, "cosine"
    config.optimizer.learning_rate = 1e-30  # too small to move a weight
    assert run(config, tmp_path / "run")[0] == 0
    best, begun = saved_state(whole, "best"), saved_state(tmp_path / "run", "latest")
    names = [name for name in best if name.startswith("[0]['params']")]
    assert len(names) == 5
    for name in names:
        np.testing.assert_array_equal(begun[name], best[name])
    (tmp_path / "run" / run_folder.RESULT).unlink()
    shutil.move(config.init_from, tmp_path / "moved")
    moved = dataclasses.replace(config, init_from=str(tmp_path / "moved"))
    with pytest.raises(run_folder.RunFolderError, match="moved, give the old name to"):
        run(moved, tmp_path / "run")
    status, said = run(config, tmp_path / "run")
    assert status == 0
    assert "resumed at step 6" in said


def test_a_finished_run_may_be_made_longer_to_the_bit(tmp_path, whole):
    config = small_config()
    config.epochs = 2
    assert run(config, tmp_path / "run")[0] == 0
    goes_on_from(2 * STEPS, tmp_path / "run", whole)
    assert "finished" in run(small_config(), tmp_path / "run")[1]


def test_a_finished_run_without_its_checkpoints_cannot_go_on(tmp_path):
    """It would begin anew, and its record would be lost."""
    config = small_config()
    config.epochs = 2
    run(config, tmp_path / "run")
    before = metrics.read(tmp_path / "run")
    shutil.move(tmp_path / "run" / "checkpoints", tmp_path / "removed")
    with pytest.raises(run_folder.RunFolderError, match=r"cannot go on; leave epochs"):
        run(small_config(), tmp_path / "run")
    assert metrics.read(tmp_path / "run") == before
    assert "finished" in run(config, tmp_path / "run")[1]  # the remedy


def test_a_longer_run_whose_last_state_is_damaged_goes_on_from_another(tmp_path, whole):
    """Also if it is interrupted before it has got as far as it was."""
    config = small_config()
    config.epochs = 2
    run(config, tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / str(2 * STEPS)
    (last / "_CHECKPOINT_METADATA").write_text("{")
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 0)
        run(small_config(), tmp_path / "run")
    assert not last.exists()
    assert len(metrics.read(tmp_path / "run")) == 2
    goes_on_from(STEPS, tmp_path / "run", whole)


def test_a_folder_that_became_anothers_since_it_was_checked_is_refused(tmp_path):
    run_folder.check(tmp_path / "run", resolved(seed=1))
    with run_folder.occupied(tmp_path / "run", resolved(seed=0)):
        (tmp_path / "run" / run_folder.METRICS).write_text("{}\n")
    with (
        pytest.raises(run_folder.RunFolderError, match="a run of another config"),
        run_folder.occupied(tmp_path / "run", resolved(seed=1)),
    ):
        pass
    assert run_folder.read_json(tmp_path / "run" / "config.json")["seed"] == 0


@pytest.mark.parametrize("which", ["Best", "test", 12])
def test_a_state_that_is_neither_best_nor_latest_is_refused(two_epochs, which):
    with pytest.raises(ConfigError, match=r"must be one of best, latest; leave it out"):
        restored.require_which(which)
    assert restored.restore(two_epochs).step  # the remedy


def test_a_run_that_trains_may_be_read(two_epochs, monkeypatch):
    """Its checkpoint may be removed between two looks, and the next one is read."""
    find, gone = checkpoint.find, []

    def found(checkpoints, which):
        step = find(checkpoints, which)
        if not gone:
            gone.append(step)
            shutil.rmtree(checkpoints.folder / str(step))
        return step

    monkeypatch.setattr(checkpoint, "find", found)
    assert restored.restore(two_epochs, "latest").step == STEPS
    assert gone == [2 * STEPS]
    damaged = two_epochs / "checkpoints" / str(STEPS) / "_CHECKPOINT_METADATA"
    damaged.write_text("{")
    with pytest.raises(checkpoint.CheckpointError, match=f"step {STEPS} is damaged"):
        restored.restore(two_epochs, "latest")


def test_checkpoints_on_a_disk_that_is_not_there(two_epochs, whole, tmp_path):
    shutil.move(two_epochs / "checkpoints", tmp_path / "disk")
    (two_epochs / "checkpoints").symlink_to(tmp_path / "mounted")
    for use in run_folder.check, lambda folder, _: restored.restore(folder):
        with pytest.raises(run_folder.RunFolderError, match="is not there; mount that"):
            use(two_epochs, resolved())
    (tmp_path / "disk").rename(tmp_path / "mounted")  # the remedy
    goes_on_from(2 * STEPS, two_epochs, whole)


def test_a_run_that_diverged_at_once_says_so(tmp_path):
    config = small_config()
    config.optimizer.learning_rate = 1e30
    assert run(config, tmp_path / "run")[0] == 1
    with pytest.raises(checkpoint.CheckpointError, match=r"diverged.*; train in ano"):
        restored.restore(tmp_path / "run")


def test_what_a_kill_within_the_first_save_leaves_is_no_state(tmp_path):
    saved = resolved() | {REFERENCES: {"model.name": {"sha256": {"net.py": "a"}}}}
    saved["model"]["name"] = "./net.py:Net"
    run_folder.write_json(tmp_path / "config.json", saved)
    (tmp_path / "checkpoints" / "6.orbax-checkpoint-tmp").mkdir(parents=True)
    changed = json.loads(json.dumps(saved).replace('"a"', '"b"'))
    run_folder.check(tmp_path, changed)
    (tmp_path / "checkpoints" / "6").mkdir()
    with pytest.raises(run_folder.RunFolderError, match=r"net\.py has changed"):
        run_folder.check(tmp_path, changed)


def test_the_weights_that_a_run_began_with_may_move(tmp_path):
    weights = {"init_from": {"sha256": {"w.safetensors": "a"}}}
    before = resolved(init_from="/old/w.safetensors") | {REFERENCES: weights}
    after = json.loads(json.dumps(before).replace("/old/", "/new/"))
    assert not identity.conflicts(before, after)
    other = json.loads(json.dumps(after).replace('"a"', '"b"'))
    assert "w.safetensors has changed" in identity.conflicts(before, other)[0]
    folders = [resolved(init_from=f"/{name}/seed_0") for name in "ab"]
    assert identity.conflicts(*folders)  # of two runs


def test_a_step_set_aside_twice_is_kept_twice(tmp_path):
    for _ in range(2):
        (tmp_path / "checkpoints" / "6").mkdir(parents=True)
        quarantine.move_aside(tmp_path / "checkpoints", tmp_path / "checkpoints" / "6")
    kept = sorted(path.name for path in (tmp_path / "damaged").iterdir())
    assert kept == ["6", "6.1"]


def test_a_name_that_begins_with_a_tilde_is_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(small_config(), Path("~no_such_user"))[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["~no_such_user"]
    package = Path(files.__file__).parent
    texts = [path.read_text() for path in package.rglob("*.py")]
    assert not any(").expanduser" in text for text in texts)  # pathlib's, which raises


def test_a_run_that_is_at_work_makes_no_way(tmp_path):
    """Before it has kept anything; nor one of which this machine cannot know."""
    with run_folder.occupied(tmp_path, resolved()):
        with pytest.raises(run_folder.RunFolderError, match="of another config"):
            run_folder.check(tmp_path, resolved(seed=1))
        assert run_folder.check(tmp_path, resolved()) == []
    assert run_folder.check(tmp_path, resolved(seed=1))
    with run_folder.occupied(tmp_path, resolved(seed=1)):
        pass
    assert run_folder.read_json(tmp_path / "config.json")["seed"] == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder.locks, "is_held", lambda _: None)
        with pytest.raises(run_folder.RunFolderError, match="of another config"):
            run_folder.check(tmp_path, resolved())


def test_a_run_whose_checkpoints_are_elsewhere_makes_no_way(tmp_path, ended_early):
    """As on a disk that is not mounted, before the first epoch has ended."""
    run_folder.write_json(tmp_path / "config.json", resolved())
    assert run_folder.check(tmp_path, resolved(seed=1))
    shutil.copytree(ended_early / "checksums", tmp_path / "checksums")
    with pytest.raises(run_folder.RunFolderError, match="of another configuration"):
        run_folder.check(tmp_path, resolved(seed=1))


def test_where_an_npz_file_lies_is_no_difference(tmp_path):
    run_folder.write_json(tmp_path / "config.json", resolved(data__name="a/set.npz"))
    (tmp_path / run_folder.METRICS).write_text("{}\n")
    run_folder.check(tmp_path, resolved(data__name="/moved/to/set.npz"))
    with pytest.raises(run_folder.RunFolderError, match=r"'set\.npz' there"):
        run_folder.check(tmp_path, resolved(data__name="a/other.npz"))


def test_a_longer_run_that_fails_leaves_the_finished_one(tmp_path, whole, monkeypatch):
    """Until an epoch more is done."""
    config = small_config()
    config.epochs = 2
    run(config, tmp_path / "run")
    kept = [
        (tmp_path / "run" / name).read_bytes()
        for name in (run_folder.RESULT, run_folder.CONFIG)
    ]

    def fail(*_):
        raise MemoryError("too large")

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "_compile", fail)
        with pytest.raises(MemoryError):
            run(small_config(), tmp_path / "run")
    with monkeypatch.context() as patch:  # within an epoch, whose state is saved
        interrupt_at(patch, 3)
        assert "interrupted after" in run(small_config(), tmp_path / "run")[1]
    assert kept == [
        (tmp_path / "run" / name).read_bytes()
        for name in (run_folder.RESULT, run_folder.CONFIG)
    ]
    assert "finished" in run(config, tmp_path / "run")[1]
    goes_on_from(2 * STEPS + 2, tmp_path / "run", whole)


def test_more_patience_resumes_a_run_that_was_stopped_early(tmp_path):
    def config(patience):
        made = small_config()
        made.early_stopping.patience = patience
        made.early_stopping.min_delta = 10.0  # nothing improves by so much
        return made

    run(config(1), tmp_path / "run")
    before = run_folder.read_result(tmp_path / "run")
    assert (before.stop_reason, before.stopped_epoch) == ("early_stopping", 2)
    run(config(2), tmp_path / "run")
    run(config(2), tmp_path / "patient")
    assert_same_run(tmp_path / "run", tmp_path / "patient")
    assert run_folder.read_result(tmp_path / "run").stopped_epoch == 3


def test_evaluation_fits_the_devices_that_there_are(tmp_path):
    run_folder.write_json(
        tmp_path / "config.json", resolved(devices=16, eval_batch_size=250)
    )
    read = restored.read_config(tmp_path)
    placed = places.placed(read, {})
    assert (placed.devices, placed.eval_batch_size) == (8, 256)
    placed = places.placed(read, {"devices": 1, "eval_batch_size": 50})
    assert (placed.devices, placed.eval_batch_size) == (1, 50)
    run_folder.write_json(
        tmp_path / "config.json", resolved(devices=3, batch_size=96, eval_batch_size=99)
    )
    placed = places.placed(restored.read_config(tmp_path), {})  # of eight, unused
    assert (placed.devices, placed.eval_batch_size) == (3, 99)
    with pytest.raises(ConfigError, match="batch_size cannot be changed"):
        places.placed(read, {"batch_size": 1})


def test_fields_that_are_newer_than_a_folder_have_their_defaults(tmp_path):
    saved = resolved()
    del saved["save_every_minutes"], saved["augment"]["mixup"], saved["early_stopping"]
    run_folder.write_json(tmp_path / "config.json", saved)
    read = restored.read_config(tmp_path)
    assert read.early_stopping.patience == Config().early_stopping.patience
    run_folder.check(tmp_path, resolved(early_stopping__patience=3))


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_disk_without_locks_is_warned_of(tmp_path, monkeypatch, caplog, number):
    import fcntl

    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with caplog.at_level("WARNING", "lion_jax"), run_folder.locked(tmp_path):
        assert locks.read(tmp_path / run_folder.LOCK).process == os.getpid()
    assert "disk without locks" in caplog.text


def test_foreign_files_in_a_new_folder_are_no_hindrance(tmp_path):
    for name in ("slurm-1.out", "thesis.txt"):
        (tmp_path / name).write_text("dear")
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 0)
        run(small_config(), tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "dear"
    assert (tmp_path / "config.json").exists()


def test_what_is_left_of_a_run_without_its_configuration_is_refused(two_epochs):
    copy = (two_epochs / "config.json").read_text()
    (two_epochs / "config.json").unlink()
    with pytest.raises(run_folder.RunFolderError, match=r"copy its config.json there"):
        run_folder.check(two_epochs, resolved())
    (two_epochs / "config.json").write_text(copy)  # the remedy
    run_folder.check(two_epochs, resolved())


# ------------------------------------------------------------------------ tracebacks


@pytest.mark.parametrize("folder", ["gs://bucket/run", "s3:/bucket/run"])
def test_a_folder_in_a_cloud_is_refused_and_nothing_is_made(
    tmp_path, monkeypatch, folder
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(run_folder.RunFolderError, match="local or mounted disk"):
        run(small_config(), Path(folder))
    assert not list(tmp_path.iterdir())


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert environment.describe()["lion-jax"] is None


def test_a_user_without_a_home_has_a_cache(monkeypatch):
    monkeypatch.delenv("LION_JAX_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as there
    assert files.cache_folder().name == f"lion_jax_{os.getuid()}"


@pytest.mark.parametrize(
    "error", [RuntimeError("Unable to initialize 'cuda':\n no GPU"), AssertionError()]
)
def test_a_platform_that_is_not_there_is_one_line(tmp_path, monkeypatch, error):
    def device_count():
        raise error

    monkeypatch.setattr(jax, "device_count", device_count)
    monkeypatch.setattr(jax, "process_index", device_count)
    for use in (
        sharding.check_devices,
        training.dry_run,
        lambda config: run(config, tmp_path / "run"),
        lambda config: training.run(config, tmp_path / "run"),
    ):
        with pytest.raises(ConfigError, match=r"unset JAX_PLATFORMS, or install"):
            use(small_config())


def test_uncompiled_steps_are_refused(tmp_path):
    jax.config.update("jax_disable_jit", True)
    try:
        with pytest.raises(ConfigError, match=r"JAX_DISABLE_JIT is set, .*; unset it"):
            run(small_config(), tmp_path / "run")
    finally:
        jax.config.update("jax_disable_jit", False)
    assert not (tmp_path / "run").exists()


def test_a_transfer_guard_of_the_process_is_no_hindrance(tmp_path, whole):
    with jax.transfer_guard("disallow"):
        assert run(small_config(), tmp_path / "run")[0] == 0
    assert_same_run(tmp_path / "run", whole)


def test_a_system_without_resource_knows_no_peak(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    assert environment.peak_memory()["peak_host_bytes"] is None


@pytest.mark.parametrize("name", [".DS_Store", "._x", ".nfs0001", "Thumbs.db", "x~"])
def test_litter_is_not_listed(tmp_path, name):
    (tmp_path / "a").write_text("a")
    manifest.write(tmp_path, tmp_path.parent / "list.json")
    (tmp_path / name).touch()
    manifest.check(tmp_path, tmp_path.parent / "list.json")


def test_a_list_of_checksums_that_is_none_is_told(tmp_path):
    (tmp_path / "list.json").write_text('{"a": ["b"]}')
    with pytest.raises(manifest.DamageError, match="cannot be read"):
        manifest.check(tmp_path / "folder", tmp_path / "list.json")


def test_bytes_of_a_path_that_are_no_text_are_written_as_escapes(tmp_path):
    name = os.fsdecode(b"b\xff.npz")
    files.write_whole(tmp_path / "report.md", name)
    assert (tmp_path / "report.md").read_text("utf-8") == r"b\udcff.npz"
    assert cache.path_of("a", tmp_path, name) != cache.path_of("a", tmp_path, "b.npz")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.json"
    files.write_whole(path, "old")

    def fail():
        with files.replacing(path) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        fail()
    assert [x.name for x in tmp_path.iterdir()] == ["a.json"]
    assert path.read_text() == "old"
    (tmp_path / "a.tmp").write_text("mine")
    files.write_whole(path, "new")
    assert (tmp_path / "a.tmp").read_text() == "mine"


# ------------------------------------------------------------------ before the imports


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("module", ["train", "evaluate", "compare", "data"])
def test_ctrl_c_while_a_command_is_imported_is_one_line(command, module):
    (command.folder / "jax.py").write_text(
        "import time\nprint('importing', flush=True)\ntime.sleep(60)\n"
    )
    process = command.start(f"lion_jax.{module}")
    assert process.stdout.readline() == "importing\n", process.communicate()
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60) == ("", "interrupted\n")
    assert process.returncode == 130


def test_a_command_that_has_begun_hears_ctrl_c_as_an_exception():
    before = signal.signal(signal.SIGINT, startup.leave)
    try:
        startup.finished()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("argv", "words", "expected"),
    [
        (["-m", "--help"], ["python", "-m", "lion_jax.train", "--help"], True),
        (["-m"], ["python", "-W", "error", "-mlion_jax.data"], True),
        (["-m"], ["python", "-m", "lion_jax"], False),
        (["-m"], ["python", "-m", "pytest", "tests"], False),
        (["-c"], ["python", "-c", "import lion_jax"], False),
        (["lion_jax/train.py"], ["python", "-m", "lion_jax.train"], False),
    ],
)
def test_only_a_command_of_the_package_changes_the_process(argv, words, expected):
    assert startup.is_command(argv, words) is expected


def test_another_system_is_refused_in_one_line(monkeypatch, capsys):
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(SystemExit) as ended:
        startup.prepare()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: the commands of lion_jax run on Linux and macOS")
    try:
        for system in startup.SYSTEMS:  # the remedy
            monkeypatch.setattr(sys, "platform", system)
            startup.prepare()
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_metadata_names_the_systems_that_commands_run_on():
    project = Path(__file__).parents[1] / "pyproject.toml"
    classifiers = tomllib.loads(project.read_text())["project"]["classifiers"]
    systems = {x.split(" :: ")[-1] for x in classifiers if "Operating System" in x}
    assert {x.lower() for x in systems} == {x.lower() for x in startup.SYSTEMS.values()}
