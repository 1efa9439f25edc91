"""How a run is divided between devices: `mesh.mode`, and what its modes cost."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import NamedSharding, PartitionSpec
from test_program import build, leaves, made_config, made_data, run

from lion_jax.config import ConfigError, OptimizerConfig, check
from lion_jax.optimizer import signs
from lion_jax.optimizer.averaging import averaged
from lion_jax.training import checkpoint, computed, lowering, sharding
from lion_jax.training.averaging import evaluated
from lion_jax.training.evaluation import abstract_state
from lion_jax.training.optimizers import make_optimizer
from lion_jax.training.task import make_task, split

DEVICES = 4
MODEL = "vit_tiny"
DIVIDED = sharding.Layout.divided
CLIP_NORM = 0.01  # less than any gradient's


def configured(mesh_mode, **optimizer):
    """All runs clip by a norm of all gradients, which zero1 and fsdp have in parts."""
    config = made_config(MODEL)
    config.model.dtype = optimizer.pop("dtype", "float32")
    config.mesh.mode = mesh_mode
    config.optimizer.weight_decay = 0.1
    config.optimizer.clip_norm = CLIP_NORM
    for name, value in optimizer.items():
        setattr(config.optimizer, name, value)
    return config


@functools.cache
def program_in(mode, devices=DEVICES, **optimizer):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharding, "MIN_SHARDED_SIZE", 64)
        return build(configured(mode, **optimizer), made_data(), devices)[0]


@functools.cache
def trained(mode, **optimizer):
    return run(program_in(mode, **optimizer), epochs=5)


def divided(tree):
    """The large arrays of a tree of which each device has a part."""
    parts = [x for x in jax.tree.leaves(tree) if not x.sharding.is_fully_replicated]
    for x in parts:
        assert x.addressable_shards[0].data.size == x.size // DEVICES
    return parts


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["zero1", "fsdp"])
def test_every_mode_trains_as_data_parallel(mode):
    """Parts of a product are summed in another order: some signs of zeros differ."""
    _, losses = trained(mode)
    _, expected = trained("data")
    np.testing.assert_allclose(losses[:4], expected[:4], rtol=1e-5)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "mu_dtype", "dtype"),
    [
        ("zero1", "float32", "float32"),
        ("zero1", "float32", "bfloat16"),
        ("zero1", "int8", "float32"),
        ("fsdp", "float32", "float32"),
        ("fsdp", "float32", "bfloat16"),
        ("fsdp", "int8", "float32"),
    ],
)
def test_equal_sums_give_equal_bits(mode, mu_dtype, dtype):
    """Over 100 steps whose gradients are sums of whole numbers, exact in any order."""
    found, expected = (of_whole_sums(m, mu_dtype, dtype) for m in (mode, "data"))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@functools.cache
def of_whole_sums(mode, mu_dtype, dtype):
    """Parameters and states after 100 steps of Lion in a mode, of sums in a dtype."""
    shapes = {"w": (64, 128), "v": (256, 64), "b": (128,)}
    rng = np.random.default_rng(0)
    params = {k: rng.normal(size=n).astype(np.float32) for k, n in shapes.items()}
    config = OptimizerConfig(
        mu_dtype=mu_dtype, cautious_weight_decay=True, weight_decay=0.1
    )
    layout = sharding.Layout(sharding.make_mesh(DEVICES), mode)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharding, "MIN_SHARDED_SIZE", 1000)
        tx = make_optimizer(config, 100, layout)
        placed = jax.device_put(params, layout.of_model(params))
        state = jax.eval_shape(tx.init, params)
        state = jax.jit(tx.init, out_shardings=layout.of_optimizer(state))(placed)
        step = jax.jit(functools.partial(integer_step, tx, layout, dtype))
        for number in range(100):
            placed, state = step(placed, state, jax.random.key(number))
    assert len(divided(state)) == (2 if mode != "data" else 0)
    return leaves((placed, state))


def integer_step(tx, layout, dtype, params, state, key):
    """A step whose gradient is a sum over the devices of whole numbers, many of 0."""

    def gradient(number, p):
        drawn = jax.random.fold_in(key, number)
        each = jax.random.randint(drawn, (DEVICES, *p.shape), -1, 2).astype(dtype)
        each = jax.lax.with_sharding_constraint(each, sharding.batch(layout.mesh))
        return each.sum(0).astype(jnp.float32)

    def gradients(params):
        return {k: gradient(i, p) for i, (k, p) in enumerate(sorted(params.items()))}

    gradients, _, dtypes = computed.traced(gradients, params)
    assert set(dtypes.values()) == {jnp.dtype(dtype)}
    grads = gradients(params)
    if layout.mode != "data":
        grads = layout.divided(grads, dtypes)
    updates, state = tx.update(grads, state, params)
    return jax.tree.map(jnp.add, params, updates), state


@pytest.mark.standard_promotion("Flax norms bfloat16 in float32")
@pytest.mark.parametrize(("mode", "accumulate"), [("zero1", 2), ("fsdp", 1)])
def test_what_is_sent_is_in_the_dtype_in_which_it_is_computed(mode, accumulate):
    """In bfloat16 those of blocks; sums of several parts of a batch are float32."""
    config = configured(mode, dtype="bfloat16")
    config.accumulate = accumulate
    dataset, mesh, sent = made_data(), sharding.make_mesh(DEVICES), {}

    def recorded(layout, gradients, dtypes):
        sent.update(nnx.traversals.flatten_mapping(dtypes))
        return DIVIDED(layout, gradients, dtypes)

    def narrow_constraints(lowered):
        return len(re.findall(r"sharding_constraint.*xbf16>", lowered.as_text()))

    splits = split(config, dataset)
    task = make_task(config, dataset, splits, mesh)
    state = abstract_state(config, task, mesh)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharding.Layout, "divided", recorded)
        n = len(splits.train.labels)
        step = lowering.training(config, task, state, splits.train, n, mesh)
    narrow = {path for path, dtype in sent.items() if dtype == jnp.bfloat16}
    kernels = {path for path in sent if path[0] == "layers" and path[-1] == "kernel"}
    assert len(kernels) > 5
    if accumulate == 1:
        assert narrow > kernels
        assert narrow.isdisjoint({("positions",), ("head", "kernel")})
    else:
        assert not narrow
    gathered = 2 * len(narrow) if mode == "fsdp" else 0
    assert narrow_constraints(step) == gathered + 2 * len(narrow)
    sums = jax.eval_shape(lowering.sums(task, mesh))
    evaluate = lowering.evaluation(config, task, mesh).lower(
        state.params, state.batch_stats, splits.test, 1, sums
    )
    assert narrow_constraints(evaluate) == gathered


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["data", "zero1", "fsdp"])
def test_the_norm_that_is_clipped_is_that_of_the_parts_together(mode):
    """A mean of gradients clipped to a norm has at most that one; of others, more."""
    momenta = leaves(trained(mode)[0].opt_state)
    norm = np.sqrt(sum(np.sum(x**2) for x in momenta if x.dtype == np.float32))
    assert CLIP_NORM / 10 < norm <= CLIP_NORM


@pytest.mark.slow
def test_each_mode_divides_what_it_says():
    parts = {}
    for mode in ("data", "zero1", "fsdp"):
        for state in (program_in(mode).init(0), trained(mode)[0]):
            counts = len(divided(state.params)), len(divided(state.opt_state))
            assert parts.setdefault(mode, counts) == counts
    held = {mode: program_in(mode).memory() for mode in parts}
    whole = held["data"]["parameters"], held["data"]["optimizer_state"]
    assert whole[0] < whole[1] < whole[0] + 100  # a momentum, and counts
    assert held["zero1"]["parameters"] == whole[0]
    assert held["zero1"]["optimizer_state"] < 0.4 * whole[1]
    assert held["fsdp"]["parameters"] < 0.4 * whole[0]
    large = parts["fsdp"][0]
    assert large > 5
    assert parts == {"data": (0, 0), "zero1": (0, large), "fsdp": (large, large)}


@pytest.mark.parametrize(
    ("shape", "axis", "along"),
    [((8, 3), 0, None), ((16, 3), 0, 0), ((8, 12), 0, 1), ((3, 8), 1, None)],
)
def test_signs_arrive_as_they_were(shape, axis, along):
    direction = np.random.default_rng(0).integers(-1, 2, shape).astype(np.float32)
    direction.flat[5] = np.nan
    assert signs.packable(shape, axis, DEVICES) == along
    mesh = sharding.make_mesh(DEVICES)
    spec = PartitionSpec(*[None] * axis, sharding.AXIS)
    whole = sharding.replicated(mesh)
    sent = jax.jit(
        lambda x: signs.gather(x, axis, whole), in_shardings=NamedSharding(mesh, spec)
    )(direction)
    assert sent.sharding.is_fully_replicated
    np.testing.assert_array_equal(sent, direction)
    if along is not None:
        assert signs.packed(jnp.asarray(direction), along).size == direction.size // 4


@pytest.mark.parametrize(
    ("field", "value"), [("name", "adamw"), ("mode", "smooth"), ("cautious", True)]
)
def test_signs_are_refused_where_a_step_has_others(field, value):
    config = configured("zero1", **{field: value})
    with pytest.raises(ConfigError, match=rf"zero1.*optimizer\.{field}.*mode=fsdp"):
        check(config)
    config.mesh.mode = "fsdp"
    check(config)


def test_the_older_name_is_fsdp_and_no_second_mode():
    config = configured("data")
    config.shard_parameters = True
    assert config.mesh_mode == "fsdp"
    config.mesh.mode = "zero1"
    with pytest.raises(ConfigError, match="shard_parameters=false"):
        check(config)


@pytest.mark.slow
def test_an_average_that_lies_in_parts_is_evaluated_as_a_whole():
    """In zero1 it is in the optimizer's state, of which each device has a part."""
    program = program_in("zero1", ema_decay=0.9)
    state, _ = run(program, epochs=1)
    assert divided(averaged(state.opt_state, state.params))
    model = evaluated(state)
    both = [[x.sharding for x in jax.tree.leaves(t.params)] for t in (model, state)]
    assert both[0] == both[1]
    loss, _ = program.evaluate(*model, "validation").means()
    assert np.isfinite(loss)


@pytest.mark.slow
def test_a_state_of_any_mode_is_restored_in_any_other(tmp_path):
    """From parts of everything to parts of the momentum, and to one device."""
    state, _ = trained("fsdp")
    with checkpoint.open_folder(tmp_path / "saved") as checkpoints:
        checkpoint.save(checkpoints, state, [])
        for program in program_in("zero1"), program_in("data", devices=1):
            got, *_ = checkpoint.restore(checkpoints, int(state.step), program.abstract)
            for a, b in zip(leaves(got), leaves(state), strict=True):
                np.testing.assert_array_equal(a, b)
            program.train_step(got, program.start_epoch(0, 5))
