"""Models, data, optimizers and schedules of the user's own, by reference."""

import dataclasses
import functools
import importlib
import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from command_line import ending
from flax import nnx
from PIL import Image
from small_runs import assert_same_run, interrupt_at, run
from small_runs import records as rows

from lion_jax import (
    cli,
    data,
    evaluate,
    export,
    identity,
    models,
    predict,
    references,
    train,
)
from lion_jax.compare import __main__ as compare
from lion_jax.compare import campaign, records, reports, targets
from lion_jax.compare.analysis import Options, analyse
from lion_jax.config import Config, ConfigError, OptimizerConfig, check, flatten
from lion_jax.config.reference import absolute, parse, passed, plain, short
from lion_jax.flags import CommandLine
from lion_jax.references import signatures
from lion_jax.training import calls, experiment, fitting, run_folder, sharding
from lion_jax.training.optimizers import make_optimizer, make_schedule
from lion_jax.training.tables import TABLES
from lion_jax.training.task import make_task, requested, split

pytestmark = pytest.mark.standard_promotion("Optax and Flax's layers promote")

PAGE = (Path(__file__).parents[1] / "docs" / "your_own.md").read_text("utf-8")
NET = """\
import jax.numpy as jnp
import numpy as np
from flax import nnx
from layers import head
from lion_jax import data

class Net(nnx.Module):
    def __init__(self, image_size, num_classes, channels, rngs, width=4):
        self.conv = nnx.Conv(channels, width, (3, 3), strides=4, rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.drop = nnx.Dropout(0.2, rngs=rngs)
        self.head = head(width, num_classes, rngs)
    def __call__(self, x, train, key=None):
        x = self.norm(self.conv(x)).mean((1, 2))
        return self.head(self.drop(nnx.relu(x)))

def stripes(n=200, classes=3):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, n, np.int32)
    images = rng.integers(0, 200, (n, 12, 12, 1), np.uint8)
    for image, label in zip(images, labels):
        image[4 * label : 4 * label + 4] += 50
    return data.Dataset("stripes", "1", "a formula", ("a", "b", "c")[:classes],
                        images[40:], labels[40:], images[:40], labels[:40])
"""
LAYERS = """\
from flax import nnx

def head(width, num_classes, rngs):
    return nnx.Linear(width, num_classes, rngs=rngs)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with a user's model and data, in which a command is run."""
    folder = tmp_path / "my [net] ö"
    folder.mkdir()
    (folder / "net.py").write_text(NET)
    (folder / "layers.py").write_text(LAYERS)
    monkeypatch.chdir(folder)
    return folder


def config_of(**values):
    config = Config(
        epochs=2,
        batch_size=32,
        eval_batch_size=64,
        image_size=12,
        channels=1,
        devices=1,
    )
    config.model.name, config.data.name = "./net.py:Net", "./net.py:stripes"
    config.optimizer = OptimizerConfig(name="optax:adamw", learning_rate=0.01)
    config.early_stopping.patience = 0
    for path, value in values.items():
        group, _, name = path.partition("__")
        setattr(getattr(config, group), name, value)
    return config


def fits(config):
    """What a run checks before it compiles or writes anything."""
    check(config, TABLES)
    dataset = data.load(*requested(config))
    mesh = sharding.make_mesh(1)
    task = make_task(config, dataset, split(config, dataset), mesh)
    fitting.check(config, task, dataset)
    return task


WRAPPED = """\
import jax.numpy as jnp
from flax import linen, nnx

class Forwards(nnx.Module):
    def __init__(self, image_size, num_classes, channels, rngs):
        self.head = nnx.Linear(channels, num_classes, rngs=rngs)
    def __call__(self, x, **kwargs):
        return self.head(x.mean((1, 2)), **kwargs)

class Net(linen.Module):
    num_classes: int
    @linen.compact
    def __call__(self, x, {more}):
        x = linen.BatchNorm(use_running_average={running})(x)
        return linen.Dense(self.num_classes)(x.mean((1, 2)))

def wrapped(image_size, num_classes, channels, rngs):
    net = nnx.bridge.ToNNX(Net(num_classes), rngs=rngs)
    images = jnp.ones((1, image_size, image_size, channels))
    return net.lazy_init(images, {given})
"""
OWN = {"more": "", "running": "True", "given": ""}
TRAINED = {"more": "train", "running": "not train", "given": "train=True"}


@pytest.mark.parametrize(
    ("name", "words", "takes"),
    [
        ("Forwards", OWN, set()),
        ("wrapped", OWN, set()),
        ("wrapped", TRAINED, {"train"}),
    ],
)
def test_a_model_gets_what_it_names_itself(mine, name, words, takes):
    """Not what it passes on as keywords; a wrapped Linen module is asked itself."""
    (mine / "own.py").write_text(WRAPPED.format(**words))
    config = config_of(model__name=f"./own.py:{name}")
    task = fits(config)
    assert task.call.takes == takes
    graph = task.graph()
    params, stats = calls.parts_of(task.make_model(nnx.Rngs(0)))
    images = jnp.linspace(0, 1, 2 * 12 * 12).reshape(2, 12, 12, 1)
    _, after = task.call(
        graph, params, stats, images, train=True, key=jax.random.key(0)
    )
    assert jax.tree.structure(after) == jax.tree.structure(stats)
    moved = [
        not jnp.array_equal(*x)
        for x in zip(*map(jax.tree.leaves, (stats, after)), strict=True)
    ]
    assert moved == [words is TRAINED] * len(moved)
    task.call(graph, params, after, images, train=False)


def refusal(config, kind=ConfigError):
    with pytest.raises(kind) as error:
        fits(config)
    text = str(error.value)
    assert "\n" not in text.strip()
    return text


@pytest.mark.parametrize(
    ("name", "module", "function"),
    [
        ("./net.py:Net", "./net.py", "Net"),
        ("net.py:Net", "net.py", "Net"),
        ("~/a b/n[1].py:make.it", "~/a b/n[1].py", "make.it"),
        (r"C:\my nets\net.py:Net", r"C:\my nets\net.py", "Net"),
        ("optax.contrib:muon", "optax.contrib", "muon"),
    ],
)
def test_forms_of_references(name, module, function):
    assert parse(name) == (module, function)
    assert short(name) == re.split(r"[/\\]", name)[-1]


@pytest.mark.parametrize(
    "name",
    ["resnet50", "cifar10:3.0.2", "x/y:3.*.*", "./net:Net", "net.py", "a:", ":a"],
)
def test_other_names_are_no_references(name):
    assert parse(name) is None
    assert short(name) == absolute(name) == name


def test_options_are_json_and_functions_get_tuples():
    options = {"a": [1, (2, 3)], "b": {"c": (4,)}}
    assert plain(options) == json.loads(json.dumps(options))
    assert passed(plain(options)) == {"a": (1, (2, 3)), "b": {"c": (4,)}}
    config = config_of(model__options=options)
    saved = json.loads(json.dumps(dataclasses.asdict(config)))
    assert identity.differences(saved, dataclasses.asdict(config)) == []
    saved["model"]["options"]["a"] = 2
    (different,) = identity.differences(saved, dataclasses.asdict(config))
    assert different.startswith("model.options (")


def line(*argv):
    parsed = CommandLine(
        "train", train.Flags, argv, file_of=train.Flags.load, tables=TABLES
    )
    return parsed.configure(config_of(model__options={"width": 4, "depth": 2}))


def test_options_are_set_one_by_one_or_as_json():
    config = line(
        "--config.model.options.width=8",
        "--config.optimizer.options.mu_dtype",
        "bfloat16",
        "--config.optimizer.options.nesterov=true",
        '--config.data.options={"n": 300, "k": [1, 2]}',
    )
    assert config.model.options == {"width": 8, "depth": 2}
    assert config.optimizer.options == {"mu_dtype": "bfloat16", "nesterov": True}
    assert config.data.options == {"n": 300, "k": [1, 2]}
    assert flatten(config)["model.options"] == {"width": 8, "depth": 2}


@pytest.mark.parametrize(
    ("flags", "said", "remedy"),
    [
        (
            ["--config.model.options=8"],
            r"must be a dictionary in JSON, such as",
            ['--config.model.options={"depth": 3}'],
        ),
        (
            ["--config.model.options.width"],
            r"width needs a value, as in --config.model.options.width=3",
            ["--config.model.options.width=3"],
        ),
        (
            ["--config.model.name=resnet50"],
            r"model.options=.*must be \{\} unless model.name is a reference",
            ["--config.model.name=resnet50", "--config.model.options={}"],
        ),
        (
            ["--config.model.name=./net.py"],
            r"must name a function of the file; set --config.model.name=./net.py:FUNC",
            ["--config.model.name=./net.py:FUNCTION"],
        ),
        (
            ["--config.model.name=./net:Net"],
            r"must be one of resnet50, .*, or a reference, package.module:function or",
            ["--config.model.name=./net.py:Net"],
        ),
        (
            ["--config.optimizer.weight_decay=0.1"],
            r"must be 1.0 where optimizer.name is a reference, optax:adamw: .* as"
            r" --config.optimizer.options.weight_decay=0.1",
            ["--config.optimizer.options.weight_decay=0.1"],
        ),
        (
            ["--config.model.remat=full"],
            r"must be 'none' where model.name is a reference, .*"
            r" and set --config.model.remat=none\.",
            ["--config.model.options.remat=full", "--config.model.remat=none"],
        ),
        (  # as a file may have it
            ["--config.model.zero_init_residual=True"],
            r"and set --config.model.zero_init_residual=False\.",
            [
                "--config.model.options.zero_init_residual=True",
                "--config.model.zero_init_residual=False",
            ],
        ),
        (
            ["--config.optimizer.schedule=linear"],
            r"must be one of constant, cosine, or a reference",
            ["--config.optimizer.schedule=cosine"],
        ),
        (
            ["--config.optimizer.schedule_options.alpha=0.1"],
            r"must be \{\} unless optimizer.schedule is a reference",
            [
                "--config.optimizer.schedule=optax:cosine_decay_schedule",
                "--config.optimizer.schedule_options.alpha=0.1",
            ],
        ),
        (
            ['--config.model.options={"a b": 1}'],
            r"must have names of arguments as keys, not 'a b'",
            ['--config.model.options={"a": 1}'],
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_and_the_remedy_is_taken(flags, said, remedy):
    with pytest.raises(ConfigError, match=said):
        line(*flags)
    line(*remedy)


@pytest.mark.parametrize("value", [jax.nn.relu, float("inf"), [float("nan")]])
def test_options_are_of_types_that_json_has(value):
    with pytest.raises(ConfigError, match=r"must hold values of JSON .*, not "):
        check(config_of(model__options={"act": value}))
    check(config_of(model__options={"act": "relu"}))


# Fields; what is said of them; and those that cure it.
BAD_NAMES = [
    ({"model__name": "./nett.py:Net"}, r"no file \S.*nett.py; .* has .*net.py", {}),
    ({"model__name": "./net.py:Ned"}, r"./net.py has no 'Ned'; it has Net\.", {}),
    ({"model__name": "./net.py:np"}, r"np is of type module, but it must be a", {}),
    ({"model__name": "optax:__version__.x"}, r"optax has no 'x'; it has no func", {}),
    ({"model__name": "netz:Net"}, r"no module 'netz'.* its file, ./netz.py:Net", {}),
    ({"model__name": "optax:__version__"}, r"type str, but it must be a function", {}),
    (
        {"model__options": {"widht": 8}},
        r"options.widht=8, but .* did you mean width\?",
        {"model__options": {"width": 8}},
    ),
    ({"model__options": {"blocks": 8}}, r"no such parameter; it takes width", {}),
    ({"model__options": {"channels": 3}}, r"channels cannot be set: .*leave it", {}),
    ({"model__dtype": "bfloat16"}, r"takes no dtype; .*model.dtype=float32", {}),
    ({"model__options": {"width": "x"}}, r"net.py, line 9: TypeError.*correct it", {}),
    ({"data__name": "./net.py:stripe"}, r"name=.*has no 'stripe'; it has stripes", {}),
    ({"data__options": {"m": 3}}, r"data.options.m=3, but .*takes n, classes", {}),
    ({"data__name": "huggingface:mnist"}, r"no module 'huggingface'.* has a name", {}),
    ({"data__name": "./net.py:Net"}, r"'image_size' has no value; give one with", {}),
    ({"optimizer__name": "optax:adamx"}, r"optax has no 'adamx'; it has adam", {}),
    (
        {"optimizer__name": "optax:scale_by_adam"},
        r"takes b1, .*but must take learning_rate or schedule; wrap it in a function",
        {},
    ),
    (
        {"optimizer__name": "optax:adam", "optimizer__options": {"weight_decay": 1}},
        r"options.weight_decay=1, but optax:adam has no such parameter",
        {"optimizer__name": "optax:adam"},
    ),
    (
        {"optimizer__name": "optax:sgd", "optimizer__decay": "kernels"},
        r"decay='kernels', but optax:sgd takes no mask; set .*optimizer.decay=all",
        {"optimizer__name": "optax:sgd", "optimizer__decay": "all"},
    ),
    ({"optimizer__options": {"mask": 1}}, r"options.mask cannot be set: .*leave", {}),
    ({"optimizer__options": {"b1": "x"}}, r"optimizer.name='optax:adamw': .*Type", {}),
    ({"optimizer__name": "optax:lbfgs"}, r"optimizer.name='optax:lbfgs': .*value", {}),
    (
        {"optimizer__name": "optax:noisy_sgd", "optimizer__options": {"key": 3}},
        r"is a random key of dtype key<fry>, which checkpoints cannot hold; make it",
        {},
    ),
    (
        {"optimizer__name": "optax.contrib:galore"},
        r"is an array of shape \(0, 0\), but checkpoints cannot hold empty ones; leave",
        {},
    ),
    ({"optimizer__schedule": "optax:sgdr_schedule"}, r"takes cosine_kwargs, but", {}),
    (
        {"optimizer__schedule": "optax:exponential_decay"},
        r"'decay_rate' has no value; give one with --config.optimizer.schedule_options",
        {
            "optimizer__schedule": "optax:exponential_decay",
            "optimizer__schedule_options": {"decay_rate": 0.5},
        },
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fields", "said", "cure"), BAD_NAMES, ids=[str(case[0])[:50] for case in BAD_NAMES]
)
def test_a_wrong_reference_is_refused_and_the_remedy_leads_out(
    mine, fields, said, cure
):
    text = refusal(config_of(**fields), (ConfigError, data.DataError))
    assert re.search(said, text), text
    fits(config_of(**cure))


def test_a_partial_keeps_what_it_was_given_by_position(monkeypatch):
    rate = functools.partial(optax.cosine_decay_schedule, 1.0)
    taken = signatures.parameters("optimizer.schedule", "mine", rate)
    assert [*taken] == ["decay_steps", "alpha", "exponent"]
    nested = functools.partial(functools.partial(models.ResNet, (1, 1)), rngs=3)
    taken = signatures.parameters("model.name", "mine", nested)
    assert "blocks" not in taken
    assert taken["rngs"].default == 3


# Text of net.py; what stands in its place; what is said of it.
HEAD = "        return self.head("
BAD_CODE = [
    ("width=4):", "width):", r"parameter 'width' has no value; .*model.options.width="),
    ("rngs, width=4", "width=4, rngs=0, /", r"takes 'image_size' by position alone"),
    (
        "channels, rngs, width=4):",
        "channels, width=4):\n        rngs = nnx.Rngs(0)",
        r"it must take rngs, the seed's random keys; add",
    ),
    (
        "class Net(nnx.Module):",
        "def Net(rngs):\n    return 3\nclass Old(nnx.Module):",
        r"returned int, but must return a flax.nnx.Module",
    ),
    (
        "class Net(nnx.Module):",
        "def Net(rngs):\n    return nnx.Dropout(0.1, rngs=rngs)\nclass O(nnx.Module):",
        r"it has no nnx.Param, so nothing can be trained; make its weights of nnx.Par",
    ),
    (
        "x, train, key=None",
        "x, deterministic=True, key=None",
        r"takes deterministic, which would be True in training and in evaluation; "
        r"name its parameter train, and give layers deterministic=not train\.",
    ),
    (
        "head(width, num_classes",
        "head(width, num_classes + 1",
        r"returns float32 \(32, 4\), but must return logits, float32 \(32, 3\)",
    ),
    (HEAD, "        return None, self.head(", r"a value of type tuple, but must"),
    (
        "        self.norm =",
        "        self.scale = jnp.ones(2)\n        self.norm =",
        r"its scale is an array of JAX outside of a variable; make it nnx.Variable",
    ),
    (
        "        self.norm =",
        "        self.none = nnx.Param(jnp.zeros((0, 2)))\n        self.norm =",
        r"its none is an array of shape \(0, 2\), but checkpoints cannot hold empty",
    ),
    (
        "        self.norm =",
        "        self.parts = nnx.Dict({'a': nnx.Dict({'b': nnx.Param(jnp.ones(2))}),"
        " 'a.b': nnx.Param(jnp.ones(2))})\n        self.norm =",
        r"its parts/a/b and parts/a.b are both called parts.a.b in .*; give one an",
    ),
    (
        HEAD,
        f"        self.n = nnx.Cache(x)\n{HEAD}",
        r"what it holds changes its form when it is called: n \(",
    ),
    (
        "x = self.norm(",
        "x = x @ x[0]\n        x = self.norm(",
        r"net.py, line 14: \w+Error: .*; correct it",
    ),
    (
        "from layers import head",
        "from layerz import head",
        r"net.py, line 4: ModuleNotFoundError: No module named 'layerz'; install it,",
    ),
    ("class Net", "raise SystemExit(3)\nclass Net", r"net.py, line 7: SystemExit: 3"),
    ("class Net", "class Net Net", r"SyntaxError: .*\(net.py, line 7\)"),
    (
        "self.conv = ",
        "from layers import head\n        self.conv = ",
        r"line 9: ModuleNotFoundError: .*import what is beside the file at the file's",
    ),
    ("images[40:]", "images[40:] / 255", r"train_images are float64 .*uint8.*np.round"),
    ("labels[40:]", "labels[41:]", r"train_labels are int32 \(159,\), but must be"),
    ("images[:40]", "images[:40, 1:]", r"\(11, 12, 1\) and \(12, 12, 1\), but must"),
    ('("a", "b", "c")[:classes]', '("a",)', r"label 0 is 1, but labels must be"),
    ("classes=3", "classes=1", r"has 1 class, but .*; give images of two classes"),
    ("    return data.Dataset(", "    return (", r"it returned tuple, but must return"),
    ("    rng = np", "    rng = 1 / 0, np", r"net.py, line 18: ZeroDivisionError"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "said"), BAD_CODE, ids=[case[1][:40] for case in BAD_CODE]
)
def test_wrong_code_is_refused_in_one_line_until_it_is_mended(mine, old, new, said):
    assert old in NET
    (mine / "net.py").write_text(NET.replace(old, new, 1))
    with pytest.MonkeyPatch.context() as patch:
        # Datasets are not checked at run time outside the tests.
        patch.setattr(data, "Dataset", unchecked(data.Dataset))
        text = refusal(config_of(), (ConfigError, data.DataError))
    assert re.search(said, text), text
    (mine / "net.py").write_text(NET)
    fits(config_of())


def unchecked(cls):
    """Returns a class's constructor without the tests' checks of types."""

    def make(*values):
        made = object.__new__(cls)
        fields = dataclasses.fields(cls)
        for field, value in zip(fields, values, strict=True):
            object.__setattr__(made, field.name, value)
        cls.__post_init__(made)
        return made

    return make


BAD_OPTIMIZERS = [
    ("return 3", r"returned int, but must return an optax.GradientTransformation"),
    ("return optax.stateless(lambda u, p: {})", r"updates must have the form of the"),
    (
        "return optax.GradientTransformation(lambda p: 0, lambda u, s, p: (u, (s, s)))",
        r"its state must have the form of the state before",
    ),
    (
        "return optax.GradientTransformation(lambda p: np.zeros(1, np.float16),"
        " lambda u, s, p: (u, np.float32(0.9) * s))",
        r"but differ:.*float16\[1\] there, float32\[1\] expected",
    ),
    ("raise ValueError('no\\n luck.')", r"tx.py, line 5: ValueError: no luck; correct"),
]


@pytest.mark.parametrize(("body", "said"), BAD_OPTIMIZERS, ids=range(5))
def test_a_wrong_optimizer_is_refused_in_one_line(mine, body, said):
    (mine / "tx.py").write_text(
        "import numpy as np, optax\n\ndef make(schedule, mask):\n"
        f"    '''Is called.'''\n    {body}\n"
    )
    text = refusal(config_of(optimizer__name="./tx.py:make"))
    assert re.search(said, text), text


def test_nothing_is_written_for_what_is_refused(mine, monkeypatch, capsys):
    monkeypatch.setattr(experiment, "Program", lambda *_: pytest.fail("compiled"))
    (mine / "mine.py").write_text(
        "from lion_jax.config import *\ndef get_config():\n    return Config(epochs=1,"
        " image_size=12, channels=1, devices=1, batch_size=32, eval_batch_size=64,"
        " data=DataConfig(name='./net.py:stripes', options={'classes': 2}),"
        " model=ModelConfig(name='./net.py:Net', options={'widht': 3}))\n"
    )
    monkeypatch.setattr(train.runtime, "start", lambda *_, **__: None)
    for name in ("_show_log", "_silence_repeated_errors"):
        monkeypatch.setattr(cli, name, lambda: None)
    argv = ["--config=mine.py", "--workdir=out"]
    with pytest.raises(SystemExit) as ended:
        cli.run(train.main, train.MISTAKES, train.FAILURES, argv)
    assert ended.value.code == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("error: model.options.widht=3, but ")
    assert "did you mean width?" in said
    assert not (mine / "out").exists()


@pytest.mark.slow
def test_values_that_are_not_finite_before_the_first_step_are_refused(mine):
    line = "self.drop = "
    scale = "self.scale = nnx.Param(jnp.full(1, jnp.nan))\n        "
    (mine / "net.py").write_text(NET.replace(line, scale + line))
    with pytest.raises(
        ConfigError, match=r"before the first step parameters/scale has"
    ):
        run(config_of(), mine / "out", experiment.Program)
    (mine / "net.py").write_text(NET)  # nothing was trained with the other
    run_folder.check(mine / "out", identity.resolve(config_of()))


@pytest.mark.slow
def test_an_own_run_is_resumed_to_the_bit_from_wherever_its_files_are(
    mine, tmp_path, monkeypatch
):
    """With random layers, another folder, moved files, and what was changed refused."""
    config = config_of(optimizer__options={"b2": 0.99}, optimizer__decay="kernels")
    config.augment.flip = True
    assert run(config, mine / "whole")[0] == 0
    with monkeypatch.context() as patch:
        interrupt_at(patch, 6)  # within an epoch
        assert run(config, mine / "cut")[0] == 128 + signal.SIGTERM
    saved = json.loads((mine / "cut" / run_folder.CONFIG).read_text())
    assert saved["model"]["name"] == f"{mine / 'net.py'}:Net"
    assert saved["references"]["optimizer.name"]["package"] == "optax"
    digests = saved["references"]["model.name"]["sha256"]
    assert digests.keys() == {"net.py", "layers.py"}
    moved = shutil.copytree(mine, tmp_path / "moved")
    (moved / "layers.py").write_text(LAYERS.replace("width, num", "width,  num"))
    monkeypatch.chdir(moved)
    with pytest.raises(run_folder.RunFolderError, match=r"layers.py has changed \(sha"):
        run(config, mine / "cut")
    (moved / "layers.py").write_text(LAYERS)
    shutil.rmtree(mine / "__pycache__", ignore_errors=True)
    (mine / "net.py").unlink()
    status, said = run(config, mine / "cut")
    assert status == 0
    assert "resumed at step" in said
    assert_same_run(mine / "cut", mine / "whole")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run of one epoch, and the folder of its code."""
    code = tmp_path_factory.mktemp("code")
    (code / "net.py").write_text(NET)
    (code / "layers.py").write_text(LAYERS)
    config = config_of(model__name=f"{code}/net.py:Net", optimizer__name="optax:sgd")
    config.data.name, config.epochs = f"{code}/net.py:stripes", 1
    folder = code / "run"
    assert run(config, folder)[0] == 0
    return folder, code


@pytest.mark.slow
def test_a_trained_model_is_evaluated_with_the_code_that_made_it(trained, tmp_path):
    folder, code = trained
    result = json.loads((folder / run_folder.RESULT).read_text())
    figures = evaluate.evaluate(folder)
    assert figures["test_accuracy"] == result["test_accuracy"]
    here = shutil.copytree(code, tmp_path / "here")
    places = {
        "model.name": f"{here}/net.py:Net",
        "data.name": f"{here}/net.py:stripes",
    }
    assert evaluate.evaluate(folder, places=places) == figures
    (here / "net.py").write_text(NET + "\n")
    with pytest.raises(run_folder.RunFolderError, match=r"net.py has changed \(sha256"):
        evaluate.evaluate(folder, places=places)
    moved = tmp_path / "run"
    shutil.copytree(folder, moved)
    saved = json.loads((moved / run_folder.CONFIG).read_text())
    saved["model"]["name"] = "/gone/net.py:Net"
    (moved / run_folder.CONFIG).write_text(json.dumps(saved))
    with pytest.raises(
        ConfigError, match=r"no file /gone/net.py; give its path with --"
    ):
        evaluate.evaluate(moved)
    places = {"model.name": f"{code}/net.py:Net"}
    assert evaluate.evaluate(moved, places=places) == figures
    saved["data"]["name"] = saved["optimizer"]["name"] = "/gone/net.py:all"
    (moved / run_folder.CONFIG).write_text(json.dumps(saved))
    model = evaluate.restore(moved, places=places)  # needs neither of them
    images = np.zeros((3, 12, 12, 1), np.uint8)
    logits = evaluate.restore(folder).predict(images)
    np.testing.assert_array_equal(model.predict(images), logits)
    # The commands take the new place too, and nothing that changes numbers.
    picture, program = tmp_path / "black.png", tmp_path / "model.safetensors"
    Image.fromarray(images[0, ..., 0]).save(picture)
    for command, argv in (
        (predict, [str(picture), "--json", "--top=0"]),
        (export, [f"--out={program}"]),
    ):
        argv = [*argv, f"--workdir={moved}"]
        status, errors, _ = ending(argv, command)
        assert (status, "give its path with --" in errors) == (2, True), errors
        there = f"--config.model.name={code}/net.py:Net"
        status, errors, _ = ending(
            [*argv, there, "--config.model.options.a=1"], command
        )
        assert (status, "cannot be changed for a trained" in errors) == (2, True)
        status, errors, said = ending([*argv, there], command)
        assert (status, errors) == (0, "")
        if command is predict:
            first = json.loads(said)["predictions"][0]["class"]
            assert first == model.class_names[logits[0].argmax()]
    assert program.exists()


@pytest.mark.slow
def test_a_run_begins_with_the_weights_of_an_own_model(trained, tmp_path):
    folder, code = trained
    config = config_of(model__name=f"{code}/net.py:Net", optimizer__name="optax:sgd")
    config.data.name = f"{code}/net.py:stripes"
    config.epochs, config.init_from = 1, str(folder)
    assert run(config, tmp_path / "out")[0] == 0
    before, after = (rows(place)[0] for place in (folder, tmp_path / "out"))
    assert after["train_loss"] < before["val_loss"]


@pytest.mark.slow
def test_another_version_of_a_package_is_reported(trained, tmp_path, monkeypatch):
    _, code = trained
    folder = shutil.copytree(code / "run", tmp_path / "run")
    (folder / run_folder.RESULT).unlink()
    config = config_of(model__name=f"{code}/net.py:Net", optimizer__name="optax:sgd")
    config.data.name, config.epochs = f"{code}/net.py:stripes", 1
    environment = json.loads((folder / run_folder.ENVIRONMENT).read_text())
    environment["optax"] = "0.0.1"
    (folder / run_folder.ENVIRONMENT).write_text(json.dumps(environment))
    status, said = run(config, folder)
    assert status == 0
    assert "optax ('0.0.1' then, " in said


def updates(config, steps=3):
    params = {"kernel": jnp.arange(1.0, 4.0), "bias": jnp.ones(2)}
    tx = make_optimizer(config, 10)
    state, every = tx.init(params), []
    for step in range(steps):
        grads = jax.tree.map(lambda p, k=step: p * (k - 1.5), params)
        change, state = tx.update(grads, state, params)
        every.append(change)
    return jax.tree.leaves(every)


@pytest.mark.slow
@pytest.mark.parametrize("decay", ["all", "kernels"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_optaxs_adamw_is_the_built_in_one(decay, schedule):
    fields = {"decay": decay, "schedule": schedule, "warmup_fraction": 0.2}
    fields |= {"clip_norm": 1.0, "learning_rate": 0.1}
    ours = OptimizerConfig(name="adamw", weight_decay=0.3, b2=0.999, **fields)
    options = {"weight_decay": 0.3}
    theirs = OptimizerConfig(name="optax:adamw", options=options, **fields)
    for a, b in zip(updates(ours), updates(theirs), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("optax.contrib:muon", {"weight_decay": 0.1}),
        ("optax:adafactor", {"weight_decay_rate": 0.1}),
        ("optax:lamb", {"weight_decay": 0.1}),
        ("optax.contrib:prodigy", {"betas": [0.9, 0.99]}),
        ("optax.contrib:schedule_free_adamw", {}),
    ],
)
def test_optimizers_of_optax_fit(mine, name, options):
    taken = references.parameters("", "", references.load("optimizer.name", name))
    decay = "kernels" if {"mask", "weight_decay_mask"} & taken.keys() else "all"
    task = fits(
        config_of(
            optimizer__name=name, optimizer__options=options, optimizer__decay=decay
        )
    )
    assert task.optimizer.init({"kernel": jnp.ones((2, 2))})


def rates(schedule, steps=10, **options):
    config = OptimizerConfig(
        learning_rate=0.5,
        schedule=schedule,
        schedule_options=options,
        warmup_fraction=0.2,
    )
    return [float(make_schedule(config, steps)(step)) for step in range(steps)]


@pytest.mark.slow
def test_schedules_by_reference():
    assert rates("optax:cosine_decay_schedule") == rates("cosine")
    assert rates("optax:constant_schedule") == rates("constant")
    linear = rates("optax:linear_schedule", end_value=0.1)
    np.testing.assert_allclose(linear[2:], np.linspace(0.5, 0.15, 8), rtol=1e-6)
    halved = rates("optax:exponential_decay", decay_rate=0.5, transition_steps=2)
    np.testing.assert_allclose(halved[2:5], [0.5, 0.5 * 0.5**0.5, 0.25], rtol=1e-6)
    peaked = rates("optax:warmup_cosine_decay_schedule", init_value=0, warmup_steps=4)
    assert peaked[2:].index(max(peaked)) == 4


CAMPAIGN = """\
from lion_jax.config import *

def get_config():
    return Config(
        name="{label}", epochs=1, batch_size=32, eval_batch_size=64, image_size=12,
        channels=1, devices=1, data=DataConfig(name="./net.py:stripes"),
        model=ModelConfig(name="./net.py:Net"),
        optimizer=OptimizerConfig(name="{name}", learning_rate=0.01))
"""


@pytest.mark.slow
def test_a_comparison_of_own_models_and_optimizers(mine, capsys, monkeypatch):
    monkeypatch.setattr(compare.runtime, "start", lambda *_, **__: None)
    (mine / "tx.py").write_text(
        "import optax\ndef mine(schedule, mask, b=0.9):\n"
        "    return optax.sgd(schedule, b)\n"
    )
    for label, name in {"a": "lion", "b": "./tx.py:mine"}.items():
        (mine / f"{label}.py").write_text(CAMPAIGN.format(label=label, name=name))
    argv = ["run", "--configs=a.py,b.py", "--seeds=1", "--out=out"]
    assert compare.main(argv) == 0
    sweep = ["--sweep=optimizer.options.b=0.5", "--first_seed=9", "--seeds=1"]
    assert compare.main(["run", "--configs=b.py", "--out=out", *sweep]) == 0
    runs = records.read_all(mine / "out")
    analysis = analyse(runs, Options(targets=targets.parse("net.py:Net=0.1")))
    text = reports.markdown_of(analysis)
    assert len(analysis.comparisons) > 2
    assert "Net, Lion" in text
    assert "| Net, mine | b 0.5 |" in text
    record = records.read(records.path_of(mine / "out", "b", 0))
    assert record.config["model"]["name"] == "net.py:Net"
    assert {"tx.py"} == record.config["references"]["optimizer.name"]["sha256"].keys()
    capsys.readouterr()
    assert compare.main(argv) == 0
    assert "2 done, 0 remaining" in capsys.readouterr().out
    (mine / "tx.py").write_text((mine / "tx.py").read_text() + "\n")
    with pytest.raises(run_folder.RunFolderError, match=r"tx.py has changed \(sha256"):
        compare.main(argv)


def test_a_module_that_has_changed_since_its_import_is_refused(mine, monkeypatch):
    monkeypatch.syspath_prepend(mine)
    (mine / "stale_net.py").write_text("def f(x):\n    return x\n")
    first = references.load("model.name", "stale_net:f")
    assert references.load("model.name", "stale_net:f") is first
    (mine / "stale_net.py").write_text("def f(x):\n    return x + 1\n")
    said = r"restart Python or reload the module, or name its file, \./stale_net.py:f"
    with pytest.raises(ConfigError, match=said):
        references.load("model.name", "stale_net:f")
    assert references.load("model.name", "./stale_net.py:f")(1) == 2
    importlib.reload(sys.modules["stale_net"])
    assert references.load("model.name", "stale_net:f")(1) == 2


PLAIN = """\
import jax.numpy as jnp
from flax import nnx

class Plain(nnx.Module):
    def __init__(self, num_classes, rngs):
        self.{name} = nnx.Param(jnp.ones((1, num_classes)))
    def __call__(self, x):
        return x.mean((1, 2)) @ self.{name}[...]
"""


def test_a_decay_of_kernels_needs_a_parameter_of_that_name(mine):
    (mine / "net.py").write_text(NET + PLAIN.format(name="w"))
    options = {"model__name": "./net.py:Plain", "optimizer__name": "lion"}
    config = config_of(**options, optimizer__decay="kernels")
    with pytest.raises(ConfigError, match=r"no parameter of \S+:Plain is called"):
        fits(config)
    fits(config_of(**options, optimizer__decay="all"))
    config.optimizer.weight_decay = 0.0
    fits(config)
    config.optimizer.weight_decay = 1.0
    (mine / "net.py").write_text(NET + PLAIN.format(name="kernel"))
    fits(config)


def test_files_that_change_during_a_campaign_are_refused(mine, monkeypatch):
    monkeypatch.setattr(compare.runtime, "start", lambda *_, **__: None)
    (mine / "a.py").write_text(CAMPAIGN.format(label="a", name="lion"))

    def edited(_):
        (mine / "layers.py").write_text(LAYERS + "\n")
        return None, 0.0

    monkeypatch.setattr(campaign, "build", edited)
    said = r"a, seed 0: model\.name, whose layers\.py has changed .*restore the file"
    with pytest.raises(ConfigError, match=said):
        compare.main(["run", "--configs=a.py", "--seeds=1", "--out=out"])


@pytest.mark.slow
def test_the_page_runs_as_it_stands(tmp_path, monkeypatch):
    """In a folder that holds what docs/your_own.md shows, and nothing else."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    for name, text in zip(("net.py", "shapes.py", "mine.py"), blocks, strict=True):
        (tmp_path / name).write_text(text)
    assert len(blocks[0].splitlines()) <= 30
    monkeypatch.chdir(tmp_path)
    config = cli.load_config("mine.py")
    config.data.options = {"images": 400}
    config.devices = 1
    config.epochs, config.model.options["width"] = 1, 4
    assert run(config, tmp_path / "out")[0] == 0
    assert os.listdir(tmp_path / "out" / "checkpoints")


def test_what_is_beside_a_file_is_its_own_whatever_the_path(tmp_path, monkeypatch):
    """Two folders with one name each, `..` in a path, links, bytes of no UTF-8."""
    for name in "a", "b":
        (tmp_path / name).mkdir()
        (tmp_path / name / "common.py").write_text(f"VALUE = {name!r}")
        text = (
            "import common\ndef f(x=None): return common.VALUE if x is None else x + 1"
        )
        (tmp_path / name / "m.py").write_text(text)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here" / "link.py").symlink_to("../a/m.py")
    linked = tmp_path / os.fsdecode(b"caf\xe9")
    linked.symlink_to("b")
    for path, value in [
        ("../a/m.py", "a"),
        ("../b/m.py", "b"),
        ("./link.py", "a"),
        (f"{linked}/m.py", "b"),
    ]:
        function = references.load("model.name", f"{path}:f")
        assert function() == value
        assert int(jax.jit(function)(jnp.int32(1))) == 2
    before = references.fingerprint("./link.py:f")["sha256"]
    assert before.keys() == {"common.py", "link.py"}
    (tmp_path / "a" / "common.py").write_text("VALUE = 'changed'")
    after = references.fingerprint("./link.py:f")["sha256"]
    assert after["link.py"] == before["link.py"]
    assert after["common.py"] != before["common.py"]
