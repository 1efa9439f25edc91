"""What a campaign and a report are given: refused in one line, by the command's rules.

Of what has another type than a signature says the checks are called by themselves: in
tests each signature is an assertion.
"""

import dataclasses
import math

import numpy as np
import pytest
from command_line import ending
from small_runs import small_config

from lion_jax import compare
from lion_jax.compare import __main__ as command
from lion_jax.compare import campaign, given, shards
from lion_jax.compare.flags import ReportFlags, RunFlags, paths
from lion_jax.compare.targets import checked, parse
from lion_jax.config import ConfigError

LAST = 2**32 - 1
RATE = "optimizer.learning_rate"


@pytest.fixture
def asked(monkeypatch):
    """The campaigns that are begun; none is run."""
    found = []
    monkeypatch.setattr(campaign, "run", lambda one: found.append(one) or True)
    return found


# ------------------------------------------------------------------------------ seeds


@pytest.mark.parametrize(
    "seeds",
    [
        *(0, -1, 2**32 + 1, True, 0.5, "12", None, []),
        *([-1], [2**32], [0, 0, 1], [0.7, 1.2], ["1"], [True, 1], [None]),
    ],
)
def test_what_are_no_seeds_is_refused(seeds):
    with pytest.raises(ConfigError, match=r"^seeds=.*>= 0 and < 2\*\*32; give seeds="):
        given.seeds(seeds)


def test_seeds_are_how_many_or_which():
    assert given.seeds(2) == given.seeds(np.int64(2)) == range(2)
    assert given.seeds(range(LAST, LAST + 1)) == given.seeds((np.uint32(LAST),))
    assert given.seeds(iter([5, 3])) == [5, 3]
    assert len(given.seeds(2**32)) == 2**32


@pytest.mark.parametrize("more", [["4294967296"], ["4294967295", "--seeds=2"]])
def test_a_first_seed_beyond_the_last_is_refused_before_anything_is_written(
    tmp_path, asked, more
):
    out = tmp_path / "out"
    argv = ["run", "--configs=quickstart", f"--out={out}", "--first_seed", *more]
    code, errors, _ = ending(argv, command)
    assert code == 2
    assert "but seeds must be < 2**32; set a smaller --first_seed, or fewer" in errors
    assert not out.exists()
    assert ending([*argv[:3], f"--first_seed={LAST}", "--seeds=1"], command)[0] == 0
    assert [*asked[0].seeds] == [LAST]


# ------------------------------------------------------------------ configurations


@pytest.mark.parametrize(
    ("configurations", "what"),
    [
        ([], "an empty list"),
        (small_config(), "Config alone"),
        (None, "NoneType alone"),
        ("a.py", "str"),
        ([small_config(), "a.py"], "str"),
    ],
)
def test_what_are_no_configurations_is_refused(configurations, what):
    with pytest.raises(ConfigError, match=rf"not {what}; give \[Config"):
        given.configurations(configurations)
    assert given.configurations(iter([small_config()])) == [small_config()]


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ({"optimizer.lr": [1.0]}, r"lr: .*did you mean --config.optimizer.learning_r"),
        ({"optimizer": [1.0]}, "is a group of fields"),
        ({5: [1.0]}, "--config.5: there is no such field"),
        ({"seed": [1]}, "--seeds sets the seeds"),
        ({RATE: []}, r"=\[\], but it must be a list of values"),
        ({RATE: 0.1}, "=0.1, but it must be a list of values"),
        ({"optimizer.schedule": "cosine"}, "='cosine', but it must be a list"),
        ({"optimizer.schedule_options": {"a": 1}}, "but it must be a list of values"),
        ([RATE], "but it must be a list of values"),
    ],
)
def test_what_is_no_sweep_is_refused(sweep, said):
    with pytest.raises(ConfigError, match=said):
        given.sweep(sweep)


def test_values_of_a_sweep_are_those_of_every_configuration(tmp_path, asked):
    both = [small_config(name=name) for name in "ab"]
    values = (rate for rate in (1e-3, 1e-4))  # which can be read once
    assert compare.run(both, tmp_path, sweep=given.sweep({RATE: values}), seeds=1)
    assert len(asked[0].points) == 4
    assert not asked[0].tested


# ---------------------------------------------------------------------------- the rest


@pytest.mark.parametrize(
    ("flags", "name", "value", "rule"),
    [
        (RunFlags, "time_limit", 0.0, "time_limit=0.0, but it must be > 0"),
        (RunFlags, "time_limit", math.nan, "time_limit=nan, but it must be > 0"),
        (RunFlags, "time_limit", "1", "time_limit='1', but it must be of type float"),
        (ReportFlags, "primary", "accuracy", "primary='accuracy', .* of test_accuracy"),
        (ReportFlags, "primary", None, "primary=None, but it must be of type str"),
    ],
)
def test_what_breaks_the_rule_of_a_flag_is_refused(flags, name, value, rule):
    with pytest.raises(ConfigError, match=rf"{rule}.*; leave it out for "):
        given.require_rule(flags, name, value)
    default = next(f.default for f in dataclasses.fields(flags) if f.name == name)
    given.require_rule(flags, name, default)


@pytest.mark.parametrize("pair", [5, "12", (0,), (0, 1, 2), (0.5, 2), ("0", "2")])
def test_what_is_no_pair_of_a_shard_is_refused(pair):
    with pytest.raises(ConfigError, match="must be a pair of a number"):
        shards.of(pair)
    assert shards.of((np.int64(1), 2)) == shards.make(1, 2)


@pytest.mark.parametrize(
    ("targets", "said"),
    [
        *((x, "a dictionary") for x in (0.9, [0.9])),
        *(({"": x}, "> 0 and < 1: a share") for x in (90, 0, 1, math.nan, True)),
        *((x, "> 0 and < 1: a share") for x in ({"resnet50": "0.9"}, {5: 0.9})),
    ],
)
def test_what_are_no_targets_is_refused(targets, said):
    with pytest.raises(ConfigError, match=f"must be {said}"):
        checked(targets)
    assert checked({"": np.float32(0.5)}) == {"": 0.5}


@pytest.mark.parametrize("text", ["0.9,0.8", "a=0.9,a=0.8", "0.9,a=0.8,0.9"])
def test_two_targets_of_a_model_are_refused(text):
    with pytest.raises(ConfigError, match="two targets; give one alone"):
        parse(text)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seeds": 0}, "seeds=0"),
        ({"seeds": []}, "seeds="),
        ({"sweep": {RATE: []}}, "a list of values"),
        ({"time_limit": -1.0}, "time_limit=-1.0"),
    ],
)
def test_python_refuses_what_the_command_refuses(tmp_path, asked, options, said):
    with pytest.raises(ConfigError, match=said):
        compare.run([small_config()], tmp_path / "out", **options)
    with pytest.raises(ConfigError, match="an empty list"):
        compare.run([], tmp_path / "out")
    assert not asked
    with pytest.raises(ConfigError, match="primary='accuracy'"):
        compare.report(tmp_path, primary="accuracy")
    with pytest.raises(ConfigError, match=r"--target=90\.0, but"):
        compare.report(tmp_path, targets={"": 90.0})


@pytest.mark.parametrize("name", ["file", "file/in", "link", "link/in"])
def test_a_place_that_can_be_no_folder_is_refused(tmp_path, asked, name):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    out = tmp_path / name
    said = "is a file; give another" if "file" in name else "leads to .*gone, which"
    with pytest.raises(ConfigError, match=said):
        compare.run([small_config()], out)
    argv = ["run", "--configs=quickstart", f"--out={out}"]
    code, errors, _ = ending(argv, command)
    assert code == 2
    assert errors.count("\n") == 1
    assert not asked
    (tmp_path / "gone").mkdir()  # the remedy
    if "link" in name:
        assert ending(argv, command)[0] == 0


# --------------------------------------------------------------------- names of files


def test_names_of_files_may_have_brackets_and_commas(tmp_path):
    folders = [tmp_path / name for name in ("c fg [x]", "a,b", "a,b [x]", "plain")]
    for folder in folders:
        folder.mkdir()
        for name in ("lion.py", "adamw.py"):
            (folder / name).touch()
    brackets, comma, both, plain = map(str, folders)
    for folder in brackets, both, plain:
        assert paths([f"{folder}/l*.py"]) == [f"{folder}/lion.py"]
        assert len(paths([f"{folder}/*.py"])) == 2
    assert paths([f"{comma}/lion.py"]) == [f"{comma}/lion.py"]
    several = f"{plain}/lion.py,{comma}/lion.py,{both}/[al]*.py,{plain}/adamw.py"
    assert [path.removeprefix(f"{tmp_path}/") for path in paths([several])] == [
        *("plain/lion.py", "a,b/lion.py"),
        *("a,b [x]/adamw.py", "a,b [x]/lion.py", "plain/adamw.py"),
    ]
    assert paths([f"{plain}/[l,a]*.py"]) == paths([f"{plain}/*.py"])
    assert paths(["none.py,none too.py"]) == ["none.py", "none too.py"]
    with pytest.raises(ConfigError, match="no file matches"):
        paths([f"{brackets}/x*.py"])
