"""Weights of torchvision, timm, a run or an exported file, in our models."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from drawn_weights import drawn, images
from flax import nnx
from small_runs import run, saved_state, small_config, small_dataset

from lion_jax import data, models, training
from lion_jax.config import ConfigError, OptimizerConfig
from lion_jax.models import foreign
from lion_jax.models.vit import ViT
from lion_jax.training import exported, pretrained, run_folder, stored
from lion_jax.training.optimizers import make_optimizer
from lion_jax.training.pretrained import Weights

GOLDEN = json.loads(
    (Path(__file__).parent / "data" / "pretrained.json").read_text(encoding="utf-8")
)


def made(name):
    """A model of the golden file: two layers of ViT-B/16, or ResNet-50."""
    rngs = nnx.Rngs(0)
    if "resnet50" in name:
        return models.make("resnet50", image_size=32, num_classes=5, rngs=rngs)
    sizes = {"patch": 16, "width": 768, "layers": 2, "heads": 12, "mlp_width": 3072}
    return ViT(image_size=32, num_classes=5, **sizes, rngs=rngs)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["torchvision resnet50", "torchvision vit_b_16", "timm vit_base_patch16"],
)
def test_logits_are_those_of_the_weights_own_library(name, tmp_path):
    golden = GOLDEN[name]
    path = tmp_path / "weights.safetensors"
    safetensors.numpy.save_file(drawn(golden["shapes"]), path)
    weights = pretrained.read(str(path))
    assert weights.unknown == []
    graph, params, stats = nnx.split(nnx.eval_shape(lambda: made(name)), nnx.Param, ...)
    model = nnx.to_pure_dict(params), nnx.to_pure_dict(stats)
    fitted = pretrained.fit(weights, stored.named(model))
    assert (fitted.new, fitted.unused, fitted.changed) == ([], [], [])

    def filled(path, _):
        return jnp.asarray(fitted.taken[stored.name_of(path[1:])])

    parts = jax.tree_util.tree_map_with_path(filled, model)
    logits = jax.jit(lambda parts, x: nnx.merge(graph, *parts)(x, train=False))(
        parts, jnp.asarray(images())
    )
    np.testing.assert_allclose(logits, golden["logits"], rtol=1e-3, atol=1e-4)


def test_timm_names_a_resnet_as_torchvision_does():
    golden = GOLDEN["timm resnet50"]
    assert golden["shapes"].keys() == GOLDEN["torchvision resnet50"]["shapes"].keys()
    same = GOLDEN["torchvision resnet50"]["logits"]
    np.testing.assert_allclose(golden["logits"], same, atol=1e-4)


@pytest.mark.parametrize("side", [2, 7])
def test_positions_are_resized_as_by_timm(side):
    positions = np.asarray(GOLDEN["positions 4 x 4"], np.float32)
    arrays = {"class_token": np.zeros((1, 1, 3)), "positions": positions}
    wanted = {
        "class_token": np.zeros((1, 1, 3)),
        "positions": np.zeros((1, 1 + side**2, 3)),
    }
    fitted = pretrained.fit(Weights(arrays, "a file", []), wanted)
    resized = GOLDEN[f"positions {side} x {side}"]
    np.testing.assert_allclose(fitted.taken["positions"], resized, atol=1e-5)
    assert fitted.changed == [f"positions resized from 4 x 4 to {side} x {side}"]
    # A model that pools all tokens has no class token, and no position for one.
    mean = {"positions": np.zeros((1, side**2, 3))}
    fitted = pretrained.fit(Weights(arrays, "a file", []), mean)
    np.testing.assert_allclose(
        fitted.taken["positions"], np.asarray(resized)[:, 1:], atol=1e-5
    )
    assert fitted.unused == ["class_token"]


def test_what_differs_is_made_to_fit_or_stays_the_models_own():
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(7, 7, 3, 4)).astype(np.float32)
    arrays = {
        "stem.conv.kernel": kernel,
        "head.kernel": np.zeros((4, 1000)),
        "head.bias": np.zeros(1000, np.float16),
        "norm.scale": np.ones(4, np.float16),
        "extra": np.zeros(1),
    }
    wanted = {
        "stem.conv.kernel": np.zeros((7, 7, 1, 4)),
        "head.kernel": np.zeros((4, 10)),
        "head.bias": np.zeros(10),
        "norm.scale": np.zeros(4),
        "norm.bias": np.zeros(4),
    }
    wanted = {name: array.astype(np.float32) for name, array in wanted.items()}
    weights = Weights(arrays, "a file", ["a.stranger"])
    fitted = pretrained.fit(weights, wanted)
    summed = kernel.sum(axis=2, keepdims=True)
    np.testing.assert_array_equal(fitted.taken["stem.conv.kernel"], summed)
    assert fitted.taken["norm.scale"].dtype == np.float32
    assert fitted.lines("a file") == [
        "init_from: 2 of 5 arrays from a file",
        "  stem.conv.kernel summed over 3 channels",
        "  new: head.kernel (4 x 1000 there, 4 x 10 here), head.bias (1000 there,"
        " 10 here), norm.bias",
        "  not used: extra, a.stranger",
    ]


def test_one_channel_of_three_is_summed_and_no_other_convolution():
    there, here = np.zeros((3, 3, 8, 8), np.float32), np.zeros((3, 3, 1, 8), np.float32)
    weights = Weights({"conv.kernel": there, "bias": np.zeros(8)}, "a file", [])
    fitted = pretrained.fit(weights, {"conv.kernel": here, "bias": np.zeros(8)})
    assert fitted.new == ["conv.kernel (3 x 3 x 8 x 8 there, 3 x 3 x 1 x 8 here)"]


def test_weights_that_fit_nothing_are_named_with_their_shapes():
    weights = Weights({"head.kernel": np.zeros((16, 5))}, "a file", [])
    with pytest.raises(
        ConfigError, match=r"has head.kernel \(16 x 5 there, 8 x 3 here"
    ):
        pretrained.fit(weights, {"head.kernel": np.zeros((8, 3))})


def test_a_folder_may_be_called_as_a_pickle_is(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "run.ckpt")
    assert pretrained.read(str(folder)).class_names == small_dataset().class_names


@pytest.mark.usefixtures("small_data")
def test_a_head_of_other_classes_stays_the_models_own(whole, tmp_path, monkeypatch):
    """Also if they are as many; by a run's folder, and by an exported file."""
    path = tmp_path / "best.safetensors"
    exported.write_weights(training.load(whole), path)
    letters = dataclasses.replace(small_dataset(), class_names=(*"abcdefghij",))
    monkeypatch.setattr(data, "load", lambda *_: letters)
    for place in str(whole), str(path):
        config = small_config(init_from=place)
        config.epochs, config.optimizer.learning_rate = 1, 1e-30  # moves no weight
        config.optimizer.freeze = "head.kernel"
        folder = tmp_path / f"from_{Path(place).suffix}"
        status, said = run(config, folder)
        assert status == 0
        assert "new: head.bias (of other classes there), head.kernel (of" in said
        lost = "warning: frozen as drawn at random, for good: head.kernel"
        assert lost in said
        best, begun = saved_state(whole, "best"), saved_state(folder, "latest")
        kernels = [name for name in best if name.startswith("[0]['params']")]
        equal = {name: (begun[name] == best[name]).all() for name in kernels}
        assert [name for name in equal if not equal[name]] == [
            "[0]['params']['head']['bias']",
            "[0]['params']['head']['kernel']",
        ]


def test_numbers_that_another_dtype_cannot_hold_stay_the_models_own():
    arrays = {
        "weights": np.array([1 + 2j], np.complex64),
        "key": np.array([4294967295, 16777217], np.uint32),
        "wide": np.array([1 / 3]),
        "real": np.array([1 + 2j], np.complex64),
        "count": np.array([300], np.int32),
        "positions": np.arange(16.0),
    }
    wanted = {name: np.zeros_like(x) for name, x in arrays.items()} | {
        "real": np.zeros(1, np.float32),
        "count": np.zeros(1, np.int8),
        "positions": np.zeros(20, np.float32),
    }
    fitted = pretrained.fit(Weights(arrays, "a file", []), wanted)
    assert fitted.taken.keys() == {"weights", "key", "wide"}
    for name, array in fitted.taken.items():
        assert array.dtype == arrays[name].dtype
        np.testing.assert_array_equal(array, arrays[name])
    assert fitted.new == [
        "real (complex64 there, float32 here)",
        "count (int32 there, int8 here)",
        "positions (16 there, 20 here)",
    ]


@pytest.mark.usefixtures("small_data")
def test_weights_of_something_else_are_refused_before_anything_is_made(tmp_path):
    path = tmp_path / "other.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(3), "b.c": np.zeros(3)}, path)
    config = small_config(init_from=str(path))
    with pytest.raises(ConfigError, match=r"other.safetensors.* fits no array") as e:
        run(config, tmp_path / "run")
    assert "it has a, b.c ...; give weights of this model" in str(e.value)
    path.write_bytes(b"no weights")
    small = tmp_path / "small.safetensors"  # of a dtype that NumPy has not
    header = b'{"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}'
    small.write_bytes(len(header).to_bytes(8, "little") + header + bytes(2))
    for given, said in (
        (str(path), "cannot be read"),
        (str(small), "cannot be read"),
        (str(tmp_path / "absent.safetensors"), "cannot be read"),
        ("weights.pth", "may run code when they are read; give weights as"),
    ):
        config.init_from = given
        with pytest.raises(ConfigError, match=said):
            run(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("small_data")
def test_a_run_begins_with_exported_weights(whole, tmp_path, monkeypatch):
    path, read, reads = tmp_path / "best.safetensors", pretrained.read, []
    monkeypatch.setattr(pretrained, "read", lambda x: reads.append(x) or read(x))
    exported.write_weights(training.load(whole), path)
    config = small_config(init_from=str(path))
    config.epochs, config.optimizer.learning_rate = 1, 1e-30  # moves no weight
    status, said = run(config, tmp_path / "run")
    assert status == 0
    best, begun = saved_state(whole, "best"), saved_state(tmp_path / "run", "latest")
    names = [name for name in best if name.startswith("[0]")]
    everything = f"init_from: {len(names)} of {len(names)} arrays from"
    assert f"{everything} best.safetensors, named as in lion_jax" in said
    names = [name for name in names if "'params'" in name]
    for name in names:
        np.testing.assert_array_equal(begun[name], best[name])
    assert reads == [str(path)]  # once
    # The file's content is part of the run's identity; resuming needs no file.
    (tmp_path / "run" / "result.json").unlink()
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert saved["references"]["init_from"] == {"sha256": {path.name: digest}}
    safetensors.numpy.save_file({"head.bias": np.zeros(10, np.float32)}, path)
    with pytest.raises(
        run_folder.RunFolderError,
        match=r"init_from, whose best.safetensors has changed",
    ):
        run(config, tmp_path / "run")
    path.unlink()
    assert run(config, tmp_path / "run")[0] == 0
    assert len(reads) == 1
    resumed = json.loads((tmp_path / "run" / "config.json").read_text())
    assert resumed["references"] == saved["references"]
    # A run of an earlier version does not say with what it began.
    (tmp_path / "run" / "config.json").write_text(
        json.dumps({k: v for k, v in saved.items() if k != "references"})
    )
    with run_folder.occupied(tmp_path / "run", saved):
        kept = json.loads((tmp_path / "run" / "config.json").read_text())
        assert "init_from" not in kept.get("references", {})


def test_our_own_names_are_taken_as_they_are():
    arrays = {"stem.conv.kernel": np.zeros((7, 7, 3, 8))}
    assert foreign.translate(arrays) == (arrays, "lion_jax", [])


@pytest.mark.usefixtures("small_data")
def test_an_optimizer_that_keeps_the_first_weights_begins_with_the_right_ones(
    whole, tmp_path
):
    """As schedule-free ones do: after a step it must still be near them."""
    config = small_config(init_from=str(whole))
    config.epochs, config.optimizer.weight_decay = 1, 1.0
    config.optimizer.name = "optax.contrib:schedule_free_sgd"
    config.optimizer.learning_rate = 1e-30  # moves no weight
    assert run(config, tmp_path / "run")[0] == 0
    best, begun = saved_state(whole, "best"), saved_state(tmp_path / "run", "latest")
    for name in (name for name in best if name.startswith("[0]['params']")):
        np.testing.assert_allclose(begun[name], best[name], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_frozen_parameters_keep_their_values_and_have_no_momentum():
    params = {
        "stem": {"conv": {"kernel": jnp.ones((2, 2))}},
        "blocks": {0: {"kernel": jnp.ones(2)}, 1: {"kernel": jnp.ones(2)}},
        "head": {"kernel": jnp.ones(3), "bias": jnp.ones(1)},
    }
    config = OptimizerConfig(freeze="stem.*, blocks.?.kernel", clip_norm=1.0)
    config.learning_rate, config.weight_decay = 0.5, 0.0
    tx = make_optimizer(config, 10)
    state = tx.init(params)
    momenta = [x.shape for x in jax.tree.leaves(state) if x.ndim]
    assert sorted(momenta) == [(1,), (3,)]
    grads = jax.tree.map(lambda p: 1e6 * p, params)
    updates, _ = jax.jit(tx.update)(grads, state, params)
    moved = jax.tree.map(lambda u: float(jnp.abs(u).max()), updates)
    assert moved["head"] == {"kernel": 0.5, "bias": 0.5}
    assert moved["stem"]["conv"]["kernel"] == 0
    assert moved["blocks"] == {0: {"kernel": 0}, 1: {"kernel": 0}}


@pytest.mark.usefixtures("small_data")
def test_a_run_that_freezes_all_but_the_head_moves_the_head_alone(tmp_path):
    config = small_config()
    config.epochs, config.optimizer.freeze = 1, "stem.*"
    assert run(config, tmp_path / "run")[0] == 0
    config.optimizer.learning_rate = 1e-30
    config.optimizer.freeze = ""
    assert run(config, tmp_path / "first")[0] == 0
    after, before = (saved_state(tmp_path / x, "latest") for x in ("run", "first"))
    moved = {
        name
        for name in before
        if "'params'" in name
        and "[0]" in name[:3]
        and not np.allclose(before[name], after[name], rtol=0, atol=1e-20)
    }
    assert moved == {f"[0]['params']['head']['{x}']" for x in ("bias", "kernel")}


@pytest.mark.usefixtures("small_data")
@pytest.mark.parametrize(
    ("freeze", "said"),
    [
        ("stem.*,backbone.*", "'backbone.*' names no parameter; give paths such as"),
        ("*", "leaves no parameter to train; name fewer"),
    ],
)
def test_what_cannot_be_frozen_is_refused_before_anything_is_made(
    tmp_path, freeze, said
):
    config = small_config()
    config.optimizer.freeze = freeze
    with pytest.raises(ConfigError) as error:
        run(config, tmp_path / "run")
    assert said in str(error.value)
    assert not (tmp_path / "run").exists()
