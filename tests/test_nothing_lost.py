"""Kills, damage, full disks, two runs at once: the numbers come out the same."""

import contextlib
import dataclasses
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import kills
import pytest
from small_runs import assert_same_run, interrupt_at, run, small_config

from lion_jax import evaluate
from lion_jax.training import checkpoint, locks, loop, run_folder

pytestmark = pytest.mark.usefixtures("small_data")


def saves(folder):
    found = (folder / run_folder.CHECKPOINTS).iterdir()
    return sorted(path for path in found if path.name.isdigit())


def start(folder, where, calls, fate, **environment):
    """Starts the run in a process of its own."""
    return subprocess.Popen(
        [sys.executable, kills.__file__, kills.job(where, calls, folder, fate=fate)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "moments",
    [
        [("run_folder.write_json", 1)],  # before anything is written
        [("loop._end_epoch", 2)],  # an epoch trained, not evaluated
        [("checkpoint.save", 2)],  # evaluated and logged, not saved
        [("manifest.write", 1)],  # the first save, not yet listed
        [("manifest.write", 2), ("manifest.write", 1)],  # killed twice while saving
        [("loop._test", 1)],
        [("curves.plot", 1), ("run_folder.write_json", 3)],  # tested, not told
    ],
)
def test_a_killed_run_ends_as_if_nothing_had_happened(tmp_path, whole, kill, moments):
    for where, calls in moments:
        kill(where, calls, tmp_path / "run")
    assert run(small_config(), tmp_path / "run")[0] == 0
    assert_same_run(tmp_path / "run", whole)


def test_another_process_makes_the_same_bits(tmp_path, whole):
    process = start(tmp_path / "run", "loop.execute", 0, "spared", PYTHONHASHSEED="7")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert_same_run(tmp_path / "run", whole)


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_run_that_does_not_hear_the_first(
    tmp_path, whole, number
):
    process = start(tmp_path / "run", "loop._train_epoch", 3, "stuck")
    assert process.stdout.readline() == "stuck\n", process.communicate()
    process.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(number)
    assert process.wait(5) == -number
    process.communicate()
    status, said = run(small_config(), tmp_path / "run")
    assert status == 0
    assert "resumed at step 12" in said
    assert_same_run(tmp_path / "run", whole)


def test_killed_while_a_step_is_saved_again(tmp_path, whole, kill):
    """A signal within an evaluation saves a step that its epoch's end saves again."""
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 8)
        run(small_config(), tmp_path / "run")
    assert [path.name for path in saves(tmp_path / "run")] == ["6"]
    kill("manifest.write", 1, tmp_path / "run")
    assert run(small_config(), tmp_path / "run")[0] == 0
    assert_same_run(tmp_path / "run", whole)


def test_a_damaged_config_is_reported(two_epochs):
    (two_epochs / run_folder.CONFIG).write_text('{"name": ')
    with pytest.raises(run_folder.RunFolderError, match=r"config.json cannot be read"):
        run(small_config(), two_epochs)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def link(path):
    outside = path.parents[6] / "outside"
    shutil.move(path, outside)
    path.symlink_to(outside)


def add(path):
    (path.parent / "more").touch()


DAMAGES = {"flip": flip, "truncate": truncate, "remove": Path.unlink, "link": link}
DAMAGES |= {"add": add, "empty": lambda path: shutil.rmtree(path.parents[2])}


def largest_file(step):
    files = [path for path in step.rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_told_and_the_one_before_serves(
    two_epochs, whole, damage, caplog
):
    latest = saves(two_epochs)[0]
    assert latest.name == "12"
    DAMAGES[damage](largest_file(latest))
    with caplog.at_level("WARNING", "lion_jax"):
        status, said = run(small_config(), two_epochs)
    assert status == 0
    assert "resumed at step 6" in said
    (warning,) = [r.message for r in caplog.records if "quarantined" in r.message]
    assert str(latest) in warning
    assert (two_epochs / "damaged" / "12").exists()
    assert_same_run(two_epochs, whole)


def test_without_a_sound_checkpoint_nothing_is_overwritten(two_epochs):
    for step in saves(two_epochs):
        flip(largest_file(step))
    before = snapshot(two_epochs)
    with pytest.raises(checkpoint.CheckpointError, match="no sound checkpoint is left"):
        run(small_config(), two_epochs)
    assert snapshot(two_epochs) == before


def snapshot(folder):
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path: path.read_bytes() for path in files if path.name != run_folder.LOCK}


def test_a_lost_best_state_is_not_replaced_by_another(tmp_path, monkeypatch):
    folder, copy = tmp_path / "run", tmp_path / "copy"
    end_epoch = loop._end_epoch

    def worse_at_last(run, state, epoch):
        record = end_epoch(run, state, epoch)
        return dataclasses.replace(record, val_loss=9.0) if epoch == 3 else record

    monkeypatch.setattr(loop, "_end_epoch", worse_at_last)
    assert run(small_config(), folder)[0] == 0
    result = run_folder.read_result(folder)
    assert result.best_epoch == 2
    shutil.copytree(folder, copy)
    (folder / run_folder.RESULT).unlink()
    flip(largest_file(folder / run_folder.CHECKPOINTS / "12"))
    said = r"the best state, of step 12, is lost .*; restore it from a copy"
    with pytest.raises(checkpoint.CheckpointError, match=said):
        run(small_config(), folder)
    assert not (folder / run_folder.RESULT).exists()
    for part in ("checkpoints/12", "checksums/12.json"):  # the remedy
        restored = shutil.copytree if (copy / part).is_dir() else shutil.copy
        restored(copy / part, folder / part)
    assert run(small_config(), folder)[0] == 0
    assert run_folder.read_result(folder).test_loss == result.test_loss


def test_evaluation_of_a_damaged_checkpoint_names_the_file(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    for step in saves(tmp_path / "run"):
        flip(largest_file(step))
    before = snapshot(tmp_path / "run")
    with pytest.raises(checkpoint.CheckpointError, match=r"/d/\w+ has changed"):
        evaluate.evaluate(tmp_path / "run")
    assert snapshot(tmp_path / "run") == before


def test_a_second_run_in_a_folder_is_refused_with_the_firsts_number(tmp_path):
    config = small_config()
    with run_folder.occupied(tmp_path / "run", dataclasses.asdict(config)):
        said = rf"in use by process {os.getpid()} on .* since .*Z; wait .*--workdir"
        with pytest.raises(run_folder.RunFolderError, match=said):
            run(config, tmp_path / "run")
    assert run(config, tmp_path / "run")[0] == 0  # the lock is gone with its holder


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path, whole, kill):
    kill("loop._end_epoch", 1, tmp_path / "run")
    assert locks.read(tmp_path / "run" / run_folder.LOCK).process > 0
    assert run(small_config(), tmp_path / "run")[0] == 0


def test_a_full_disk_ends_the_run_and_space_lets_it_go_on(tmp_path, whole):
    """Files may not grow beyond some bytes: parameters do not fit, text does."""
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, 9)
        run(small_config(), tmp_path / "run")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_500, limits[1]))
    try:
        with pytest.raises(checkpoint.CheckpointError, match=r"step 12.*free space"):
            run(small_config(), tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in saves(tmp_path / "run")] == ["6"]
    status, said = run(small_config(), tmp_path / "run")  # the remedy
    assert status == 0
    assert "resumed at step 6" in said
    assert_same_run(tmp_path / "run", whole)


@contextlib.contextmanager
def read_only(folder):
    """Forbids to write in a folder, also if the tests are root's."""
    was_root = os.geteuid() == 0
    folder.chmod(0o555)
    try:
        if was_root:
            os.seteuid(65534)
        yield
    finally:
        if was_root:
            os.seteuid(0)
        folder.chmod(0o755)


def test_a_folder_become_read_only_ends_the_run_and_it_can_go_on(whole):
    # In a folder whose parents anybody may enter: not all of them are root's.
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        folder = Path(place) / "run"
        save, threads = checkpoint.save, set(threading.enumerate())
        with pytest.MonkeyPatch.context() as patch:

            def save_in_vain(checkpointer, state, *rest):
                if int(state.step) < 12:
                    return save(checkpointer, state, *rest)
                with read_only(folder / run_folder.CHECKPOINTS):
                    return save(checkpointer, state, *rest)

            patch.setattr(checkpoint, "save", save_in_vain)
            said = r"step 12 cannot be saved .*make the folder writable"
            with pytest.raises(checkpoint.CheckpointError, match=said):
                run(small_config(), folder)
        # A thread of Orbax that waits for the folder would keep the process alive.
        left = {t for t in set(threading.enumerate()) - threads if not t.daemon}
        left = {t for t in left if not t.name.startswith("asyncio")}
        for thread in left:
            thread.join(10)  # one that ends by itself may be a moment late
        assert not [thread for thread in left if thread.is_alive()]
        assert [path.name for path in saves(folder)] == ["6"]
        assert run(small_config(), folder)[0] == 0
        assert_same_run(folder, whole)


def test_a_run_in_a_read_only_place_does_not_begin(tmp_path):
    refused = pytest.raises(run_folder.RunFolderError, match="may not be written to")
    with tempfile.TemporaryDirectory() as place, read_only(Path(place)), refused:
        run(small_config(), Path(place) / "runs" / "run")


def test_what_a_kill_within_the_first_write_leaves_is_no_hindrance(tmp_path, whole):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / run_folder.LOCK).write_text("1\n")
    (tmp_path / "run" / ".config.json.tmp").write_text('{"nam')
    assert run(small_config(), tmp_path / "run")[0] == 0
    assert_same_run(tmp_path / "run", whole)
