"""What the optimizer's docstrings claim (`claims`), where no other test shows it."""

import inspect
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from claims import CLAIMS
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from lion_jax import lion, scale_by_lion, with_error_bits, with_stochastic_rounding
from lion_jax.optimizer import bf16, calibration, in_place, int8, momentum, variants
from lion_jax.optimizer.float_bits import from_bits, round_to_bfloat16, to_bits

pytestmark = pytest.mark.usefixtures("full_compilation")

ROOT = Path(__file__).parents[1]
EPSILON = 2.0**-23  # the last place of a float32
FINE = np.arange(int8.BOTTOM, int8.TOP + 1)  # levels, 8 to an octave
HALVES = jnp.arange(2**16, dtype=jnp.int32)  # the bits that a bfloat16 lacks
ONE_AND_NEXT = (0x3F800000, 0x3F810000)  # two bfloat16 neighbours: even and odd


def random(seed, shape=(64, 64)):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def nearly_cancelling(b1=0.9, shape=(64, 64)):
    """A momentum and a gradient with interpolations of 1e-8 to 1e-2 of their terms."""
    rng = np.random.default_rng(0)
    m = rng.normal(size=shape).astype(np.float32)
    off = 10.0 ** rng.uniform(-8, -2, shape) * rng.choice([-1, 1], shape)
    g = (-m * b1 / (1 - b1) * (1 + off)).astype(np.float32)
    c = b1 * np.float64(m) + (1 - b1) * np.float64(g)
    terms = b1 * np.abs(m) + (1 - b1) * np.abs(g)
    return jnp.asarray(m), jnp.asarray(g), c, np.abs(c) / terms


@pytest.mark.parametrize("file", CLAIMS)
def test_every_claim_is_written_and_its_tests_exist(file):
    lines = (ROOT / "lion_jax" / "optimizer" / file).read_text().splitlines()
    text = " ".join(" ".join(lines).replace("# ", "").split())
    for claim, tests in CLAIMS[file].items():
        assert claim in text, claim
        for test in [tests] if isinstance(tests, str) else tests:
            module, _, name = test.rpartition("::")
            code = (ROOT / "tests" / f"test_{module or 'claims'}.py").read_text()
            assert f"\ndef test_{name}(" in code, test


# --------------------------------------------------------------------- the three lines


@pytest.mark.parametrize("mu_dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_gradients_of_few_bits_are_computed_with_in_float32(dtype, mu_dtype):
    tx = scale_by_lion(mu_dtype=mu_dtype, mode="smooth")
    found = expected = tx.init(jnp.zeros((64, 64)))
    for seed in range(2):
        g = random(seed).astype(dtype)
        u, found = tx.update(g, found)
        wide, expected = tx.update(g.astype(jnp.float32), expected)
        chex.assert_trees_all_equal((u, found), (wide.astype(dtype), expected))


def test_directions_differ_from_optaxs_only_within_rounding(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")  # with one loop they are Optax's to the bit
    m, g, _, share = nearly_cancelling()
    tx, peer = scale_by_lion(), optax.scale_by_lion()
    for jit in (False, True):
        update, theirs = (jax.jit(f) if jit else f for f in (tx.update, peer.update))
        u, state = update(g, tx.init(m)._replace(mu=m))
        v, expected = theirs(g, peer.init(m)._replace(mu=m))
        np.testing.assert_array_equal(state.mu, expected.mu)
        assert share[u != v].max() < 8 * EPSILON  # and there are such values


def test_scale_by_lion_refuses_an_unknown_mode_in_update():
    tx = inspect.unwrap(scale_by_lion)(mode="soft")
    with pytest.raises(ValueError, match=r"mode=.*must be one of"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)))


@pytest.mark.parametrize(
    "pair", [(lion, optax.lion), (scale_by_lion, optax.scale_by_lion)]
)
def test_arguments_are_those_of_optax(pair):
    ours, theirs = (
        [(p.name, p.kind, p.default) for p in inspect.signature(f).parameters.values()]
        for f in map(inspect.unwrap, pair)
    )
    assert ours[: len(theirs)] == theirs


def test_integers_have_zero_updates():
    params = {"w": jnp.ones(2), "n": jnp.int32(3)}
    tx = scale_by_lion()
    updates, state = tx.update(params, tx.init(params))
    assert not updates["n"]
    assert isinstance(state.mu["n"], optax.MaskedNode)


# ----------------------------------------------------------- which momentum is read


@pytest.mark.parametrize(
    ("betas", "traced", "dtype", "c"),
    [
        ((0.9, 0.99), False, "float32", 5),
        ((0.9, 0.9), False, "bfloat16", 5),
        ((0.9, 0.5), False, "float32", 0.9 * 3),
        ((0.0, 0.99), False, "float32", 0),
        ((0.9, 0.99), False, "float16", 0.9 * 3),
        ((0.9, 0.5), True, "float32", 5),
        ((0.0, 0.5), True, "float32", 0),
    ],
)
def test_which_momentum_is_read(monkeypatch, betas, traced, dtype, c):
    monkeypatch.setenv("XLA_FLAGS", "")
    old, new = jnp.asarray(3.0, dtype), jnp.asarray(5.0, dtype)

    def interpolated(b1, b2):
        of = in_place.Interpolation.of(b1, b2)
        return of(jnp.float32(0), old, new)

    found = jax.jit(interpolated)(*betas) if traced else interpolated(*betas)
    np.testing.assert_allclose(found, c, rtol=1e-6)


def test_the_flag_at_construction_decides_for_all_later_steps(monkeypatch):
    m, g, *_ = nearly_cancelling()
    peer = optax.scale_by_lion()
    expected, _ = peer.update(g, peer.init(m)._replace(mu=m))
    differing = {}
    for at_construction, later in ((in_place.ONE_LOOP, ""), ("", in_place.ONE_LOOP)):
        monkeypatch.setenv("XLA_FLAGS", at_construction)
        tx = scale_by_lion()
        monkeypatch.setenv("XLA_FLAGS", later)
        u, _ = tx.update(g, tx.init(m)._replace(mu=m))
        differing[at_construction] = int(np.sum(u != expected))
    assert differing[in_place.ONE_LOOP] == 0 < differing[""]


def test_the_flag_is_for_float32_momenta(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", in_place.ONE_LOOP)
    old, new = jnp.bfloat16(3.0), jnp.bfloat16(5.0)
    c = in_place.Interpolation.of(0.9, 0.99)(jnp.float32(0), old, new)
    assert c == 5


def test_traced_betas_lose_bits_and_are_nan_below_a_sixteenth(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")  # with one loop the old momentum is read

    @jax.jit
    def step(b1, b2, m, g):
        tx = scale_by_lion(b1, b2)
        return tx.update(g, tx.init(m)._replace(mu=m))[0]

    for b1 in (0.5, 0.9):
        m, g, c, share = nearly_cancelling(b1)
        wrong = step(b1, b1 / 16, m, g) != np.sign(c)
        assert share[wrong].max() < 16 / (1 - b1) * EPSILON
    assert share[wrong].max() > 8 * EPSILON  # unlike betas that are known
    known = scale_by_lion(0.9, 0.05625)
    u, _ = known.update(g, known.init(m)._replace(mu=m))
    np.testing.assert_array_equal(
        u[share > 8 * EPSILON], np.sign(c)[share > 8 * EPSILON]
    )
    below = np.nextafter(np.float32(0.05), np.float32(0))
    assert np.isfinite(step(0.8, np.float32(0.05), m, g)).all()
    assert np.isnan(step(0.8, below, m, g)).all()


@pytest.mark.parametrize("mu_dtype", ["float32", "bfloat16"])
def test_traced_equal_betas_take_an_infinite_gradient_as_a_sign(mu_dtype):
    @jax.jit
    def step(b, g):
        tx = scale_by_lion(b, b, mu_dtype=mu_dtype)
        return tx.update(g, tx.init(g))

    u, state = step(0.9, jnp.float32([jnp.inf, -jnp.inf, 1.0]))
    np.testing.assert_array_equal(u, [1, -1, 1])
    np.testing.assert_array_equal(jnp.isinf(state.mu), [True, True, False])


@pytest.mark.slow
def test_a_bfloat16_momentum_is_rounded_to_its_side():
    rng = np.random.default_rng(0)
    bits = jnp.asarray(rng.integers(0x10000000, 0x7F000000, 4000), jnp.int32)
    near = jnp.asarray(rng.integers(1, 2**17, 4000) * rng.choice([-1, 1], 4000))
    x, side = from_bits(bits), from_bits(bits + near.astype(jnp.int32))
    narrow = jax.jit(momentum._narrow, static_argnums=1)(x, "bfloat16", side)
    narrow = narrow.astype(jnp.float32)
    nearest = x.astype(jnp.bfloat16).astype(jnp.float32)
    np.testing.assert_array_equal(jnp.sign(narrow - side), jnp.sign(x - side))
    assert jnp.all(jnp.abs(to_bits(narrow) - bits) < 2**16)  # a neighbour
    moved = narrow != nearest
    assert 0 < jnp.mean(moved) < 0.5
    np.testing.assert_array_equal(moved, jnp.sign(nearest - side) != jnp.sign(x - side))


@pytest.mark.parametrize(("b2", "share"), [(0.75, 0.0), (0.99, 0.9)])
def test_a_zero_interpolation_with_a_bfloat16_momentum(b2, share):
    """It is zero where the new momentum is a bfloat16, and has a sign elsewhere."""
    m = jnp.linspace(1, 2, 129).astype(jnp.bfloat16)
    tx = scale_by_lion(0.5, b2, mu_dtype="bfloat16")
    g = -m.astype(jnp.float32)
    u, state = jax.jit(tx.update)(g, tx.init(g)._replace(mu=m))
    expected = (2 * b2 - 1) * np.float32(m)
    np.testing.assert_allclose(np.float32(state.mu), expected, rtol=2.0**-7)
    assert share <= jnp.mean(jnp.abs(u)) <= share * 2  # 0 of 129, or most of them


# -------------------------------------------------------------------- momenta in bytes


def test_bytes_of_a_momentum_and_of_small_ones():
    assert int8.fits((4, 1024))
    assert not int8.fits((4095,))
    for mu_dtype, size in (("float32", 4), ("bfloat16", 2), ("int8", 1)):
        mu = scale_by_lion(mu_dtype=mu_dtype).init(jnp.ones(4096)).mu
        assert mu.nbytes == size * 4096
    with jax.enable_x64(True):
        small = scale_by_lion(mu_dtype="int8").init(jnp.ones(8, jnp.float64))
        assert small.mu.dtype == jnp.float64


@pytest.mark.parametrize("mu_dtype", [None, "bfloat16", "int8"])
def test_momenta_begin_where_their_parameters_lie(mu_dtype):
    mesh = jax.make_mesh((8,), ("data",), (AxisType.Auto,))
    columns = NamedSharding(mesh, PartitionSpec(None, "data"))
    mu = scale_by_lion(mu_dtype=mu_dtype).init(jax.device_put(random(0), columns)).mu
    assert mu.sharding.is_equivalent_to(columns, 2)


def test_levels_are_eight_to_an_octave_and_beyond_them_one():
    numbers = np.float64(int8.load(jnp.arange(1, 127, dtype=jnp.int8), jnp.int32(127)))
    fine = numbers[FINE - 1]
    assert (fine[0], fine[-1]) == (2.0**-10, 2.0**2)  # 12 octaves
    octaves = np.floor(np.log2(fine[:-1]))
    np.testing.assert_array_equal(np.unique(octaves, return_counts=True)[1], 8)
    assert set(np.diff(to_bits(jnp.float32(fine)))) == {int8.STEP}
    gaps = np.diff(fine)
    assert (gaps / fine[1:]).min() == 1 / 16
    assert (gaps / fine[:-1]).max() == 1 / 8
    np.testing.assert_array_equal(np.diff(np.log2(numbers[: FINE[0]])), 1)
    np.testing.assert_array_equal(np.diff(np.log2(numbers[FINE[-1] - 1 :])), 1)
    assert numbers[-1] == 2.0**10


def test_rounded_to_the_nearest_level_a_momentum_would_freeze():
    numbers = np.float64(int8.load(jnp.asarray(FINE, jnp.int8), jnp.int32(127)))
    # One step of Lion with b2 = 0.99, towards a gradient of 0 or of minus the momentum.
    for moved in (0.99 * numbers[1:-1], 0.98 * numbers[1:-1]):
        nearest = np.abs(moved[:, None] - numbers).argmin(axis=1)
        np.testing.assert_array_equal(numbers[nearest], numbers[1:-1])


def test_errors_of_neighbours_cancel():
    values = np.linspace(0.26, 3.9, 7)
    rows = jnp.asarray(np.tile(values[:, None], 987), jnp.float32)
    codes = int8.store(rows, jnp.int32(127), int8.walk(5))
    means = np.float64(int8.load(codes, jnp.int32(127))).mean(axis=1)
    np.testing.assert_allclose(means, values, rtol=1e-3)
    assert len(np.unique(codes[0])) == 2


def test_a_subnormal_keeps_its_sign():
    tiny = from_bits(jnp.array([1, 1 + (-(2**31)), 0], jnp.int32))
    back = int8.load(int8.store(tiny, jnp.int32(127), int8.walk(0)), jnp.int32(127))
    np.testing.assert_array_equal(jnp.sign(back), [1, -1, 0])


def test_exponents_are_measured_at_these_steps():
    due = jax.vmap(calibration._is_due)(jnp.arange(1100))
    early = [0, 1, 2, 4, 8, 16, 32, 64, 128]
    np.testing.assert_array_equal(np.flatnonzero(due), [*early, 256, 512, 768, 1024])


@pytest.mark.slow
def test_between_measurements_every_value_is_alone():
    tx = scale_by_lion(mu_dtype="int8")
    g, update = random(0), jax.jit(tx.update)
    _, state = update(g, tx.init(g))
    for count, alone in ((5, True), (8, False)):
        state = state._replace(count=jnp.int32(count))
        u, one = update(random(1), state)
        others = (1000 * random(1)).at[3, 5].set(random(1)[3, 5])
        v, other = update(others, state)
        assert u[3, 5] == v[3, 5]
        assert (one.mu[3, 5] == other.mu[3, 5]) == alone
        assert jnp.array_equal(one.exponents, other.exponents) == alone


def test_a_momentum_1024_times_its_scale_is_cut_off_until_the_next_measurement():
    tx = scale_by_lion(mu_dtype="int8")
    one, update = jnp.ones((64, 64)), jax.jit(tx.update)
    _, state = update(one, tx.init(one))  # 0.01, and so 2**-7
    for size, held in ((100.0, 1.0), (1e5, 2.0**-7 * 1024)):
        _, after = update(size * one, state._replace(count=jnp.int32(5)))
        np.testing.assert_allclose(momentum.values(after), held, rtol=0.5)
    assert jnp.all(momentum.values(after) == 8)
    _, after = update(1e5 * one, after._replace(count=jnp.int32(256)))
    np.testing.assert_allclose(momentum.values(after), 1008, rtol=1 / 8)


@pytest.mark.slow
@pytest.mark.parametrize("check_vma", [True, False])
def test_exponents_of_cut_weights_are_counted_over_devices(check_vma):
    mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,))
    rows = PartitionSpec("data")
    tx = scale_by_lion(mu_dtype="int8")
    g = jnp.float32(random(0) * np.float32(2.0) ** np.arange(64)[:, None])
    state = tx.init(g)
    specs = jax.tree.map(lambda _: PartitionSpec(), state)._replace(mu=rows)
    place = {"mesh": mesh, "in_specs": (rows, specs), "out_specs": (rows, specs)}
    step = jax.shard_map(tx.update, **place, check_vma=check_vma)
    _, found = jax.jit(step)(g, state)
    _, expected = jax.jit(tx.update)(g, state)
    alike = jnp.array_equal(found.exponents, expected.exponents)
    assert alike == check_vma


# -------------------------------------------------------------------- bfloat16 weights


def test_updates_below_a_512th_of_a_weight_are_rounded_away():
    bits = jnp.arange(0x1000, 0x7F80, dtype=jnp.int32) << 16  # 2**-95 and larger
    w = np.float64(from_bits(bits))
    for step in (-1 / 513, 1 / 513):
        found = (w + step * w).astype(jnp.bfloat16)
        np.testing.assert_array_equal(found, w.astype(jnp.bfloat16))
    assert np.float64(1 - 1 / 511).astype(jnp.bfloat16) < 1


def test_with_rate_1e_4_weights_above_a_32nd_stand_still():
    bits = jnp.arange(0x3D00, 0x4980, dtype=jnp.int32) << 16  # 1/32 to 2**20
    w = from_bits(bits).astype(jnp.bfloat16)
    tx = lion(1e-4)

    @jax.jit
    def stepped(g):
        return optax.apply_updates(w, tx.update(g, tx.init(w), w)[0])

    assert w[0] == 1 / 32
    for g in (w, -w):
        np.testing.assert_array_equal(stepped(g)[1:], w[1:])
    assert stepped(w)[0] < w[0]


@pytest.mark.parametrize("wrap", [with_error_bits, with_stochastic_rounding])
def test_the_inner_optimizer_sees_float32_and_updates_are_float32(wrap):
    seen = []

    def update(updates, state, params):
        seen.extend([updates.dtype, params.dtype])
        return updates, state

    tx = wrap(optax.GradientTransformation(lambda _: optax.EmptyState(), update))
    w = jnp.ones(3, jnp.bfloat16)
    for promotion, dtype in (("strict", jnp.bfloat16), ("standard", jnp.float32)):
        with jax.numpy_dtype_promotion(promotion):
            updates, _ = jax.eval_shape(tx.update, w, tx.init(w), w)
        assert updates.dtype == dtype
    assert seen == [jnp.float32] * 4


def test_stochastic_rounding_stores_a_count_alone():
    w, inner = jnp.ones(3, jnp.bfloat16), optax.sgd(0.1)
    state = with_stochastic_rounding(inner).init(w)
    assert len(jax.tree.leaves(state)) == len(jax.tree.leaves(inner.init(w))) + 1


@pytest.mark.parametrize("high", ONE_AND_NEXT)
def test_sixteen_bits_hold_all_but_a_tie_that_is_rounded_down(high):
    @jax.jit
    def there_and_back(x):
        rounded = bf16._round(x)
        w = from_bits(rounded).astype(jnp.bfloat16)
        return w, bf16._join(w, bf16._error(x, rounded, 16), 16)

    x = from_bits(high + HALVES)
    w, joined = there_and_back(x)
    np.testing.assert_array_equal(w, x.astype(jnp.bfloat16))  # ties to even
    lost = to_bits(x) - to_bits(joined)
    tie_down = (HALVES == 2**15) & (high == ONE_AND_NEXT[0])
    np.testing.assert_array_equal(lost, tie_down)


@pytest.mark.parametrize("low", [0, 1, 0x4000, 0x8000, 0xFFFF])
def test_the_mean_of_all_random_roundings_is_exact(low):
    bits = jnp.full(2**16, ONE_AND_NEXT[0] + low, jnp.int32)
    rounded = np.float64(from_bits(round_to_bfloat16(bits, HALVES)))
    assert rounded.mean() == np.float64(from_bits(bits[0]))
    assert len(np.unique(rounded)) == (2 if low else 1)


def test_a_weight_that_changes_by_less_than_its_half_is_moved_exactly_if_strict():
    target = from_bits(jnp.arange(0x3F41, 0x4010, dtype=jnp.int32) << 16)
    p = jnp.full(target.shape, 1.5, jnp.bfloat16)  # to values from 0.75 to 2.25
    updates = jax.jit(bf16._move)(p, to_bits(target))
    assert updates.dtype == jnp.bfloat16
    np.testing.assert_array_equal(p + updates, target)


# ---------------------------------------------------------------------------- variants


@pytest.mark.parametrize("aligned", [0, 2, 1000, 4000])
def test_cautious_is_timms_form_and_not_the_authors(aligned):
    u, g = np.ones(4000), np.where(np.arange(4000) < aligned, 1.0, -1.0)
    mask = u * g > 0
    timm = u * mask / max(mask.mean(), 1e-3)
    authors = u * mask * mask.size / (mask.sum() + 1)
    ours = variants.cautious_direction(jnp.float32(u), jnp.float32(g))
    np.testing.assert_allclose(ours, timm, rtol=1e-6)
    np.testing.assert_array_equal(ours[aligned:], 0)
    if aligned > 2:  # above timm's least share, 0.001
        np.testing.assert_allclose(authors / (aligned / (aligned + 1)), ours, 1e-6)


def test_a_scalar_takes_a_whole_cautious_step():
    one = jnp.ones(())
    assert variants.cautious_direction(one, one) == 1  # the authors': 1 / (1 + 1)
