"""Distributed Lion in the trainer: `mesh.vote`, `mesh.ties`, `mesh.sync_every`."""

import functools
import re

import jax
import numpy as np
import optax
import pytest
from test_program import build, leaves, made_config, made_data, run

from lion_jax.config import ConfigError, check
from lion_jax.optimizer import momentum
from lion_jax.optimizer.distributed import of_each_device
from lion_jax.training import checkpoint, sharding
from lion_jax.training.evaluation import abstract_state
from lion_jax.training.images import Augmentation
from lion_jax.training.loss import Batch, loss_of
from lion_jax.training.task import make_task, split

DEVICES = 4
CLIP, RATE, DECAY = 0.5, 1e-3, 0.1


def configured(model="resnet_nano", vote="majority", ties="stand", sync_every=0):
    config = made_config(model)
    config.mesh.vote, config.mesh.ties = vote, ties
    config.mesh.sync_every = sync_every
    config.optimizer.weight_decay, config.optimizer.clip_norm = DECAY, CLIP
    return config


def voting(mu_dtype="float32", **fields):
    config = configured(**fields)
    config.optimizer.mu_dtype = mu_dtype
    return build(config, made_data(), DEVICES)


@functools.cache
def majority():
    return voting()


@functools.cache
def synchronised_every_third(mu_dtype="float32"):
    return voting(sync_every=3, mu_dtype=mu_dtype)[0]


def momenta(state):
    """Those of each device, in float32: arrays whose first axis is the devices'."""
    (lion,) = (
        part
        for part in jax.tree.leaves(state, is_leaf=lambda x: hasattr(x, "mu"))
        if hasattr(part, "mu")
    )
    axes = jax.tree.map(lambda mine: 0 if mine else None, of_each_device(lion))
    values = jax.vmap(momentum.values, (axes,))(lion)
    return [np.asarray(x, np.float32) for x in jax.tree.leaves(values)]


def gradients_of(task):
    """Computes one device's clipped gradient and batch norm, without a mesh."""
    assert task.augment == Augmentation()
    differentiate = jax.grad(
        functools.partial(loss_of, task=task, graph=task.graph()), has_aux=True
    )
    clip = optax.clip_by_global_norm(CLIP)

    @jax.jit
    def gradients(state, images, labels):
        batch = Batch(images, labels, 0)
        key = jax.random.key(0)
        grads, outputs = differentiate(state.params, state.batch_stats, batch, key)
        return clip.update(grads, clip.init(grads))[0], outputs.batch_stats

    return gradients


@pytest.mark.slow
@pytest.mark.parametrize("vote", ["majority", "mean"])
def test_a_step_is_what_the_devices_own_gradients_vote_for(vote):
    """Of steps that NumPy takes: gradients, clip, momenta, votes and batch norm."""
    program, task, splits = majority() if vote == "majority" else voting(vote=vote)
    state, inputs = program.init(0), program.start_epoch(0, 0)
    gradients, sure = gradients_of(task), []
    mu = [np.zeros_like(x) for x in momenta(state.opt_state)]
    for rows in np.asarray(inputs.order)[:32].reshape(2, DEVICES, -1):
        params, images, labels = leaves(state.params), *splits.train
        each = [gradients(state, images[part], labels[part]) for part in rows]
        grads, statistics = (map(leaves, part) for part in zip(*each, strict=True))
        state, _ = program.train_step(state, inputs)
        arrays = mu, params, leaves(state.params), zip(*grads, strict=True)
        for place, (old, p, new, g) in enumerate(zip(*arrays, strict=True)):
            c = 0.9 * old + 0.1 * np.stack(g)
            direction = np.sign(c).mean(0)
            if vote == "majority":
                direction = np.sign(direction)
            mu[place] = 0.99 * old + 0.01 * np.stack(g)
            # The sign of a rounding error may be another one.
            sure.append((np.abs(c) > 1e-6).all(0))
            expected = p - RATE * (direction + DECAY * p)
            same = np.isclose(new, expected, rtol=1e-5, atol=1e-7)
            assert same[sure[-1]].all()
        for a, b in zip(momenta(state.opt_state), mu, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-7)
        means = [np.mean(x, 0) for x in zip(*statistics, strict=True)]
        for a, b in zip(leaves(state.batch_stats), means, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert np.concatenate([x.ravel() for x in sure]).mean() > 0.9


@pytest.mark.slow
def test_a_step_has_one_vote_one_outcome_and_the_mean_of_the_statistics():
    program, *_ = majority()
    state = program.init(0)
    assert all(x.sharding.is_fully_replicated for x in jax.tree.leaves(state.params))
    mine = [
        x
        for x, own in zip(
            jax.tree.leaves(state.opt_state),
            jax.tree.leaves(of_each_device(state.opt_state)),
            strict=True,
        )
        if own
    ]
    assert len(mine) == len(jax.tree.leaves(state.params))
    for x in mine:
        assert x.shape[0] == DEVICES
        assert x.addressable_shards[0].data.shape[0] == 1
    text = program.compiled.as_text()
    sent = re.findall(r" (all-[a-z-]+|reduce-scatter|collective-permute)\(", text)
    assert sent.count("all-to-all") == sent.count("all-gather") == 1
    parameters = sum(x.size for x in jax.tree.leaves(state.params))
    reduced = re.findall(r" = (.*?) all-reduce\(", text)
    counts = [
        int(np.prod([int(n) for n in dims.split(",") if n]))
        for shapes in reduced
        for dims in re.findall(r"\[([\d,]*)\]", shapes)
    ]
    statistics = sum(x.size for x in jax.tree.leaves(state.batch_stats))
    assert statistics <= sum(counts) < statistics + 20 < parameters


@pytest.mark.slow
@pytest.mark.parametrize("mu_dtype", ["float32", "int8"])
def test_momenta_are_averaged_when_it_is_due_and_drift_between(mu_dtype):
    program = synchronised_every_third(mu_dtype)
    state, inputs = program.init(0), program.start_epoch(0, 0)
    for step in 1, 2, 3, 4:
        state, _ = program.train_step(state, inputs)
        alike = [(x == x[:1]).all() for x in momenta(state.opt_state)]
        assert all(alike) == (step == 3)


@pytest.mark.slow
def test_a_run_is_resumed_to_the_bit(tmp_path):
    program = synchronised_every_third()
    state, inputs = program.init(0), program.start_epoch(0, 0)
    for _ in range(2):
        state, _ = program.train_step(state, inputs)
    with checkpoint.open_folder(tmp_path / "saved") as checkpoints:
        checkpoint.save(checkpoints, state, [])
        lines = []
        there, *_ = checkpoint.restore(
            checkpoints, 2, program.abstract, program.voters, lines.append
        )
    assert not lines
    for _ in range(2):
        state, _ = program.train_step(state, inputs)
        there, _ = program.train_step(there, inputs)
    for a, b in zip(leaves(there), leaves(state), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 8])
def test_other_devices_begin_with_the_mean_of_the_momenta(tmp_path, devices):
    state, _ = run(majority()[0], epochs=1)
    config, mesh = configured(), sharding.make_mesh(devices)
    task = make_task(config, made_data(), split(config, made_data()), mesh)
    abstract = abstract_state(config, task, mesh)
    with checkpoint.open_folder(tmp_path / "saved") as checkpoints:
        checkpoint.save(checkpoints, state, [])
        lines = []
        got, *_ = checkpoint.restore(
            checkpoints, int(state.step), abstract, devices, lines.append
        )
    assert lines == [f"momenta of 4 devices: each of {devices} begins with their mean"]
    before, after = momenta(state.opt_state), momenta(got.opt_state)
    for a, b in zip(after, before, strict=True):
        assert not (b == b[:1]).all()
        expected = np.broadcast_to(b.mean(0), (devices, *b.shape[1:]))
        np.testing.assert_allclose(a, expected, rtol=1e-5, atol=1e-9)
    for a, b in zip(leaves(got.params), leaves(state.params), strict=True):
        np.testing.assert_array_equal(a, b)
    for x in jax.tree.leaves(got):
        assert len(x.addressable_shards) == devices


@pytest.mark.slow
def test_parts_of_a_device_and_images_of_the_host_are_its_own():
    """Accumulated gradients, a model without statistics, batches that are streamed."""
    config = configured("vit_tiny", ties="alternate")
    config.accumulate, config.data.placement = 2, "host"
    config.optimizer.ema_decay, config.optimizer.freeze = 0.9, "positions"
    program, *_ = build(config, made_data(), DEVICES)
    state, losses = run(program, epochs=3)
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert state.metrics.examples == program.steps_per_epoch * program.batch_size
    first, last = program.init(0).params, state.params
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), first, last)
    assert not moved.pop("positions")
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"optimizer.name": "adamw"},
            r"optimizer\.name.*set --config\.mesh\.vote=none",
        ),
        ({"optimizer.mode": "smooth"}, r"mesh\.vote='majority', but optimizer\.mode"),
        ({"optimizer.cautious": True}, r"optimizer\.cautious"),
        ({"mesh.mode": "fsdp"}, r"mesh\.mode='fsdp'.*set --config\.mesh\.vote=none,"),
        ({"mesh.mode": "zero1"}, r"mesh\.mode='zero1'"),
        ({"mesh.vote": "mean", "mesh.ties": "alternate"}, "has no ties"),
        ({"mesh.vote": "none", "mesh.sync_every": 3}, r"must be 0 without mesh\.vote"),
        ({"mesh.vote": "none", "mesh.ties": "alternate"}, r"without mesh\.vote"),
    ],
)
def test_what_cannot_be_voted_for_is_refused(fields, said):
    config = configured()
    for path, value in fields.items():
        group, name = path.split(".")
        setattr(getattr(config, group), name, value)
    with pytest.raises(ConfigError, match=said):
        check(config)
    if "vote=none" in said:
        config.mesh.vote = "none"
        check(config)


def test_one_device_has_none_to_vote_with():
    config = configured()
    config.devices = 1
    with pytest.raises(ConfigError, match=r"one device has none.*mesh\.vote=none"):
        sharding.check_devices(config)
    config.devices = 2
    assert sharding.check_devices(config) == 2
