"""Batches streamed from the host: the same bits, in bounded memory, one ahead."""

import contextlib
import functools
import shutil
import threading

import conftest
import jax
import numpy as np
import pytest
from PIL import Image
from small_runs import (
    assert_same_run,
    interrupt_at,
    run,
    small_config,
    small_dataset,
)

from lion_jax import data, environment, training
from lion_jax.config import Config, ConfigError
from lion_jax.data import rows
from lion_jax.training import checkpoint, placement, sharding, task
from lion_jax.training.program import Program
from lion_jax.training.state import Examples
from lion_jax.training.streaming import Ahead, Batches, Stream


def streamed_config(**options):
    config = small_config(**options)
    config.data.placement = "host"
    return config


@pytest.mark.usefixtures("small_data")
def test_a_streamed_run_equals_a_resident_one_to_the_bit(tmp_path, whole, monkeypatch):
    """Also if it is interrupted, and resumed from where the images lay before."""
    status, said = run(streamed_config(), tmp_path / "streamed")
    assert status == 0
    assert "the images (0.000455 GB) are streamed from the host; the device" in said
    assert_same_run(tmp_path / "streamed", whole)
    for calls, config in ((4, streamed_config()), (9, small_config())):
        with monkeypatch.context() as patch:
            interrupt_at(patch, calls)
            assert run(config, tmp_path / "resumed")[0] == 143
    assert run(streamed_config(), tmp_path / "resumed")[0] == 0
    assert_same_run(tmp_path / "resumed", whole)


@pytest.mark.slow
def test_eight_devices_are_each_sent_their_part_and_give_the_same_bits():
    """Also with several steps per dispatch, in windows that are not full."""
    config = streamed_config(accumulate=2, scan_steps=2)
    config.batch_size = 48
    outcomes = []
    for where in ("host", "device"):
        config.data.placement = where
        splits = task.split(config, small_dataset())
        mesh = sharding.make_mesh(8)
        made = task.make_task(config, small_dataset(), splits, mesh)
        program = Program(config, made, splits, mesh)
        state, inputs = program.init(0), program.start_epoch(0, 0)
        for steps in (2, 1, 1):
            state, _ = program.train_step(state, inputs, steps)
        sums = program.evaluate(state.params, state.batch_stats, "validation")
        outcomes.append([np.asarray(x) for x in jax.tree.leaves((state, sums))])
        if where == "host":
            assert inputs.batches is not None
            images = inputs.batches.take(1).images
            assert images.addressable_shards[0].data.shape == (12, 28, 28, 1)
    for a, b in zip(*outcomes, strict=True):
        np.testing.assert_array_equal(a, b)


# ----------------------------------------------------------------------- the windows


def numbered(n=23):
    """Examples whose images and labels are their numbers."""
    labels = np.arange(n, dtype=np.int32)
    images = np.broadcast_to(labels[:, None, None, None].astype("u1"), (n, 2, 2, 1))
    return Examples(images, labels)


def batches(slots, done=0, order=None):
    stream = Stream(numbered(), 5 * slots, sharding.replicated(sharding.make_mesh(1)))
    order = np.arange(23) if order is None else order
    return Batches(stream, order, 5, slots, done)


@pytest.mark.parametrize("done", [0, 1, 3])
def test_windows_hold_the_epochs_batches_in_its_order(done):
    order = np.random.default_rng(0).permutation(23)
    taken = batches(1, done, order)
    for batch in range(done, 4):
        window = taken.take(1)
        np.testing.assert_array_equal(window.labels, order[5 * batch : 5 * batch + 5])
        np.testing.assert_array_equal(window.images[:, 0, 0, 0], window.labels)


@pytest.mark.parametrize("counts", [(3, 1), (1, 3), (2, 2), (1, 1, 1, 1)])
def test_batch_i_lies_in_slot_i_modulo_the_slots(counts):
    taken, batch = batches(3), 0
    for count in counts:
        window = taken.take(count)
        for i in range(batch, batch + count):
            slot = slice(5 * (i % 3), 5 * (i % 3) + 5)
            expected = np.arange(5 * i, 5 * i + 5)
            np.testing.assert_array_equal(window.labels[slot], expected)
        batch += count


def test_the_next_thing_is_made_by_a_thread_meanwhile():
    made, threads = [], []
    ready = {number: threading.Event() for number in range(4)}

    def make(number):
        threads.append(threading.current_thread())
        made.append(number)
        ready[number].set()
        return number

    ahead = Ahead(make)
    assert ahead.get(0, 1) == 0
    assert ready[1].wait(5)
    assert made == [0, 1]  # one ahead, not more
    assert ahead.get(1, 2) == 1
    assert ready[2].wait(5)
    assert ahead.get(3, None) == 3  # another than was foreseen
    assert made == [0, 1, 2, 3]
    here = threading.current_thread()
    assert [thread is here for thread in threads] == [True, False, False, True]


def test_what_fails_in_the_thread_is_raised_where_it_is_asked_for():
    ahead = Ahead(lambda number: 1 // (1 - number))
    assert ahead.get(0, 1) == 1
    with pytest.raises(ZeroDivisionError):
        ahead.get(1, 2)


# ------------------------------------------------------------------- rows and memory


def test_rows_of_a_mapped_file_are_those_of_the_array(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (50, 4, 3, 1), np.uint8)
    np.save(tmp_path / "a.npy", array)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    chosen = np.array([7, 3, 49, 3])
    for source in (array, mapped, rows.Rows(mapped, np.arange(50))):
        got = rows.Rows(source, chosen)
        assert got.shape == (4, 4, 3, 1)
        assert got.nbytes == array[chosen].nbytes
        assert len(got) == 4
        np.testing.assert_array_equal(got[:], array[chosen])
        np.testing.assert_array_equal(got[np.array([2, 0])], array[[49, 7]])
        np.testing.assert_array_equal(np.concatenate([*rows.blocks(got)]), got[:])
    assert data.pixel_statistics(rows.Rows(mapped, chosen)) == data.pixel_statistics(
        array[chosen]
    )


@pytest.mark.parametrize(
    ("group", "limits", "expected"),
    [
        ("0::/", {"memory.max": "700"}, 700),  # what a container sees
        ("0::/a/b", {"a/b/memory.max": "max", "a/memory.max": "600"}, 600),
        ("0::/", {"memory.max": "max"}, None),
        (
            "3:cpu,memory:/a",
            {"memory/a/memory.limit_in_bytes": "500", "memory.max": "1"},
            500,
        ),
        ("2:cpu:/a", {"a/memory.max": "1"}, None),
        (None, {"memory.max": "1"}, None),  # another system
    ],
)
def test_the_memory_of_a_job_is_what_its_control_group_may_take(
    tmp_path, group, limits, expected
):
    if group:
        (tmp_path / "proc/self").mkdir(parents=True)
        (tmp_path / "proc/self/cgroup").write_text(f"1:name=systemd:/x\n{group}\n")
    for name, text in limits.items():
        file = tmp_path / "sys/fs/cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")
    whole = environment.host_memory(tmp_path / "elsewhere")
    assert environment.host_memory(tmp_path) == (expected or whole)


def test_reading_a_mapped_file_holds_a_block_of_it(tmp_path):
    size, parts = rows.BLOCK_BYTES, 4
    shape = (parts * 256, size // 256)
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    with (tmp_path / "big.npy").open("wb") as file:  # sparse: of zeros
        np.lib.format.write_array_header_2_0(file, header)
        file.truncate(file.tell() + parts * size)
    mapped = np.load(tmp_path / "big.npy", mmap_mode="r")
    before, most = conftest.resident_bytes(), 0
    for block in rows.blocks(mapped):
        assert not block.any()
        most = max(most, conftest.resident_bytes())
    for start in range(0, len(mapped), 256):
        assert len(rows.Rows(mapped, np.arange(start, start + 256))[:]) == 256
        most = max(most, conftest.resident_bytes())
    if before:  # Linux
        assert most - before < 2.5 * size < parts * size


# --------------------------------------------------------------- where images lie


def test_images_are_streamed_if_they_take_a_quarter_of_the_memory(monkeypatch):
    config, dataset = Config(), small_dataset()
    size = placement.image_bytes(dataset)
    assert size == 580 * 28 * 28
    for factor, streamed in ((0.25, True), (0.26, True), (0.24, False), (1e-9, False)):
        monkeypatch.setattr(placement, "_memory", lambda f=factor: size / f - 1)
        assert placement.is_streamed(config, dataset) == streamed
    config.data.placement = "host"
    assert placement.is_streamed(config, dataset)
    monkeypatch.setattr(placement, "_memory", lambda: 1)
    config.data.placement = "device"
    assert not placement.is_streamed(config, dataset)
    assert placement.is_streamed(Config(), dataset)


def test_windows_larger_than_memory_are_refused_and_the_remedy_works(monkeypatch):
    config = streamed_config(scan_steps=1000)
    memory = 20 * placement.WINDOWS * config.batch_size * 28 * 28 / placement.SHARE
    monkeypatch.setattr(placement, "_memory", lambda: memory)
    with pytest.raises(ConfigError, match=r"scan_steps=1000: .*scan_steps=20\.") as e:
        task.split(config, small_dataset())
    assert "\n" not in str(e.value)
    task.split(streamed_config(scan_steps=20), small_dataset())


# ------------------------------------------------------------- a folder, to the end


@pytest.fixture
def images(tmp_path):
    """A folder of grey images of two classes, which differ in brightness."""
    rng = np.random.default_rng(0)
    for split, n in (("train", 40), ("test", 6)):
        for label, name in enumerate(("dark", "light")):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(100 * label, 100 * label + 90, (8, 8), np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "images"


@pytest.mark.slow
def test_a_folder_trains_resumes_where_it_moved_to_and_is_refused_if_it_changed(
    tmp_path, images, monkeypatch
):
    config = streamed_config()
    config.epochs, config.image_size = 2, 8
    config.batch_size = config.eval_batch_size = 8
    config.data.name, config.data.data_dir = "folder", str(images)
    config.data.cache_dir = str(tmp_path / "cache")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 12)
        assert run(config, tmp_path / "run")[0] == 143
    moved = images.rename(tmp_path / "moved")
    config.data.data_dir = str(moved)
    saved = shutil.copytree(tmp_path / "run", tmp_path / "saved")
    assert run(config, tmp_path / "run")[0] == 0
    assert training.evaluate(tmp_path / "run")["test_accuracy"] > 0.9
    copy = shutil.copytree(moved, tmp_path / "copy")
    config.data.data_dir = str(copy)
    assert "This run is finished" in run(config, tmp_path / "run")[1]
    Image.new("L", (8, 8), 255).save(copy / "train" / "dark" / "0.png")
    with pytest.raises(data.DataError, match=r"the data have changed"):
        run(config, tmp_path / "run")  # whose result is not of these
    config.data.data_dir = "moved"
    shutil.copytree(copy, tmp_path / "there" / "moved")
    with contextlib.chdir(tmp_path):
        said = run(config, tmp_path / "run")[1]
    assert "This run is finished" in said
    assert "comparing" not in said
    with contextlib.chdir(tmp_path / "there"), pytest.raises(data.DataError):
        run(config, tmp_path / "run")  # of images that are others by the same name
    config.data.data_dir = str(moved)
    first = moved / "train" / "dark" / "0.png"
    kept = first.read_bytes()
    Image.new("L", (8, 8), 255).save(first)

    @functools.cache
    def program():  # of the images as they are now
        return Program(*built)

    def build_changed(*arguments):
        built[:] = arguments
        return program()

    built = []
    changed = pytest.raises(data.DataError, match=r"the data have changed: .*; restore")
    with changed:
        run(config, saved, build_changed)
    assert not built  # refused before anything is compiled
    with monkeypatch.context() as patch, changed:  # a campaign has compiled by then
        patch.setattr(checkpoint, "latest_signature", lambda _: None)
        run(config, saved, build_changed)
    with pytest.raises(data.DataError, match=r"the data have changed"):
        training.evaluate(tmp_path / "run", places={"data.data_dir": str(moved)})
    assert run(config, tmp_path / "another", build_changed)[0] == 0  # the second remedy
    first.write_bytes(kept)
    assert run(config, saved)[0] == 0  # the first
    assert_same_run(saved, tmp_path / "run")


def test_what_was_written_to_a_private_copy_of_a_file_stays(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((40, 9), np.uint8))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="c")
    mapped[:] = 7
    chosen = rows.Rows(mapped, np.arange(40))
    assert chosen[:20].sum(dtype=int) == 20 * 9 * 7
    assert sum(block.sum(dtype=int) for block in rows.blocks(mapped)) == 40 * 9 * 7
    assert mapped.sum(dtype=int) == 40 * 9 * 7
