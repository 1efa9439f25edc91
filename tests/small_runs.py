"""Runs of seconds: a small model on a few of the sample's images, in this process."""

import contextlib
import dataclasses
import functools
import io
import json
import signal

import jax
import numpy as np
import pytest
from rich.console import Console
from small_models import STEM

from lion_jax import data, interruption, train
from lion_jax.config import Config
from lion_jax.training import checkpoint, experiment, fitting, run_folder
from lion_jax.training.program import Program

TIMES = ("images_per_second", "seconds")
STEPS = 6  # an epoch


@functools.cache
def small_dataset():
    """A few hundred of the sample's images, for runs of seconds; not to be written."""
    sample = data.load(data.SAMPLE)
    return dataclasses.replace(
        sample,
        train_images=sample.train_images[:480],
        train_labels=sample.train_labels[:480],
        test_images=sample.test_images[:100],
        test_labels=sample.test_labels[:100],
    )


def small_config(**options):
    config = Config(
        epochs=3, batch_size=64, eval_batch_size=64, image_size=14, devices=1, **options
    )
    config.data.name = data.SAMPLE
    config.model.name = STEM
    config.augment.flip = True
    config.early_stopping.patience = 0
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.1
    return config


CHECKED = set()
BUILT = {}
UNDISTURBED = {}  # states of runs in folders that nothing writes to


def apart(config):
    """What programs of a configuration are known by: without what they do not see."""
    unseen = {"seed": 0, "epochs": 0, "save_every_minutes": 0, "early_stopping": 0}
    unseen |= {"init_from": "", "name": ""}
    key = json.dumps(dataclasses.asdict(config) | unseen)
    # The schedule is part of the program; a constant one does not know the epochs.
    return key + str(config.epochs) * (config.optimizer.schedule != "constant")


def build_once(config, *rest):
    """Compiles a configuration at its first run in this process only."""
    key = apart(config)
    if key not in BUILT:
        BUILT[key] = Program(config, *rest)
    return BUILT[key]


def check_once(config, *rest, check=fitting.check, **options):
    """Tries the layers of a configuration at its first run in this process only."""
    key = apart(config)
    if key not in CHECKED:
        check(config, *rest, **options)
        CHECKED.add(key)


def run(config, folder, build=build_once, *, drawn=False, **options):
    """Trains in this process; returns status and output. Pictures take a second."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "Program", build)
        if build is build_once:
            patch.setattr(fitting, "check", check_once)
        if not drawn:
            patch.setattr(experiment, "_draw", lambda *_: None)
        status = train.train(config, folder, Console(file=out, width=200), **options)
    return status, out.getvalue()


def undisturbed(config, folder):
    """Trains on a few hundred images, to the end; returns the folder."""
    small = small_dataset()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "load", lambda *_: small)
        assert run(config, folder)[0] == 0
    UNDISTURBED[folder] = saved_states(folder)
    return folder


def ended_after_two_epochs(folder):
    """Trains two of three epochs, each of them saved; returns the folder."""
    small = small_dataset()
    # As in the tests that resume it: the switches of a run are part of its records.
    with pytest.MonkeyPatch.context() as patch, jax.numpy_dtype_promotion("strict"):
        patch.setattr(data, "load", lambda *_: small)
        interrupt_at(patch, 18)
        run(small_config(), folder)
    saves = (folder / run_folder.CHECKPOINTS).iterdir()
    assert {path.name for path in saves if path.name.isdigit()} == {"6", "12"}
    return folder


def interrupt_at(patch, calls, number=signal.SIGTERM):
    """Makes the run see a signal when it has looked `calls` times."""
    left = iter(range(calls))

    @contextlib.contextmanager
    def caught_signals():
        yield lambda: 0 if next(left, None) is not None else number

    patch.setattr(interruption, "caught_signals", caught_signals)


def records(folder):
    lines = (folder / run_folder.METRICS).read_text().splitlines()
    return [json.loads(line) for line in lines]


def without_times(rows):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


def saved_state(folder, which):
    """All arrays of a checkpoint, by path."""
    with checkpoint.open_folder(folder / run_folder.CHECKPOINTS) as checkpoints:
        step = checkpoint.find(checkpoints, which)
        loaded = checkpoints.orbax.load_checkpointables(step)
    flat = jax.tree_util.tree_flatten_with_path((loaded["model"], loaded["training"]))[
        0
    ]
    return {jax.tree_util.keystr(path): np.asarray(x) for path, x in flat}


def saved_states(folder):
    return [saved_state(folder, which) for which in ("best", "latest")]


def assert_same_run(a, b):
    assert without_times(records(a)) == without_times(records(b))
    expected = UNDISTURBED.get(b) or saved_states(b)
    for first, second in zip(saved_states(a), expected, strict=True):
        assert first.keys() == second.keys()
        for name in first:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)
    results = [json.loads((f / run_folder.RESULT).read_text()) for f in (a, b)]
    timed = ("seconds_compile", "seconds_train", "images_per_second", "peak_host_bytes")
    for result in results:
        for name in timed:
            del result[name]
    assert results[0] == results[1]
