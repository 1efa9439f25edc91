"""Many runs by one command: what is run, recorded, resumed, refused."""

import dataclasses
import io
import itertools
import json
import os
import re
import shlex
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest
import small_runs
from command_line import ending
from rich.console import Console
from small_runs import interrupt_at

from lion_jax import cli, data
from lion_jax import config as configs
from lion_jax.compare import __main__ as compare
from lion_jax.compare import campaign, compiled, making, records
from lion_jax.flags import CommandLine
from lion_jax.training import loop, run_folder, sharding
from lion_jax.training.evaluation import Evaluation
from lion_jax.training.history import Epoch
from lion_jax.training.program import Program
from lion_jax.training.tables import TABLES
from lion_jax.training.task import make_task, split

pytestmark = [
    pytest.mark.usefixtures("small_data"),
    pytest.mark.standard_promotion("optax.adamw raises floats to integer powers"),
]

ROOT = Path(__file__).parents[1]
CONFIG = """\
from lion_jax.config import *

def get_config():
    return Config(
        name="tiny_{optimizer}", epochs=2, batch_size=64, eval_batch_size=64,
        image_size=14, devices=1, data=DataConfig(name="fashion_mnist_sample"),
        model=ModelConfig(name="small_models:stem"), augment=AugmentConfig(flip=True),
        optimizer=OptimizerConfig(name="{optimizer}", learning_rate={rate}),
        early_stopping=EarlyStoppingConfig(patience=0))
"""
TWICE = ["--config.epochs=1", "--sweep=epochs=2"]


@pytest.fixture(autouse=True)
def lighter(monkeypatch):
    """The process's memory and caches are not a test's to change, and time is short."""
    monkeypatch.setattr(compare.runtime, "start", lambda *_, **__: None)
    monkeypatch.setattr(compiled, "Program", small_runs.build_once)
    monkeypatch.setattr(compiled.fitting, "check", small_runs.check_once)


@pytest.fixture
def files(tmp_path):
    paths = []
    for optimizer, rate in ("lion", 1e-3), ("adamw", 1e-2):
        paths.append(tmp_path / f"{optimizer}.py")
        paths[-1].write_text(CONFIG.format(optimizer=optimizer, rate=rate))
    return ",".join(map(str, paths))


def loaded(files):
    return [cli.load_config(path) for path in files.split(",")]


def without_times(out):
    """All records, without what is measured by a clock."""
    found = {}
    for path in sorted((out / records.FOLDER).glob("*/*.json")):
        record = json.loads(path.read_text())
        for row in (*record["epochs"], record["result"]):
            for name in [*row]:
                if name.startswith(("seconds", "images_per_second", "peak")):
                    del row[name]
        del record["environment"]
        found[str(path.relative_to(out))] = record
    return found


@pytest.fixture(scope="module")
def whole_comparison(tmp_path_factory):
    """The folder of an undisturbed comparison, two configurations x two seeds."""
    folder = tmp_path_factory.mktemp("whole")
    for optimizer, rate in ("lion", 1e-3), ("adamw", 1e-2):
        text = CONFIG.format(optimizer=optimizer, rate=rate)
        (folder / f"{optimizer}.py").write_text(text)
    paths = f"{folder}/lion.py,{folder}/adamw.py"
    with pytest.MonkeyPatch.context() as patch:
        small = small_runs.small_dataset()
        patch.setattr(data, "load", lambda *_: small)
        patch.setattr(compare.runtime, "start", lambda *_, **__: None)
        patch.setattr(compiled, "Program", small_runs.build_once)
        arguments = ["--configs", paths, "--seeds=2", f"--out={folder / 'out'}"]
        assert compare.main(["run", *arguments]) == 0
    return folder / "out"


def run(files, out, *more):
    return compare.main(["run", "--configs", files, f"--out={out}", *more])


def test_every_run_has_its_record_and_nothing_else_is_left(whole_comparison):
    names = {
        str(path.relative_to(whole_comparison))
        for path in (whole_comparison / records.FOLDER).rglob("*")
        if path.is_file()
    }
    assert names == {
        f"records/tiny_{optimizer}/seed_{seed}.json"
        for optimizer in ("lion", "adamw")
        for seed in (0, 1)
    }
    left = {path.name for path in whole_comparison.iterdir()}
    assert left == {"records", "campaigns", ".lock"}
    record = records.read(records.path_of(whole_comparison, "tiny_adamw", 1))
    assert record.seed == record.config["seed"] == record.result.seed == 1
    assert [epoch.epoch for epoch in record.epochs] == [1, 2]
    assert record.result.test_accuracy is not None
    assert record.environment["jax"] == jax.__version__
    assert record.memory["optimizer_state"] > 2 * record.memory["parameters"]
    assert record.memory["step"] > record.memory["parameters"]
    lion = records.read(records.path_of(whole_comparison, "tiny_lion", 1)).memory
    assert lion["parameters"] < lion["optimizer_state"] < 1.1 * lion["parameters"]


def test_a_record_is_that_of_the_training_command(whole_comparison, files, tmp_path):
    config = cli.load_config(files.split(",")[0])
    config.seed = 1
    small_runs.run(config, tmp_path / "alone", build=Program)
    alone = small_runs.without_times(small_runs.records(tmp_path / "alone"))
    record = records.read(records.path_of(whole_comparison, "tiny_lion", 1))
    assert small_runs.without_times(map(Epoch.to_dict, record.epochs)) == alone
    result = json.loads((tmp_path / "alone" / run_folder.RESULT).read_text())
    assert record.result.test_loss == result["test_loss"]


def test_each_configuration_is_compiled_once(files, tmp_path, monkeypatch, capsys):
    built = []

    def build(config, *rest):
        built.append(config.name)
        return small_runs.build_once(config, *rest)

    monkeypatch.setattr(compiled, "Program", build)
    assert run(files, tmp_path / "out", "--seeds=1") == 0
    assert run(files, tmp_path / "out", "--seeds=3", "--config.epochs=2") == 0
    assert built == ["tiny_lion", "tiny_adamw"] * 2
    said = capsys.readouterr().out
    assert "2 done, 4 remaining" in said
    assert "[6/6] tiny_adamw, seed 2: validation" in said
    assert run(files, tmp_path / "out", "--seeds=3") == 0
    assert len(built) == 4  # nothing is missing, nothing compiled


def test_interrupted_runs_go_on_and_no_number_changes(
    files, tmp_path, monkeypatch, whole_comparison, capsys
):
    for calls in (6, 12, 23):
        with monkeypatch.context() as patch:
            interrupt_at(patch, calls)
            status = run(files, tmp_path / "out", "--seeds=2")
            assert status == 128 + signal.SIGTERM
    (begun,) = (tmp_path / "out" / campaign.UNFINISHED).rglob("environment.json")
    text = begun.read_text()
    begun.write_text(text.replace('"processor": "', '"processor": "another '))
    capsys.readouterr()
    assert run(files, tmp_path / "out", "--seeds=2") == 0
    said = capsys.readouterr().out
    assert said.count("warning: this run was begun under other conditions") == 1
    assert re.search(r"tiny_\w+, seed \d: warning: .*processor \('another ", said)
    assert re.search(r"tiny_\w+, seed \d: resumed at step \d+, with", said)
    earlier = [x.environment.get("earlier") for x in records.read_all(tmp_path / "out")]
    (before,) = (x for x in earlier if x)
    assert before[0]["processor"].startswith("another ")
    assert without_times(tmp_path / "out") == without_times(whole_comparison)
    assert not (tmp_path / "out" / campaign.UNFINISHED).exists()


@pytest.mark.parametrize(
    ("calls", "said"),
    [(0, "interrupted before the first run; rerun"), (2, "interrupted in tiny_lion")],
)
def test_nothing_is_compiled_after_a_signal(
    files, tmp_path, monkeypatch, capsys, calls, said
):
    monkeypatch.setattr(campaign, "build", lambda *_: pytest.fail("compiled"))
    interrupt_at(monkeypatch, calls)
    assert run(files, tmp_path / "out", "--seeds=1") == 128 + signal.SIGTERM
    assert said in capsys.readouterr().out


def test_what_holds_for_all_seeds_of_a_configuration_is_said_once(files, tmp_path):
    lines = []
    lion, adamw = campaign.plan(loaded(files), lambda config, _: config, {})
    take = campaign._Notes(lines.append).take
    for point, seed in (lion, 0), (lion, 1), (adamw, 1):
        run = making.Making(point, seed, tmp_path, {}, {}, True, lambda: 0, take)
        run.note(run, "frozen")
    assert lines == ["tiny_lion, seed 0: frozen", "tiny_adamw, seed 1: frozen"]


def test_the_devices_that_vote_are_a_part_of_what_is_run(files):
    bases = loaded(files)[:1]

    def configure(config, values):
        return configs.with_values(config, {"mesh.vote": "majority"} | values)

    two, eight = campaign.plan(bases, configure, {"devices": [2, 8]})
    (every,) = campaign.plan(bases, configure, {"devices": [0]})
    one, other = campaign.plan(bases, configs.with_values, {"devices": [2, 8]})
    assert every.config.devices == jax.device_count()
    stored = [dataclasses.asdict(x.config) for x in (two, eight, one, other)]
    assert records.differences(*stored[:2]) == ["devices (2 there, 8 asked for)"]
    assert records.differences(*stored[2:]) == []
    assert records.what_is_run(stored[0]) != records.what_is_run(stored[1])
    assert records.what_is_run(stored[2]) == records.what_is_run(stored[3])


def test_a_finished_command_leaves_other_unfinished_runs_alone(
    files, tmp_path, monkeypatch
):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        interrupt_at(patch, 6)
        run(files, out, "--seeds=1", "--first_seed=5")
    (kept,) = (out / campaign.UNFINISHED).rglob("seed_*")
    assert run(files, out, "--seeds=1", "--config.epochs=2") == 0
    assert run(files, out, "--seeds=1") == 0  # with nothing to do
    assert kept.exists()
    assert run(files, out, "--seeds=1", "--first_seed=5") == 0
    assert not (out / campaign.UNFINISHED).exists()


def test_unfinished_runs_of_another_configuration_are_refused_at_once(
    files, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        interrupt_at(patch, 6)
        run(files, tmp_path / "out", "--seeds=1")
    monkeypatch.setattr(campaign, "build", lambda *_: pytest.fail("compiled"))
    with pytest.raises(run_folder.RunFolderError, match=r"epochs \(2 there.*--out"):
        run(files, tmp_path / "out", "--seeds=2", "--config.epochs=3")


def results(report):
    """A report without what a clock measured."""
    text, _, rest = report.partition("## Time to target accuracy")
    lines = text.splitlines()
    untimed = [line for line in lines if "seconds to the target" not in line]
    return untimed, rest[rest.index("## What was run") :]


def test_killed_runs_go_on_and_no_number_of_the_report_changes(
    files, tmp_path, whole_comparison, kill
):
    out = tmp_path / "out"
    for epochs in (2, 4):  # within the first run, and within the third
        arguments = ["run", "--configs", files, f"--out={out}", "--seeds=2"]
        kill("loop._end_epoch", epochs, *arguments)
    assert run(files, out, "--seeds=2") == 0
    assert without_times(out) == without_times(whole_comparison)
    shutil.copytree(whole_comparison, tmp_path / "whole")
    for folder in out, tmp_path / "whole":
        assert compare.main(["report", f"--out={folder}"]) == 0
    texts = [(folder / "report.md").read_text() for folder in (out, tmp_path / "whole")]
    assert results(texts[0]) == results(texts[1])


def test_a_run_killed_before_its_record_is_recorded_without_training(
    files, tmp_path, monkeypatch, whole_comparison
):
    write = records.write
    monkeypatch.setattr(records, "write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(files, tmp_path / "out", "--seeds=1")
    monkeypatch.setattr(records, "write", write)
    monkeypatch.setattr(
        making.loop, "execute", lambda trial, _: pytest.fail(trial.config.name)
    )
    with pytest.raises(pytest.fail.Exception, match="tiny_adamw"):
        run(files, tmp_path / "out", "--seeds=1")
    first = str(records.path_of(tmp_path, "tiny_lion", 0).relative_to(tmp_path))
    assert without_times(tmp_path / "out") == {
        first: without_times(whole_comparison)[first]
    }


def test_a_sweep_is_a_grid_and_does_not_use_the_test_set(files, tmp_path, monkeypatch):
    monkeypatch.setattr(small_runs, "BUILT", {})  # programs that are not watched
    seen, evaluate = [], Evaluation.evaluate

    def watched(self, params, batch_stats, name, *rest):
        seen.append(name)
        return evaluate(self, params, batch_stats, name, *rest)

    monkeypatch.setattr(Evaluation, "evaluate", watched)
    # The epochs are no part of the program of a constant learning rate.
    sweep = ["--sweep=optimizer.learning_rate=1e-4,1e-3", "--sweep=epochs=1,2"]
    more = ["--seeds=1", "--first_seed=7"]
    assert run(files.split(",")[0], tmp_path / "out", *sweep, *more) == 0
    assert set(seen) == {"validation"}
    found = records.read_all(tmp_path / "out")
    assert {(r.swept["optimizer.learning_rate"], r.swept["epochs"]) for r in found} == {
        *itertools.product((1e-4, 1e-3), (1, 2))
    }
    for record in found:
        assert record.seed == 7
        assert record.result.test_accuracy is None
        assert record.result.val_accuracy is not None
        assert record.config["epochs"] == record.swept["epochs"]


@pytest.mark.parametrize("trials", [2, 6, 8, 9])
def test_proposed_grids_are_mirrored_and_run_as_they_are(files, capsys, trials):
    more = [f"--trials={trials}", "--trial_seeds=2", "--ratio=5", "--out=o p"]
    assert compare.main(["grid", "--configs", files, *more]) == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    swept = []
    for words, path, base in zip(lines, files.split(","), loaded(files), strict=True):
        assert words[:4] == ["python", "-m", "lion_jax.compare", "run"]
        options = dict(zip(words[4::2], words[5::2], strict=True))
        assert options["--configs"] == path
        assert (options["--seeds"], options["--out"]) == ("2", "o p")
        texts = [w for w in words if w.startswith("optimizer.")]
        sweeps = dict(compare._sweep(text) for text in texts)
        assert len(campaign.plan([base], configs.override, sweeps)) == trials
        swept.append({field: np.array(v, float) for field, v in sweeps.items()})
    lion, adamw = swept
    rate, decay = "optimizer.learning_rate", "optimizer.weight_decay"
    np.testing.assert_allclose(adamw[rate] / lion[rate], 5, rtol=0.05)
    np.testing.assert_allclose(lion[decay] / adamw[decay], 5, rtol=0.05)
    assert 1e-2 in adamw[rate]  # the file's own


@pytest.mark.parametrize(
    ("trials", "said"),
    [
        (7, "7 learning rates x 1 weight decay: the weight decay is not varied; --tr"),
        (8, "4 learning rates x 2 weight decays: both decays lie on the edge"),
        (8, "--trials=9 has 3 x 3, and --random=0 varies both."),
        (10, "--trials=12 has 4 x 3, and"),
        (9, ""),
        (12, ""),
    ],
)
def test_a_grid_whose_decays_are_all_edges_is_noted(files, capsys, trials, said):
    argv = ["grid", "--configs", files, f"--trials={trials}"]
    assert compare.main(argv) == 0
    found = capsys.readouterr().err
    assert said in found if said else not found
    assert compare.main([*argv, "--random=0"]) == 0
    assert not capsys.readouterr().err


def test_a_grid_without_decays_has_none_on_an_edge(tmp_path, capsys):
    text = CONFIG.format(optimizer="adam", rate=1)
    own = re.sub(r"OptimizerConfig\(.*?\)", 'OptimizerConfig(name="optax:adam")', text)
    (tmp_path / "adam.py").write_text(own)
    assert compare.main(["grid", f"--configs={tmp_path}/adam.py", "--trials=8"]) == 0
    assert not capsys.readouterr().err


@pytest.mark.parametrize("trials", [9, 25])
def test_no_two_random_trials_are_one(files, capsys, trials):
    for seed in range(4):
        found = proposed(
            capsys, [files.split(",")[0]], f"--trials={trials}", f"--random={seed}"
        )
        (fields,) = found.values()
        assert len({*fields["optimizer.learning_rate"]}) == trials


def test_a_grid_is_around_what_the_files_have(tmp_path, capsys):
    def made(file, **fields):
        given = ", ".join(f"{key}={value!r}" for key, value in fields.items())
        text = CONFIG.format(optimizer=file, rate=1)
        text = re.sub(r"OptimizerConfig\(.*?\)", f"OptimizerConfig({given})", text)
        (tmp_path / f"{file}.py").write_text(text)
        return str(tmp_path / f"{file}.py")

    odd = made("odd", name="adamw", learning_rate=1.234e-3, weight_decay=0.0)
    found = proposed(capsys, [odd], "--trials=4")[odd]
    assert found.keys() == {"optimizer.learning_rate"}  # there is no decay to vary
    assert len(found["optimizer.learning_rate"]) == 4
    assert 1.234e-3 in found["optimizer.learning_rate"]
    mirror = made("mirror", name="adamw", learning_rate=3e-3, weight_decay=0.1)
    found = proposed(capsys, [mirror, made("lion", name="lion")], "--trials=9")
    assert 3e-4 in found[str(tmp_path / "lion.py")]["optimizer.learning_rate"]
    third = made("third", name="adamw", learning_rate=1 / 3000, weight_decay=0.1)
    found = proposed(capsys, [third], "--trials=9")[third]
    assert 1 / 3000 in found["optimizer.learning_rate"]  # to the last digit
    text = made("text", name="optax:adamw", options={"weight_decay": "0.1"})
    many = made("many", name="adamw", weight_decay=0.0)
    for argv, said in (
        ([text], r"text\.py: optimizer\.options\.weight_decay is '0\.1', but a grid"),
        ([f"{odd},{many}"], "have AdamW for one protocol.*leave the other out"),
        ([many, "--trials=5000"], "too many for one span; set a smaller --trials"),
    ):
        with pytest.raises(configs.ConfigError, match=said):
            compare.main(["grid", "--configs", *argv])
    again = tmp_path / "again.py"
    again.write_text(Path(odd).read_text())
    with pytest.raises(configs.ConfigError, match="both called 'tiny_odd'; give one"):
        compare.main(["grid", "--configs", f"{odd},{again}"])
    assert compare.main(["grid", f"--configs={many}", "--trials=9"]) == 0  # the remedy


def test_random_values_do_not_depend_on_how_their_number_is_divided(files, capsys):
    paths = files.split(",")
    many = {n: proposed(capsys, paths, f"--trials={n}", "--random=0") for n in (8, 13)}
    for path in paths:
        for field in ("optimizer.learning_rate", "optimizer.weight_decay"):
            values = many[13][path][field]
            assert len({*values}) > 5  # two digits of thirteen
            assert values[:8] == many[8][path][field]


def proposed(capsys, paths, *more):
    """The values of each field that proposed commands sweep, by configuration."""
    assert compare.main(["grid", "--configs", ",".join(paths), *more]) == 0
    swept = {path: {} for path in paths}
    for line in capsys.readouterr().out.splitlines():
        words = shlex.split(line)
        fields = swept[words[words.index("--configs") + 1]]
        sweeps = [compare._sweep(text) for text in words if text[:10] == "optimizer."]
        for field, texts in sweeps:
            fields.setdefault(field, []).extend(map(float, texts))
    return swept


@pytest.mark.parametrize("more", [[], ["--random=3"]], ids=["grid", "random"])
def test_every_optimizer_has_as_many_trials_over_equal_spans(tmp_path, capsys, more):
    """Built in or not, with weight decay or without, each around its own file."""
    rate, decay = "optimizer.learning_rate", "optimizer.weight_decay"
    own = "optimizer.options.weight_decay"
    fields = {
        "adamw": 'name="adamw", learning_rate=1e-2, weight_decay=1e-2',
        "lion": 'name="lion", learning_rate=3e-4',
        "sgd": 'name="sgd", learning_rate=0.1, weight_decay=1e-3',
        "muon": 'name="optax.contrib:muon", learning_rate=0.05,'
        ' options={"weight_decay": 0.1}',
        "adam": 'name="optax:adam", learning_rate=2e-3',
    }
    paths = {name: str(tmp_path / f"{name}.py") for name in fields}
    for name, text in fields.items():
        start = CONFIG.format(optimizer=name, rate=1)
        Path(paths[name]).write_text(
            re.sub(r"OptimizerConfig\(.*?\)", f"OptimizerConfig({text})", start)
        )
    found = proposed(capsys, [*paths.values()], "--trials=8", *more)
    found = {name: found[path] for name, path in paths.items()}
    spans = {
        name: {field: max(values) / min(values) for field, values in of.items()}
        for name, of in found.items()
    }
    sizes = {name: [*map(len, of.values())] for name, of in found.items()}
    for name in ("lion", "sgd", "muon"):
        assert [*found[name]] == [rate, own if name == "muon" else decay]
        assert sizes[name] == ([8, 8] if more else [4, 2])
        for one, other in zip(
            spans[name].values(), spans["adamw"].values(), strict=True
        ):
            assert one == pytest.approx(other, rel=0.1)
    assert [*found["adam"]] == [rate]
    assert sizes["adam"] == [8]
    assert spans["adam"][rate] == pytest.approx(spans["adamw"][rate], rel=0.1)
    # Lion's mirror AdamW's; the others' lie around their own.
    assert found["lion"][rate][0] == pytest.approx(
        found["adamw"][rate][0] / 10, rel=0.1
    )
    assert found["muon"][rate][0] == pytest.approx(found["adamw"][rate][0] * 5, rel=0.1)
    if not more:
        assert 0.05 in found["muon"][rate]
        assert 0.1 in found["muon"][own]


def test_a_run_that_diverges_is_recorded(files, tmp_path):
    lion = files.split(",")[0]
    more = ["--seeds=1", "--config.optimizer.name=sgd"]
    more += ["--config.optimizer.learning_rate=1e18"]
    assert run(lion, tmp_path / "out", *more) == 0
    (record,) = records.read_all(tmp_path / "out")
    assert record.diverged
    assert record.result.test_accuracy is None
    assert record.result.diverged.startswith("train_loss is not finite at step ")
    assert compare.main(["report", f"--out={tmp_path / 'out'}"]) == 0


def test_a_time_limit_ends_after_the_run_under_way(files, tmp_path, capsys):
    assert run(files, tmp_path / "out", "--seeds=2", "--time_limit=0.001") == 0
    assert "--time_limit is over; 4 runs remaining" in capsys.readouterr().out
    assert not (tmp_path / "out" / records.FOLDER).exists()


def test_records_of_another_configuration_are_refused(
    files, tmp_path, whole_comparison
):
    before = without_times(whole_comparison)
    for more in (["--seeds=2"], ["--seeds=2", "--first_seed=2"]):
        with pytest.raises(
            run_folder.RunFolderError, match=r"epochs \(2 there, 3 asked for"
        ):
            run(files, whole_comparison, *more, "--config.epochs=3")
    assert without_times(whole_comparison) == before


def test_a_second_command_in_one_folder_is_refused(files, tmp_path):
    said = rf"process {os.getpid()} on .*Z; wait .*--out"
    with (
        run_folder.locked(tmp_path / "out"),
        pytest.raises(run_folder.RunFolderError, match=said),
    ):
        run(files, tmp_path / "out", "--seeds=1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "run | status | report"),
        (["run", "--out=x"], "--configs"),
        (["run", "--configs=*.txt", "--out=x"], "no file matches"),
        (["run", "--configs=none.py", "--out=x"], "none.py: there is no such file"),
        (["run", "--configs=FILES", "--out=x", "--seeds=0"], "must be >= 1"),
        (["run", "--configs=FILES", "--out=x", "--seeds=many"], "many"),
        (["run", "--configs=LION,LION", "--out=x"], "'tiny_lion' occurs twice"),
        (["run", "--configs=LION", "--out=x", "--sweep=epochs"], "FIELD=VALUE"),
        (["run", "--configs=LION", "--out=x", "--sweep=epochs=1,1"], "occurs twice"),
        (["run", "--configs=LION", "--out=x", "--sweep=epoch=1"], "--config.epochs?"),
        (["run", "--configs=LION", "--out=x", "--sweep=seed=1"], "--seeds sets"),
        (["run", "--configs=LION", "--out=x", "--config.seed=1"], "--seeds sets"),
        (["run", "--configs=LION", "--out=x", "--config.epochs=few"], "type int"),
        (["run", "--configs=LION", "--out=x", "--config.epochs=0"], "must be >= 1"),
        (["run", "--configs=LION", "--out=x", "--config.optimizer.eps=1"], "adamw"),
        (["run", "--configs=LION", "--out=x", "--time_limit=0"], "must be > 0"),
        (["run", "--configs=LION", "--out=x", *TWICE], "epochs is set twice"),
        (["run", "--configs=LION", "--out=x", *TWICE[1:] * 2], "epochs is set twice"),
        (["run", "--configs=LION", "--out=x", "--sedes=3"], "did you mean --seeds=3?"),
        (["run", "--configs=LION", "--out=LION"], "is a file"),
        (["run", "--configs=LION", "--out=x", "--config.batch_size=999"], "999"),
        (["run", "--configs=LION", "--out=x", "--shard=8/8"], "0 <= I < N"),
        (["run", "--configs=LION", "--out=x", "--shard_by=pair"], "one of run, seed"),
        (["status"], "--out is missing"),
        (["status", "--out=none"], "holds no records"),
        (["report", "--out=none"], "holds no records"),
        (["report", "--out=none", "--target=90"], "must be > 0 and < 1"),
        (["report", "--out=none", "--target=vit="], "must be > 0 and < 1"),
        (["report", "--out=none", "--primary=speed"], "test_accuracy"),
        (["report", "--out=none", "fast"], "unexpected argument 'fast'"),
        (["grid", "--configs=none.py"], "none.py: there is no such file"),
        (["grid", "--configs=LION", "--trials=1"], "at least 2 trials"),
        (["grid", "--configs=LION", "--trial_seeds=0"], "of at least 1 seed"),
        (["grid", "--configs=LION", "--ratio=2"], "from 3 to 10"),
    ],
)
def test_mistakes_are_reported_in_one_line_and_nothing_is_written(
    files, tmp_path, monkeypatch, arguments, said
):
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    lion = files.split(",")[0]
    argv = [a.replace("FILES", files).replace("LION", lion) for a in arguments]
    status, told, _ = ending(argv, compare)
    assert status == 2
    lines = told.splitlines()
    assert len(lines) == 1
    assert said in lines[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_help_of_both_commands(capsys):
    for words, said in (["--help"], "report"), (["run", "--help"], "--time_limit"):
        with pytest.raises(SystemExit) as ended:
            compare.main(words)
        assert ended.value.code == 0
        assert said in capsys.readouterr().out


@pytest.mark.parametrize("form", ["commas", "words", "pattern", "repeated"])
def test_files_are_given_by_commas_words_or_a_pattern(files, form):
    lion, adamw = files.split(",")
    words = {
        "commas": ["--configs", files],
        "words": ["--configs", lion, adamw],
        "pattern": [f"--configs={lion.replace('lion.py', '[al]*.py')}"],
        "repeated": [f"--configs={lion}", "--configs", adamw],
    }[form]
    flags = CommandLine("compare run", compare.RunFlags, [*words, "--seeds", "3"]).flags
    assert {*compare.paths(flags.configs)} == {lion, adamw}
    assert flags.seeds == 3


@pytest.mark.parametrize("flag", ["--config.augment.flip", "--config.augment.flip=1"])
def test_a_flag_means_the_same_as_for_training(files, flag):
    line = CommandLine(
        "x", compare.RunFlags, [flag], file_of=compare.RunFlags.load, tables=TABLES
    )
    points = campaign.plan(loaded(files), line.configure, {"epochs": ["3", "4"]})
    assert [point.config.augment.flip for point in points] == [True] * 4
    assert [point.config.epochs for point in points] == [3, 4, 3, 4]


def siblings():
    """Pairs of configuration files that differ in the optimizer's name."""
    stems = {path.stem for path in (ROOT / "configs").glob("*.py")}
    return sorted(
        (stem, stem.replace("lion", "adamw"))
        for stem in stems
        if "lion" in stem and stem.replace("lion", "adamw") in stems
    )


def test_sibling_files_differ_in_their_optimizers_only():
    assert len(siblings()) >= 3
    by_sgd = [(f"{model}_lion", f"{model}_sgd") for model in ("resnet50", "vitb16")]
    for pair in [*siblings(), *by_sgd]:
        ours, theirs = (
            configs.flatten(cli.load_config(str(ROOT / "configs" / f"{stem}.py")))
            for stem in pair
        )
        different = {field for field in ours if ours[field] != theirs[field]}
        assert different >= {"name", "optimizer.name", "optimizer.learning_rate"}
        rest = different - {"name", "optimizer.name", "optimizer.learning_rate"}
        assert rest <= {"optimizer.weight_decay", "optimizer.b2"}, pair


def test_siblings_start_alike_and_see_the_same_batches(files, monkeypatch):
    """The same split, initial weights, order and augmentation for a seed."""
    monkeypatch.setattr(Evaluation, "_compile", lambda *_: None)
    small, mesh, seen = small_runs.small_dataset(), sharding.make_mesh(1), []
    for path in files.split(","):
        config = configs.override(cli.load_config(path), {"augment.crop_padding": "2"})
        splits = split(config, small)
        program = Program(config, make_task(config, small, splits, mesh), splits, mesh)
        state = program.init(5)
        inputs = program.start_epoch(5, 1)
        # The loss of the first step is of the first batch, augmented.
        arrays = [*jax.tree.leaves((state.params, state.batch_stats)), inputs.order]
        copies = [np.asarray(x).copy() for x in (*arrays, *splits.validation)]
        seen.append([*copies, np.asarray(program.train_step(state, inputs)[1])])
    for a, b in zip(*seen, strict=True):
        np.testing.assert_array_equal(a, b)


def test_seeds_of_one_program_are_those_of_programs_of_their_own(monkeypatch):
    monkeypatch.setattr(Evaluation, "_compile", lambda *_: None)
    small, mesh = small_runs.small_dataset(), sharding.make_mesh(1)
    config = small_runs.small_config()
    splits = split(config, small)
    task = make_task(config, small, splits, mesh)
    losses = []
    for program in (
        Program(config, task, splits, mesh),
        Program(configs.override(config, {"seed": "3"}), task, splits, mesh),
    ):
        state = program.init(3)
        for _ in range(2):
            state, loss = program.train_step(state, program.start_epoch(3, 0))
            losses.append(float(loss))
    assert losses[:2] == losses[2:]
    assert losses[0] != losses[1]


def test_the_bar_shows_all_runs(files, tmp_path, monkeypatch):
    shown = []

    class Bar:
        def __enter__(self):
            return lambda text, done: shown.append((text, done))

        def __exit__(self, *_):
            pass

    totals = []
    monkeypatch.setattr(
        campaign, "progress", lambda console, total: totals.append(total) or Bar()
    )
    console = Console(file=io.StringIO())
    points = campaign.plan(
        loaded(files),
        lambda config, _: configs.override(config, {"epochs": "1"}),
        {},
    )
    campaign.run(
        campaign.Campaign(
            points, range(1), tmp_path / "out", True, 1e9, lambda: 0, console
        )
    )
    assert totals == [2 * 6 * 64]
    *_, trained, last = shown
    assert trained == ("tiny_adamw, seed 0, epoch 1/1, validation", 2 * 6 * 64)
    assert last == ("tiny_adamw, seed 0, testing", 2 * 6 * 64)
    losses = [text.partition("1/1, loss ")[2] for text, _ in shown if "loss" in text]
    assert len(losses) >= 2 * (6 - loop.AHEAD)
    assert all(0 < float(loss) < 10 for loss in losses)
    assert [done for _, done in shown] == sorted(done for _, done in shown)
