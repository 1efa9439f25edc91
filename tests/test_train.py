"""Whole runs of a small model on the embedded sample: files, endings, resumption."""

import dataclasses
import json
import math
import shutil
import signal
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from rich.console import Console
from small_models import STEM
from small_runs import (
    STEPS,
    assert_same_run,
    interrupt_at,
    records,
    run,
    saved_state,
    small_config,
    small_dataset,
    undisturbed,
)

from lion_jax import data, evaluate, identity, interruption, models, training
from lion_jax.config import ConfigError, OptimizerConfig
from lion_jax.training import (
    conditions,
    history,
    loop,
    lowering,
    run_folder,
    stored,
)
from lion_jax.training.calls import parts_of
from lion_jax.training.history import Epoch
from lion_jax.training.program import Program
from lion_jax.training.signature import Signature

pytestmark = pytest.mark.usefixtures("small_data")
FILES = {
    "config.json",
    "environment.json",
    "metrics.jsonl",
    "result.json",
    "checkpoints",
    "checksums",
    *("confusion.png", "confusion.svg", "curves.png", "curves.svg"),
    ".lock",
}
RECORD = [
    "epoch",
    "step",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "parameters_finite",
    "learning_rate",
    "images_per_second",
    "seconds",
]
RESULT = {
    "test_loss",
    "test_accuracy",
    "best_epoch",
    "stopped_epoch",
    "stop_reason",
    "val_loss",
    "seed",
    "seconds_compile",
    "seconds_train",
    "images_per_second",
    "peak_host_bytes",
    "peak_device_bytes",
    "last_test_loss",
    "last_test_accuracy",
}


def test_a_run_leaves_every_file_and_says_what_it_did(tmp_path):
    status, said = run(small_config(), tmp_path / "run", drawn=True)
    assert status == 0
    names = {path.name for path in (tmp_path / "run").iterdir()}
    events = {name for name in names if name.startswith("events.out.tfevents")}
    assert names - events == FILES
    assert events
    rows = records(tmp_path / "run")
    assert [list(row) for row in rows] == [RECORD] * 3
    assert [row["step"] for row in rows] == [STEPS, 2 * STEPS, 3 * STEPS]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert set(result) >= RESULT
    assert result["stop_reason"] == "epochs"
    best = min(rows, key=lambda row: row["val_loss"])
    assert result["best_epoch"] == best["epoch"]
    assert result["val_loss"] == best["val_loss"]
    assert f"test accuracy {result['test_accuracy']:.2%}" in said
    assert "curves.png" in said
    assert "epoch 3/3" in said
    assert "\x1b" not in said  # no terminal: no colors, no bar
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    described = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert described["jax"] == jax.__version__
    assert described["platform"] == "cpu"


def test_a_profile_changes_nothing_and_names_ten_operations(tmp_path, whole):
    _, said = run(small_config(), tmp_path / "profiled", profile=True)
    table = said[said.index("Most expensive operations") : said.index("trace: ")]
    assert sum(line.startswith("│") for line in table.splitlines()) == 10
    assert list((tmp_path / "profiled" / run_folder.PROFILE).rglob("*.xplane.pb"))
    assert_same_run(tmp_path / "profiled", whole)


@pytest.fixture(scope="module")
def of_four_steps_a_call(tmp_path_factory):
    """The folder of an undisturbed run; not to be written to."""
    folder = tmp_path_factory.mktemp("of_four_steps_a_call") / "run"
    return undisturbed(small_config(scan_steps=4), folder)


@pytest.mark.parametrize("scan_steps", [4, 6, 100])  # an epoch has six
def test_several_steps_in_one_call_train_as_one_by_one(
    tmp_path, whole, of_four_steps_a_call, scan_steps
):
    several = of_four_steps_a_call
    if scan_steps != 4:
        several = tmp_path / "several"
        assert run(small_config(scan_steps=scan_steps), several)[0] == 0
    for a, b in zip(*map(records, (whole, several)), strict=True):
        assert (a["epoch"], a["step"]) == (b["epoch"], b["step"])
        for name in ("train_loss", "val_loss"):
            assert a[name] == pytest.approx(b[name], rel=1e-2)


def test_interrupted_between_calls_of_several_steps(
    tmp_path, monkeypatch, of_four_steps_a_call
):
    config = small_config(scan_steps=4)
    for calls in (2, 4, 3):
        with monkeypatch.context() as patch:
            interrupt_at(patch, calls)
            status, _ = run(config, tmp_path / "resumed")
            assert status == 128 + signal.SIGTERM
    assert run(config, tmp_path / "resumed")[0] == 0
    assert_same_run(tmp_path / "resumed", of_four_steps_a_call)


def test_a_finished_run_says_so_and_does_nothing(tmp_path):
    run(small_config(), tmp_path / "run")
    before = {
        path: path.stat().st_mtime_ns
        for path in (tmp_path / "run").rglob("*")
        if path.is_file()
    }
    status, said = run(small_config(), tmp_path / "run")
    assert status == 0
    assert "finished" in said
    assert before == {path: path.stat().st_mtime_ns for path in before}


# A whole epoch looks nine times: before it, before each of its six steps, before and
# after its evaluation.
# The last three of the 27 + 4 looks are within the test and after it.
@pytest.mark.parametrize("calls", [0, 4, 7, 8, 9, 16, 28, 30])
def test_a_resumed_run_equals_the_uninterrupted_one_to_the_bit(
    tmp_path, monkeypatch, whole, calls
):
    with monkeypatch.context() as patch:
        interrupt_at(patch, calls)
        status, said = run(small_config(), tmp_path / "resumed")
        assert status == 128 + signal.SIGTERM
        assert "interrupted " in said
        assert not (tmp_path / "resumed" / run_folder.RESULT).exists()
    status, said = run(small_config(), tmp_path / "resumed")
    assert status == 0
    assert_same_run(tmp_path / "resumed", whole)


def test_interrupted_again_and_again_it_still_ends_the_same(
    tmp_path, monkeypatch, whole
):
    for calls in (3, 5, 1, 2, 9, 4):
        with monkeypatch.context() as patch:
            interrupt_at(patch, calls)
            run(small_config(), tmp_path / "resumed")
    while run(small_config(), tmp_path / "resumed")[0]:
        pass
    assert_same_run(tmp_path / "resumed", whole)


def test_the_best_state_is_a_copy_and_not_the_last(tmp_path):
    """Bug 2 of the original: the saved `state_dict()` went on changing."""
    config = small_config()
    # Soon worse than in the beginning.
    config.optimizer.learning_rate, config.optimizer.weight_decay = 10.0, 0.05
    config.epochs = 4
    run(config, tmp_path / "all")
    rows = records(tmp_path / "all")
    config.epochs = min(rows, key=lambda row: row["val_loss"])["epoch"]
    assert config.epochs < 4
    run(config, tmp_path / "until_best")
    kept, last = (saved_state(tmp_path / "all", w) for w in ("best", "latest"))
    expected = saved_state(tmp_path / "until_best", "latest")
    for name, array in expected.items():
        np.testing.assert_array_equal(kept[name], array, err_msg=name)
    assert any((kept[name] != last[name]).any() for name in kept)


@pytest.mark.parametrize("ending", ["epochs", "early_stopping"])
def test_the_best_state_is_tested_at_every_ending(tmp_path, ending):
    """Bug 3 of the original: best was restored only after early stopping."""
    config = small_config()
    config.optimizer.learning_rate, config.optimizer.weight_decay = 10.0, 0.05
    config.epochs = 4
    if ending == "early_stopping":
        config.early_stopping.patience = 1
        config.epochs = 50
    folder = tmp_path / "run"
    run(config, folder)
    result = json.loads((folder / run_folder.RESULT).read_text())
    assert result["stop_reason"] == ending
    assert result["best_epoch"] < result["stopped_epoch"]
    best, last = (evaluate.evaluate(folder, which) for which in ("best", "latest"))
    assert result["test_loss"] == best["test_loss"]
    assert result["val_loss"] == best["validation_loss"]
    assert result["last_test_loss"] == last["test_loss"]
    assert best["test_loss"] != last["test_loss"]


def test_after_an_interruption_best_and_latest_can_be_evaluated(tmp_path, monkeypatch):
    interrupt_at(monkeypatch, 9 + 9 + 4)  # within the third epoch
    run(small_config(), tmp_path / "run")
    rows = records(tmp_path / "run")
    best = evaluate.evaluate(tmp_path / "run", "best")
    assert best["validation_loss"] == min(row["val_loss"] for row in rows)
    assert evaluate.evaluate(tmp_path / "run", "latest")["step"] > best["step"]


def test_a_restored_network_predicts_what_was_tested(whole):
    restored = evaluate.restore(whole)
    dataset = restored.dataset
    logits = restored.predict(dataset.test_images)  # 100 images in batches of 64
    accuracy = np.mean(logits.argmax(1) == dataset.test_labels)
    result = json.loads((whole / run_folder.RESULT).read_text())
    assert accuracy == pytest.approx(result["test_accuracy"])
    assert restored.step == result["best_epoch"] * STEPS
    scaled = dataset.test_images[:64] / 255
    with pytest.raises(ValueError, match=r"uint8, 0 to 255.*astype") as error:
        restored.predict(scaled)
    assert "np.round(255 * images).astype(np.uint8)" in str(error.value)
    remedied = restored.predict(np.round(255 * scaled).astype(np.uint8))
    np.testing.assert_array_equal(remedied, logits[:64])


def test_no_state_that_is_not_finite_is_saved_within_an_epoch(tmp_path):
    config = small_config(save_every_minutes=1e-9)
    config.optimizer.name, config.optimizer.learning_rate = "sgd", 1e38
    assert run(config, tmp_path)[0] == 1
    saves = tmp_path / run_folder.CHECKPOINTS
    assert [path.name for path in stored.steps_in(saves)] == ["1"]


def test_other_pixels_of_the_same_version_are_refused():
    """As a function of the user's own may return them."""
    saved = Signature("mine", "1", ("a", "b"), (4, 4, 1), 4, 1, (0.5,), (0.25,))
    dataclasses.replace(saved, mean=(0.5 + 1e-9,)).require_data_of(saved)
    # Of a constant channel earlier versions noted another deviation.
    floor = dataclasses.replace(saved, std=(1e-6,))
    dataclasses.replace(saved, std=(1.0,)).require_data_of(floor)
    for field in "mean", "std":
        with pytest.raises(
            data.DataError, match=r"these are mine 1 .*, with other pix"
        ):
            dataclasses.replace(saved, **{field: (0.3,)}).require_data_of(saved)


@pytest.mark.usefixtures("small_data")
def test_a_run_goes_on_in_a_process_of_64_bits(tmp_path):
    config = small_config()
    config.epochs = 1
    assert run(config, tmp_path)[0] == 0
    config.epochs = 2
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        result = training.run(config, tmp_path, Console(quiet=True))
        model = training.load(tmp_path)
        assert model.predict(small_dataset().test_images[:2]).dtype == np.float32
    assert result.stopped_epoch == 2
    assert result.test_loss is not None


@pytest.mark.parametrize("name", ["vit_tiny", "resnet_nano"])
def test_a_model_is_of_float32_in_a_process_of_64_bits(name):
    with jax.enable_x64(True):
        made = jax.eval_shape(
            lambda: parts_of(
                models.make(
                    name, image_size=28, num_classes=10, channels=1, rngs=nnx.Rngs(0)
                )
            )
        )
    assert {x.dtype for x in jax.tree.leaves(made)} == {np.dtype(np.float32)}


def test_a_run_that_diverges_at_once_has_no_best(tmp_path):
    config = small_config()
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 1e18
    status, said = run(config, tmp_path)
    assert status == 1
    result = json.loads((tmp_path / run_folder.RESULT).read_text())
    assert result["stop_reason"] == "diverged"
    assert "diverged: train_loss is not finite at step" in said
    assert result["test_accuracy"] is None
    assert result["last_test_accuracy"] is None
    assert result["best_epoch"] == 0
    assert records(tmp_path)[-1]["train_loss"] is None


def test_a_diverged_run_keeps_and_tests_its_best(tmp_path, monkeypatch):
    end_epoch = loop._end_epoch

    def end_epoch_badly(run, state, epoch):
        record = end_epoch(run, state, epoch)
        return dataclasses.replace(record, val_loss=None) if epoch == 3 else record

    monkeypatch.setattr(loop, "_end_epoch", end_epoch_badly)
    config = small_config()
    config.epochs = 5
    status, said = run(config, tmp_path)
    assert status == 1
    assert f"diverged: val_loss is not finite at step {3 * STEPS}" in said
    result = json.loads((tmp_path / run_folder.RESULT).read_text())
    assert result["stop_reason"] == "diverged"
    assert result["stopped_epoch"] == 3
    assert result["best_epoch"] in (1, 2)
    best = evaluate.evaluate(tmp_path, "best")
    assert best["step"] == STEPS * result["best_epoch"]
    assert result["test_loss"] == best["test_loss"]
    assert result["last_test_loss"] is None
    assert run(config, tmp_path)[0] == 1  # it is finished, and still diverged


@pytest.fixture(scope="module")
def build_blind():
    """Compiles once a program whose evaluation takes what is not a number for 0."""
    built, step = [], lowering.eval_step

    def blind(task, graph, params, batch_stats, *rest):
        params, batch_stats = jax.tree.map(jnp.nan_to_num, (params, batch_stats))
        return step(task, graph, params, batch_stats, *rest)

    def build(*given):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lowering, "eval_step", blind)
            built.extend([] if built else [Program(*given)])
        return built[0]

    return build


@pytest.mark.parametrize("where", ["params", "batch_stats"])
def test_parameters_that_are_not_finite_end_the_run(
    tmp_path, monkeypatch, build_blind, where
):
    """Also where no loss shows it: what is not used, or saturates."""
    train_epoch = loop._train_epoch

    def train_badly(run, state, epoch, save):
        state = train_epoch(run, state, epoch, save)
        if epoch < 2:
            return state
        tree = getattr(state, where)
        first, *rest = jax.tree.leaves(tree)
        leaves = [first.at[..., 0].set(np.nan), *rest]
        bad = jax.tree.unflatten(jax.tree.structure(tree), leaves)
        return state._replace(**{where: bad})

    monkeypatch.setattr(loop, "_train_epoch", train_badly)
    status, said = run(small_config(), tmp_path, build=build_blind)
    assert status == 1
    assert f"norm statistic is not finite at step {2 * STEPS}" in said
    result = json.loads((tmp_path / run_folder.RESULT).read_text())
    assert result["stop_reason"] == "diverged"
    assert (result["best_epoch"], result["stopped_epoch"]) == (1, 2)
    assert records(tmp_path)[1]["val_loss"] is not None
    assert result["test_loss"] == evaluate.evaluate(tmp_path, "best")["test_loss"]


@pytest.mark.standard_promotion("Optax's schedules mix integers and floats")
def test_the_recorded_learning_rate_is_the_schedules(tmp_path):
    config = small_config()
    config.optimizer.schedule = "cosine"
    run(config, tmp_path)
    rates = [row["learning_rate"] for row in records(tmp_path)]
    steps = np.array([STEPS, 2 * STEPS, 3 * STEPS]) - 1
    expected = 1e-3 * (1 + np.cos(np.pi * steps / (3 * STEPS))) / 2
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


def test_the_seconds_before_an_interruption_count(tmp_path, monkeypatch):
    config = small_config()
    config.epochs = 1
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        start = time.perf_counter
        patch.setattr(loop, "perf_counter", lambda: 1000 * start())
        run(config, tmp_path)
    run(config, tmp_path)
    assert records(tmp_path)[0]["seconds"] > 10


def test_a_finished_run_needs_no_data(tmp_path, monkeypatch):
    config = small_config()
    config.epochs = 1
    run(config, tmp_path)

    def absent(*_):
        raise data.DataError("no data")

    monkeypatch.setattr(data, "load", absent)
    assert run(config, tmp_path)[0] == 0


@pytest.mark.usefixtures("terminal")
def test_signals_are_a_wish_once_and_handlers_come_back(monkeypatch):
    monkeypatch.setattr(interruption, "is_command", False)
    before = signal.getsignal(signal.SIGINT)
    with interruption.caught_signals() as interrupted:
        assert interrupted() == 0
        signal.raise_signal(signal.SIGINT)
        assert interrupted() == signal.SIGINT
        assert signal.getsignal(signal.SIGINT) == before  # as in a notebook
    assert signal.getsignal(signal.SIGINT) == before
    monkeypatch.setattr(interruption, "is_command", True)
    noted = []
    # The second is how one of several processes hears of them (`cluster`).
    for caught in (
        interruption.caught_signals(),
        interruption.handled(noted.append, but="SIGTERM"),
    ):
        with caught:
            signal.raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) == before
    assert noted == [signal.SIGINT]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "my run"}, "name='my run', but"),
        ({"batch_size": 0}, "batch_size=0, but"),
        ({"optimizer": OptimizerConfig("loin")}, r"optimizer.name='loin', but"),
    ],
)
def test_python_refuses_what_the_command_refuses(tmp_path, changes, said):
    config = dataclasses.replace(small_config(), **changes)
    for call in (partial(training.run, folder=tmp_path / "run"), training.dry_run):
        with pytest.raises(ConfigError, match=said):
            call(config)
    assert not list(tmp_path.iterdir())


def test_a_folder_of_another_configuration_is_refused_naming_the_fields(tmp_path):
    config = small_config()
    (tmp_path / "run").mkdir()
    run_folder.write_json(
        tmp_path / "run" / run_folder.CONFIG, dataclasses.asdict(config)
    )
    (tmp_path / "run" / run_folder.METRICS).write_text("{}\n")
    config.optimizer.learning_rate = 0.5
    config.seed = 7
    with pytest.raises(run_folder.RunFolderError) as error:
        run(config, tmp_path / "run")
    message = str(error.value)
    assert "optimizer.learning_rate (0.001 there, 0.5 asked for)" in message
    assert "seed (0 there, 7 asked for)" in message
    assert "batch_size" not in message


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(run_folder.RunFolderError, match="is a file; give another"):
        run(small_config(), tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "dear"


def test_sigterm_saves_and_exits_143_and_the_same_command_resumes(command, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    arguments = (
        *("--config", str(command.folder / "mine.py"), "--workdir=run"),
        "--config.epochs=500",
    )
    (command.folder / "mine.py").write_text(
        "from lion_jax.config import *\n"
        "def get_config():\n"
        "    return Config(batch_size=64, image_size=28, name='mine',\n"
        "        data=DataConfig(name='fashion_mnist_sample'),\n"
        f"        model=ModelConfig(name={STEM!r}),\n"
        "        early_stopping=EarlyStoppingConfig(patience=0))\n"
    )
    process = command.start("lion_jax.train", *arguments)
    metrics = command.folder / "run" / "metrics.jsonl"
    deadline = time.time() + 120
    while not (metrics.exists() and metrics.read_text()) and time.time() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (143, "")
    assert "interrupted after step" in out
    process = command.start("lion_jax.train", *arguments)
    while "resumed at step" not in (line := process.stdout.readline()):
        assert line
    process.kill()
    process.communicate()


def test_history_folds_as_the_run_did():
    rows = [
        Epoch(
            epoch=epoch,
            step=epoch,
            train_loss=1.0,
            train_accuracy=0.5,
            val_loss=loss,
            val_accuracy=0.5,
            images_per_second=10.0 * epoch,
            seconds=1.0,
        )
        for epoch, loss in enumerate([3.0, 2.0, 2.5, 2.4], start=1)
    ]
    rules = {"patience": 2, "min_delta": 0.0, "start_epoch": 1}
    assert history.stop_reason(rows[:3], 9, **rules) == ""
    assert history.stop_reason(rows, 9, **rules) == "early_stopping"
    assert history.stop_reason(rows[:3], 3, **rules) == "epochs"
    summary = history.summarize(rows, 9, **rules)
    assert summary["best_epoch"] == 2
    assert summary["val_loss"] == 2.0
    assert summary["images_per_second"] == 25
    assert summary["seconds_train"] == 4
    rows[-1] = dataclasses.replace(rows[-1], val_loss=None)
    assert history.stop_reason(rows, 9, **rules) == "diverged"
    assert history.summarize(rows, 9, **rules)["best_epoch"] == 2


def test_json_has_no_nan(tmp_path):
    run_folder.write_json(
        tmp_path / "x.json", {"a": math.nan, "b": {"c": math.inf}, "d": 1}
    )
    assert json.loads((tmp_path / "x.json").read_text()) == {
        "a": None,
        "b": {"c": None},
        "d": 1,
    }


def test_what_a_finished_run_does_not_do_any_more_is_said(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "run")
    status, said = run(small_config(), tmp_path / "run", profile=True)
    assert status == 0
    assert "nothing was left to do for --profile; give another --workdir." in said
    assert "nothing was left" not in run(small_config(), tmp_path / "run")[1]


@pytest.mark.standard_promotion("Optax's cosine schedule adds floats to integers")
def test_a_run_that_has_kept_nothing_makes_way(tmp_path, monkeypatch):
    """Its first step failed, as for want of memory, and a value is changed for that."""
    folder, failing = tmp_path / "run", small_config()
    failing.batch_size, failing.optimizer.schedule, failing.epochs = 100, "cosine", 9

    def fail(*_, **__):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "_train_epoch", fail)
        patch.setenv("XLA_FLAGS", "--other")
        with pytest.raises(RuntimeError):
            run(failing, folder)
    assert run_folder.read_json(folder / "config.json")["batch_size"] == 100
    status, said = run(small_config(), folder)
    assert status == 0
    changed = f"batch_size (100 there, {small_config().batch_size} asked for)"
    assert f"note: replaced: a run that had kept nothing, of other {changed}" in said
    assert "epochs (9 there, 3 asked for), opt" in said
    assert run_folder.read_json(folder / "config.json")["batch_size"] != 100
    assert "warning" not in said
    assert "earlier" not in run_folder.read_json(folder / "environment.json")
    with pytest.raises(run_folder.RunFolderError, match="holds a run of another"):
        run(failing, folder)


@pytest.mark.parametrize("field", ["commit", "lion-jax"])
def test_a_run_that_goes_on_with_other_code_says_so(tmp_path, field):
    (tmp_path / run_folder.METRICS).write_text("{}\n")
    now, said = {"commit": "b", "lion-jax": "2", "python": "3.13"}, []
    before = now | {field: "a", "python": "3.12"}
    run_folder.write_json(tmp_path / run_folder.ENVIRONMENT, before)
    assert conditions.describe(tmp_path, now, said.append) == now | {
        "earlier": [before]
    }
    assert f"{field} ('a' then, {now[field]!r} now)" in " ".join(said)
    assert "python" not in " ".join(said)


def test_what_a_run_was_trained_for_holds_for_its_predictions(
    tmp_path, monkeypatch, whole
):
    """Without options of the compiler where the model is a part of something larger."""
    shutil.copytree(whole, folder := tmp_path / "run")
    saved = run_folder.read_json(folder / "config.json")
    run_folder.write_json(folder / "config.json", saved | {"deterministic": True})
    seen, of = [], lowering.calls.of
    monkeypatch.setattr(
        lowering.calls, "of", lambda *x, **options: seen.append(options) or of(*x)
    )
    model, images = training.load(folder), small_dataset().test_images[:2]
    assert seen == [{"fused_attention": False}]
    wanted = training.load(whole).predict(images)
    np.testing.assert_array_equal(model.predict(images), wanted)
    larger = jax.jit(lambda x: model.apply(model.params, model.batch_stats, x) + 1)
    np.testing.assert_allclose(larger(images), wanted + 1, rtol=1e-5)
    training.write_program(model, tmp_path / "program")
    monkeypatch.setattr(lowering, "DETERMINISTIC", {"xla_no_such_option": True})
    with pytest.raises(Exception, match="xla_no_such_option"):
        training.load(folder).predict(images)


@pytest.mark.parametrize("rule", ["min_delta", "start_epoch"])
def test_without_patience_a_run_may_go_on_whatever_its_rules_were(ended_early, rule):
    """A value that has no effect is refused without patience: it must be let go."""
    saved = run_folder.read_json(ended_early / "config.json")
    saved["early_stopping"] |= {"patience": 3, rule: 7}
    wanted = json.loads(json.dumps(saved))
    wanted["early_stopping"] |= {"patience": 0, rule: 1}
    assert identity.conflicts(saved, wanted) == []
    wanted["early_stopping"]["patience"] = saved["early_stopping"]["patience"]
    assert identity.conflicts(saved, wanted)


def test_a_finished_run_needs_no_metrics(tmp_path, whole):
    shutil.copytree(whole, tmp_path / "run")
    (tmp_path / "run" / run_folder.METRICS).write_text('{"epoch": 1, "st')
    status, said = run(small_config(), tmp_path / "run")
    assert status == 0
    assert "This run is finished" in said
