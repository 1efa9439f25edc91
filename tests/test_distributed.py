"""Distributed Lion: the vote, its one bit a value, its zeros and its NaN."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, PartitionSpec

from lion_jax import scale_by_lion
from lion_jax.optimizer import distributed, momentum, votes
from lion_jax.optimizer.distributed import scale_by_distributed_lion

pytestmark = pytest.mark.usefixtures("full_compilation")

SPLIT = PartitionSpec("data")


def stepper(devices, tx=None):
    """A step of all devices: gradients and states have a leading axis for them."""
    tx = tx or scale_by_distributed_lion("data")
    mesh = jax.make_mesh((devices,), ("data",), (AxisType.Auto,))

    def one(state, grads):
        state, grads = jax.tree.map(lambda x: x[0], (state, grads))
        updates, state = tx.update(grads, state)
        return jax.tree.map(lambda x: x[None], (updates, state))

    def step(state, grads):
        return jax.shard_map(
            one, mesh=mesh, in_specs=(SPLIT, SPLIT), out_specs=(SPLIT, SPLIT)
        )(state, grads)

    def init(params):
        state = tx.init(params)
        return jax.tree.map(lambda x: jnp.stack([x] * devices), state)

    return init, jax.jit(step)


def gradients(seed, devices):
    keys = jax.random.split(jax.random.key(seed), 3)
    return {
        "w": jax.random.normal(keys[0], (devices, 5, 7)),
        "b": jax.random.normal(keys[1], (devices,)),
        "long": jax.random.normal(keys[2], (devices, 1000)),
    }


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 3, 8])  # of eight, some votes are even
def test_all_devices_take_the_step_most_vote_for(devices):
    init, step = stepper(devices)
    alone, states = scale_by_lion(), []
    params = jax.tree.map(lambda g: g[0], gradients(0, devices))
    state, states = init(params), [alone.init(params) for _ in range(devices)]
    for seed in range(5):
        grads = gradients(seed, devices)
        updates, state = jax.block_until_ready(step(state, grads))
        cast = []
        for i in range(devices):
            mine = jax.tree.map(lambda g, i=i: g[i], grads)
            signs, states[i] = alone.update(mine, states[i])
            cast.append(signs)
        for name, update in updates.items():
            expected = np.sign(sum(np.asarray(v[name]) for v in cast))
            for i in range(devices):
                np.testing.assert_array_equal(update[i], expected)
                mine, kept = state.mu[name][i], states[i].mu[name]
                np.testing.assert_allclose(mine, kept, rtol=1e-4, atol=1e-8)


def bits_per_value(lowered, n):
    """The larger of what an exchange takes and gives, by its kind."""
    exchanges = re.findall(
        r"stablehlo\.(all_to_all|all_gather|reduce_scatter).*?"
        r"\(tensor<([\dx]+)x(?:ui8|f32)>\) -> tensor<([\dx]+)x(ui8|f32)>",
        lowered.as_text(),
        re.S,
    )
    return {
        kind: {"ui8": 8, "f32": 32}[dtype]
        * max(np.prod([int(d) for d in shape.split("x")]) for shape in shapes)
        / n
        for kind, *shapes, dtype in exchanges
    }


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 3, 8])
def test_a_vote_takes_one_bit_and_an_outcome_two(devices):
    init, step = stepper(devices)
    n = 48_000
    grads = jnp.ones((devices, n))
    lowered = step.lower(init(grads[0]), grads)
    flags = 8 * devices / n  # a byte from each: of the arrays with a NaN
    outcome = 1 if devices % 2 else 2  # of an odd number there are no ties
    assert bits_per_value(lowered, n) == {
        "all_to_all": 1,
        "all_gather": outcome + flags,
    }
    assert votes.bits(devices, "majority", "stand") == 1 + outcome
    if devices == 8:
        text = lowered.compile().as_text()
        assert not re.findall(r"f32\[[\d,]*\]\S* all-", text)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("vote", "ties"), [("majority", "alternate"), ("mean", "stand")]
)
def test_other_outcomes_take_what_is_said(vote, ties):
    tx = scale_by_distributed_lion("data", vote=vote, ties=ties)
    init, step = stepper(8, tx)
    n = 48_000
    grads = jnp.ones((8, n))
    sent = bits_per_value(step.lower(init(grads[0]), grads), n)
    assert sum(sent.values()) == votes.bits(8, vote, ties) + 8 * 8 / n


def test_a_mean_of_float32_takes_64_bits():
    def mean(g):
        part = jax.lax.psum_scatter(g[0], "data", tiled=True) / 8
        return jax.lax.all_gather(part, "data", tiled=True)

    mesh = jax.make_mesh((8,), ("data",), (AxisType.Auto,))
    mapped = jax.shard_map(mean, mesh=mesh, in_specs=SPLIT, out_specs=SPLIT)
    lowered = jax.jit(mapped).lower(jnp.ones((8, 1000)))
    bits = bits_per_value(lowered, 1000)
    assert bits == {"reduce_scatter": 32, "all_gather": 32}


@pytest.mark.slow
def test_a_step_has_one_vote_and_one_outcome_for_all_arrays():
    init, step = stepper(8)
    grads = gradients(0, 8)
    text = step.lower(init(jax.tree.map(lambda g: g[0], grads)), grads).as_text()
    kinds = re.findall(r"stablehlo\.(all_\w+|reduce_scatter|collective\w*)", text)
    assert sorted(kinds) == ["all_gather", "all_to_all"]


@pytest.mark.slow
@pytest.mark.parametrize("devices", range(1, 10))
def test_votes_are_counted_in_their_bytes(devices):
    rng = np.random.default_rng(devices)
    plus = rng.random((devices, 64)) < rng.random(64)
    plus[:, :2] = [False, True]
    counts = plus.sum(0)
    digits = votes._counted(jnp.asarray(np.packbits(plus, axis=1)))
    bits = np.unpackbits(np.asarray(digits), axis=1)
    np.testing.assert_array_equal(2 ** np.arange(len(bits)) @ bits, counts)
    for bound in range(1, devices + 1):
        reached = np.unpackbits(np.asarray(votes._at_least(digits, bound)))
        np.testing.assert_array_equal(reached, counts >= bound)


def elected(signs, step, vote, ties):
    """What NumPy makes of the devices' signs: a bit of each, and their count."""
    devices = len(signs)
    even = (step + np.arange(devices)) % 2 == 0
    count = ((signs > 0) | ((signs == 0) & even[:, None])).sum(0)
    mean = (2 * count.astype(np.float32) - devices) / devices
    if vote == "majority":
        alternate = ties == "alternate" and devices % 2 == 0
        tie = (1 if step % 2 == 0 else -1) if alternate else 0
        mean = np.where(mean == 0, tie, np.sign(mean))
    if devices == 1:
        return signs[0]
    return np.where(np.isnan(signs).any(), np.nan, mean)


@pytest.mark.parametrize("devices", range(1, 10))
def test_votes_are_those_that_numpy_counts(devices):
    """Of signs and zeros, ties among them, in three arrays of which one has a NaN."""
    rng = np.random.default_rng(devices)
    signs = {
        "w": rng.integers(-1, 2, (devices, 29)).astype(np.float32),
        "tied": np.where(np.arange(3 * devices).reshape(-1, 3) % 2, 1.0, -1.0),
        "bad": rng.integers(-1, 2, (devices, 4)).astype(np.float32),
    }
    signs["bad"][devices // 2, 1] = np.nan
    rules = ("majority", "stand"), ("majority", "alternate"), ("mean", "stand")
    for vote, ties in rules:

        def elect(mine, step, vote=vote, ties=ties):
            return votes.elect(mine, step, "devices", vote, ties)

        step = jax.jit(jax.vmap(elect, (0, None), axis_name="devices"))
        for number in np.int32([0, 1]):
            got = step(signs, number)
            for name, each in signs.items():
                expected = elected(each, number, vote, ties)
                # XLA divides by multiplication.
                np.testing.assert_allclose(got[name], [expected] * devices, rtol=3e-7)


@pytest.mark.parametrize("value", ["vote", "ties"])
def test_an_unknown_rule_is_refused(value):
    with pytest.raises(ValueError, match=f"{value}="):
        inspect.unwrap(scale_by_distributed_lion)("data", **{value: "most"})


@pytest.mark.parametrize("mu_dtype", [None, "bfloat16", "int8"])
def test_synchronised_momenta_are_their_mean(mu_dtype):
    tx = scale_by_distributed_lion("data", mu_dtype=mu_dtype)
    grads = jax.random.normal(jax.random.key(0), (4, 64, 64))

    def one(g):
        _, state = tx.update(g, tx.init(g))
        return state, distributed.synchronised(state, "data")

    before, after = jax.vmap(one, axis_name="data")(grads)
    values, means = (jax.vmap(momentum.values)(state) for state in (before, after))
    expected = np.asarray(values, np.float64).mean(0)
    # An int8 code is 1/16 to 1/8 of its value from the next one.
    rtol = {None: 1e-5, "bfloat16": 2**-8, "int8": 1 / 8}[mu_dtype]
    np.testing.assert_allclose(
        np.asarray(means, np.float64), [expected] * 4, rtol=rtol, atol=1e-5
    )
    assert jax.tree.structure(before) == jax.tree.structure(after)
    mine = distributed.of_each_device((before, jnp.zeros(1)))
    assert [*jax.tree.leaves(mine)] == [
        False,
        *[True] * (len(jax.tree.leaves(before)) - 1),
        False,
    ]


@pytest.mark.slow
@pytest.mark.parametrize("devices", [2, 3, 8])
def test_zero_gradients_go_nowhere(devices):
    init, step = stepper(devices)
    zeros = jnp.zeros((devices, 9))
    state, total = init(zeros[0]), 0.0
    for _ in range(4):
        updates, state = step(state, zeros)
        total = total + updates
        # An odd number of devices goes back and forth by one step.
        np.testing.assert_array_equal(np.abs(updates), devices % 2)
    np.testing.assert_array_equal(total, 0)


@pytest.mark.slow
def test_nan_is_visible_everywhere_and_leaves_others_alone():
    init, step = stepper(8)
    grads = gradients(0, 8)
    grads["w"] = grads["w"].at[5, 2, 2].set(jnp.nan)
    updates, _ = step(init(jax.tree.map(lambda g: g[0], grads)), grads)
    assert np.isnan(updates["w"]).all()
    assert np.isfinite(updates["long"]).all()


@pytest.mark.parametrize("check_vma", [True, False])
def test_jax_sums_gradients_of_replicated_parameters_unless_told(check_vma):
    mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,))
    gradient = jax.grad(lambda p, x: jnp.sum(p * x))
    mapped = jax.shard_map(
        gradient,
        mesh=mesh,
        in_specs=(PartitionSpec(), SPLIT),
        out_specs=PartitionSpec() if check_vma else SPLIT,
        check_vma=check_vma,
    )
    found = mapped(jnp.ones(1), jnp.array([1.0, 2.0]))
    np.testing.assert_array_equal(found, [3.0] if check_vma else [1.0, 2.0])


@pytest.mark.slow
@pytest.mark.standard_promotion("Optax's schedules compare integers with floats")
def test_it_trains():
    tx = optax.chain(
        scale_by_distributed_lion("data", b2=0.9),
        optax.scale_by_learning_rate(optax.linear_schedule(0.1, 0.0, 60)),
    )
    init, step = stepper(8, tx)
    target = jax.random.normal(jax.random.key(0), (30,))
    w, state = jnp.zeros(30), init(jnp.zeros(30))
    for seed in range(60):
        noise = jax.random.normal(jax.random.key(seed), (8, 30))
        # Emulated devices must not have several programs' exchanges in flight.
        grads = (w - target)[None] + 0.5 * noise
        updates, state = jax.block_until_ready(step(state, grads))
        w = w + updates[0]
    assert float(jnp.mean(jnp.abs(w - target))) < 0.1


@pytest.mark.slow
def test_replicated_parameters_stay_so_and_take_the_voted_step():
    """The call of the docstring, beside a vote that is counted on the host."""
    tx = optax.chain(
        scale_by_distributed_lion("data"), optax.scale_by_learning_rate(0.5)
    )
    mesh = jax.make_mesh((8,), ("data",), (AxisType.Auto,))

    def gradient(params, rows):
        return jax.grad(lambda p: jnp.mean((rows @ p - 1.0) ** 2))(params)

    def one(params, state, rows):
        mine = jax.tree.map(lambda x: x[0], state)
        updates, mine = tx.update(gradient(params, rows), mine, params)
        params = optax.apply_updates(params, updates)
        return params, jax.tree.map(lambda x: x[None], mine)

    step = jax.jit(
        jax.shard_map(
            one,
            mesh=mesh,
            in_specs=(PartitionSpec(), SPLIT, SPLIT),
            out_specs=(PartitionSpec(), SPLIT),
            check_vma=False,
        )
    )
    batch = jax.random.normal(jax.random.key(0), (16, 5))
    params = expected = jnp.zeros(5)
    state = jax.tree.map(lambda x: jnp.stack([x] * 8), tx.init(params))
    alone = scale_by_lion()
    states = [alone.init(params) for _ in range(8)]
    for _ in range(3):
        params, state = jax.block_until_ready(step(params, state, batch))
        votes = jnp.zeros(5)
        for i in range(8):
            g = gradient(expected, batch[2 * i : 2 * i + 2])
            sign, states[i] = alone.update(g, states[i])
            votes = votes + sign
        expected = expected - 0.5 * jnp.sign(votes)
        np.testing.assert_array_equal(params, expected)
    assert len({bytes(np.asarray(s.data)) for s in params.addressable_shards}) == 1
