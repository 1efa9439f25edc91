"""The compiled steps on real and made data: devices, exactness, order, seeds."""

import dataclasses
import functools
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import Mesh
from small_models import STEM

from lion_jax import data, models
from lion_jax.config import Config, ConfigError
from lion_jax.training import evaluation, images, lowering, sharding
from lion_jax.training.evaluation import Evaluation
from lion_jax.training.program import Program
from lion_jax.training.state import NEVER, Evaluated
from lion_jax.training.step import epoch_order, eval_step, train_step
from lion_jax.training.task import make_task, split

pytestmark = pytest.mark.slow


def made_data(n=96, n_test=40, seed=0, channels=1):
    rng = np.random.default_rng(seed)
    shape = (8, 8, channels)
    return data.Dataset(
        name="made",
        version="1",
        source="a test",
        class_names=("a", "b", "c"),
        train_images=rng.integers(0, 256, (n, *shape), np.uint8),
        train_labels=rng.integers(0, 3, n).astype(np.int32),
        test_images=rng.integers(0, 256, (n_test, *shape), np.uint8),
        test_labels=rng.integers(0, 3, n_test).astype(np.int32),
    )


def made_config(model=STEM, **options):
    config = Config(
        image_size=8, batch_size=16, eval_batch_size=16, epochs=4, **options
    )
    config.model.name = model
    config.optimizer.learning_rate = 1e-3
    return config


def when_needed(self, jitted):
    """Compiles the evaluation at its first call: most tests here have none."""
    make = functools.cache(lambda: COMPILE_EVALUATION(self, jitted))
    return lambda *rest: make()(*rest)


COMPILE_EVALUATION = Evaluation._compile


def build(config, dataset, devices=1, kind=Program, evaluation=when_needed):
    mesh = sharding.make_mesh(devices)
    splits = split(config, dataset)
    task = make_task(config, dataset, splits, mesh)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Evaluation, "_compile", evaluation)
        program = kind(config, task, splits, mesh)
    return program, task, splits


@functools.cache
def default_program():
    """That of `made_config`, which no test changes."""
    return build(made_config(), made_data())[0]


def run(program, epochs=2, seed=0):
    """Trains whole epochs; returns the last state and every step's loss."""
    state, losses = program.init(seed), []
    for epoch in range(epochs):
        inputs = program.start_epoch(seed, epoch)
        state = state._replace(metrics=inputs.zeros)
        for _ in range(program.steps_per_epoch):
            state, loss = program.train_step(state, inputs)
            losses.append(float(loss))
    return state, losses


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def config_for_devices(model):
    config = made_config(model, label_smoothing=0.1)
    # The sign of a rounding error is as good as random: SGD compares, Lion cannot.
    config.optimizer.name, config.optimizer.learning_rate = "sgd", 0.01
    config.augment.flip, config.augment.crop_padding = True, 1
    return config


@functools.cache
def run_on_one_device(model):
    one, _, _ = build(config_for_devices(model), made_data())
    return one, *run(one)


@functools.cache
def program_for_eight_devices(model, shard_parameters):
    config = config_for_devices(model)
    config.shard_parameters = shard_parameters
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sharding, "MIN_SHARDED_SIZE", 64)
        return build(config, made_data(), devices=8)[0]


@pytest.mark.parametrize(
    ("model", "shard_parameters"),
    [(STEM, False), ("resnet_nano", True)],  # of a ViT: test_mesh.py, and below
)
def test_eight_devices_give_the_numbers_of_one(model, shard_parameters):
    one, state1, losses1 = run_on_one_device(model)
    eight = program_for_eight_devices(model, shard_parameters)
    state8, losses8 = run(eight)
    np.testing.assert_allclose(losses8, losses1, rtol=1e-3, atol=1e-4)
    for a, b in zip(leaves(state8.params), leaves(state1.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=2e-3)
    for name in ("validation", "test"):
        got = eight.evaluate(state8.params, state8.batch_stats, name).means()
        expected = one.evaluate(state1.params, state1.batch_stats, name).means()
        np.testing.assert_allclose(got, expected, rtol=1e-2, atol=1e-2)


def test_accumulated_gradients_are_those_of_the_whole_batch():
    # SGD, since Lion's signs of rounding errors differ; a ViT, since a batch norm sees
    # each part by itself.
    _, whole, losses = run_on_one_device("vit_tiny")
    config = config_for_devices("vit_tiny")
    config.accumulate = 4
    parts, losses_of_parts = run(build(config, made_data(), devices=4)[0])
    np.testing.assert_allclose(losses_of_parts, losses, rtol=1e-5)
    for a, b in zip(leaves(parts.params), leaves(whole.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert parts.metrics.means() == pytest.approx(whole.metrics.means(), rel=1e-5)
    assert int(parts.metrics.examples) == int(whole.metrics.examples)


def test_accumulation_norms_each_part_and_updates_the_statistics_in_turn():
    config = made_config(accumulate=2)
    config.optimizer.learning_rate = 0.0
    program, task, splits = build(config, made_data())
    state = program.init(0)
    inputs = program.start_epoch(0, 0)
    model = nnx.merge(task.graph(), *map(copied, (state.params, state.batch_stats)))
    rows = np.asarray(inputs.order)[:16]
    see = nnx.jit(lambda model, x: model(task.standardize(x), train=True))
    for part in (rows[0::2], rows[1::2]):
        see(model, jnp.asarray(splits.train.images[part]))
    after, _ = program.train_step(state, inputs)
    _, _, expected = nnx.split(model, nnx.Param, ...)
    expected = nnx.to_pure_dict(expected)
    for a, b in zip(leaves(after.batch_stats), leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def every_order(splits):
    return jnp.arange(len(splits.train.labels), dtype=jnp.int32)


def copied(tree):
    return jax.tree.map(jnp.copy, tree)


def test_parts_of_a_batch_take_from_all_devices():
    """Each part's examples lie on every device, so none waits for the others."""
    config = made_config(accumulate=2)
    mesh = sharding.make_mesh(8)
    splits = split(config, made_data())
    task = make_task(config, made_data(), splits, mesh)
    seen = []

    def spy(pixels):
        jax.debug.inspect_array_sharding(pixels, callback=seen.append)
        return task.standardize(pixels)

    spied = dataclasses.replace(task, standardize=spy)
    abstract = evaluation.abstract_state(config, task, mesh)
    step = jax.jit(functools.partial(train_step, spied, task.graph()))
    train = jax.device_put(splits.train, sharding.replicated(mesh))
    step.lower(abstract, train, every_order(splits), jax.random.key(0)).compile()
    assert seen
    assert seen[0].shard_shape((8, 8, 8, 1)) == (1, 8, 8, 1)


@functools.cache
def program_of_three_steps_a_call():
    config = config_for_devices(STEM)
    config.scan_steps = 3
    return build(config, made_data())[0]


def test_several_steps_a_call_take_just_as_many_as_asked():
    program = program_of_three_steps_a_call()
    inputs = program.start_epoch(0, 0)
    state = program.init(0)
    for steps, after in ((3, 3), (1, 4), (2, 6)):
        state, loss = program.train_step(state, inputs, steps)
        assert int(state.step) == after
        assert int(state.metrics.batches) == after
        assert np.isfinite(loss)


def test_several_steps_a_call_are_the_steps_one_by_one():
    one, _, _ = run_on_one_device(STEM)
    several = program_of_three_steps_a_call()
    # Of a loop of unknown length, a GPU's host looks at the counter at every step.
    assert '"known_trip_count":{"n":"3"}' in several.compiled.as_text()
    expected, _ = run(one, epochs=1)
    inputs = several.start_epoch(0, 0)
    state = several.init(0)
    for steps in (3, one.steps_per_epoch - 3):
        state, _ = several.train_step(state, inputs, steps)
    for a, b in zip(leaves(state), leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_call_takes_an_epochs_steps_at_most():
    program, _, _ = build(made_config(scan_steps=10**9), made_data())
    assert program.scan_steps == program.steps_per_epoch
    one = default_program()
    with pytest.raises(ValueError, match="steps=2, but"):  # not silently one
        one.train_step(one.init(0), one.start_epoch(0, 0), 2)


def test_deterministic_options_reach_both_steps(monkeypatch):
    now = {"evaluation": COMPILE_EVALUATION}
    build(made_config(deterministic=True), made_data(), **now)
    # Without it XLA finds no kernel for the models' products, since none may be raced.
    assert lowering.DETERMINISTIC["xla_gpu_enable_triton_gemm"] is False
    monkeypatch.setattr(lowering, "DETERMINISTIC", {"xla_no_such_option": True})
    build(made_config(), made_data(), **now)
    config = made_config(deterministic=True)
    for kind in (Program, Evaluation):
        with pytest.raises(Exception, match="xla_no_such_option"):
            build(config, made_data(), kind=kind, **now)


def test_a_gpu_rounds_where_the_program_says_so():
    gpus = mock.Mock(spec=Mesh, devices=np.array([mock.Mock(platform="gpu")]))
    exact = {"xla_allow_excess_precision": False}
    config = made_config(deterministic=True)
    assert lowering.compiler_options(made_config(), gpus) == exact
    assert lowering.compiler_options(config, gpus) == lowering.DETERMINISTIC | exact
    assert lowering.compiler_options(made_config(), sharding.make_mesh(1)) == {}


def test_large_parameters_are_sharded_from_the_start_with_their_momenta():
    program = program_for_eight_devices("resnet_nano", True)
    state = program.init(0)
    after, _ = run(program, epochs=1)
    for s in (state, after):
        params, momenta = (
            [x for x in jax.tree.leaves(tree) if not x.sharding.is_fully_replicated]
            for tree in (s.params, s.opt_state)
        )
        assert len(momenta) == len(params) > 5
        for x in params + momenta:
            assert x.addressable_shards[0].data.size == x.size // 8


def test_the_batch_is_sharded_over_the_devices():
    config = made_config()
    mesh = sharding.make_mesh(8)
    dataset = made_data()
    splits = split(config, dataset)
    task = make_task(config, dataset, splits, mesh)
    abstract = evaluation.abstract_state(config, task, mesh)
    seen = []

    def spy(pixels):
        jax.debug.inspect_array_sharding(pixels, callback=seen.append)
        return task.standardize(pixels)

    spied = dataclasses.replace(task, standardize=spy)
    step = jax.jit(functools.partial(train_step, spied, task.graph()))
    train = jax.device_put(splits.train, sharding.replicated(mesh))
    step.lower(abstract, train, every_order(splits), jax.random.key(0)).compile()
    assert seen
    assert len(seen[0].device_set) == 8
    assert not seen[0].is_fully_replicated


@pytest.mark.parametrize(
    ("n_test", "devices"), [(1, 1), (16, 1), (17, 1), (1, 8), (40, 8)]
)
def test_evaluation_counts_every_example_exactly_once(n_test, devices):
    dataset = made_data(n_test=n_test)
    program, task, splits = build(made_config(), dataset, devices, kind=Evaluation)
    first = default_program().init(0)  # on one device, which would be committed to
    state = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), first)

    @jax.jit
    def predict(params, batch_stats, images):
        model = nnx.merge(task.graph(), params, batch_stats)
        return model(task.standardize(images), train=False)

    for name, part in ("validation", splits.validation), ("test", splits.test):
        logits = predict(state.params, state.batch_stats, jnp.asarray(part.images))
        logits = np.asarray(logits, np.float64)
        labels = np.asarray(part.labels)
        log_sum = np.log(np.exp(logits).sum(-1))
        loss = np.mean(log_sum - logits[np.arange(len(labels)), labels])
        accuracy = np.mean(logits.argmax(-1) == labels)
        metrics = program.evaluate(state.params, state.batch_stats, name)
        got_loss, got_accuracy = metrics.means()
        assert int(metrics.metrics.examples) == len(labels)
        order = np.argsort(-logits, axis=1)
        assert int(metrics.top5) == (order[:, :5] == labels[:, None]).sum()
        confusion = np.zeros_like(metrics.confusion)
        np.add.at(confusion, (labels, order[:, 0]), 1)
        np.testing.assert_array_equal(metrics.confusion, confusion)
        assert got_loss == pytest.approx(loss, rel=1e-4)
        assert got_accuracy == accuracy


def test_the_filling_of_the_last_batch_does_not_count():
    dataset = made_data(n_test=17)
    _, task, splits = build(made_config(), dataset, kind=Evaluation)
    examples = jax.tree.map(jnp.asarray, splits.test)

    class Const(nnx.Module):
        def __call__(self, x, train):
            return jnp.broadcast_to(jnp.array([0.0, 1.0, 2.0]), (x.shape[0], 3))

    graph = nnx.graphdef(Const())
    sums = Evaluated.zeros(3)
    step = jax.jit(functools.partial(eval_step, task, graph))
    for _ in range(2):
        sums = step({}, {}, examples, jnp.int32(17), sums)
    assert int(sums.metrics.examples) == 17
    assert int(sums.metrics.correct) == (splits.test.labels == 2).sum()
    by_class = np.bincount(splits.test.labels, minlength=3)
    np.testing.assert_array_equal(sums.confusion, np.eye(3)[2] * by_class[:, None])


def test_training_metrics_sum_over_the_epoch_and_start_anew():
    program = default_program()
    state, losses = run(program, epochs=2)
    last = losses[-program.steps_per_epoch :]
    loss, accuracy = state.metrics.means()
    assert loss == pytest.approx(np.mean(last), rel=1e-5)
    assert 0 <= accuracy <= 1
    assert int(state.metrics.examples) == program.steps_per_epoch * 16
    assert int(state.step) == 2 * program.steps_per_epoch
    assert int(state.metrics.first_bad_step) == NEVER


def test_the_first_step_of_a_bad_loss_is_noted():
    config = made_config()
    config.optimizer.learning_rate = 1e38
    config.optimizer.weight_decay = 0.0
    program, _, _ = build(config, made_data())
    state, losses = run(program, epochs=1)
    assert (
        int(state.metrics.first_bad_step) == 1 + np.flatnonzero(~np.isfinite(losses))[0]
    )


def test_order_is_a_permutation_and_a_function_of_key_and_epoch():
    key = jax.random.key(3)
    orders = [np.asarray(epoch_order(key, jnp.int32(e), 50)) for e in (0, 0, 1)]
    np.testing.assert_array_equal(orders[0], orders[1])
    assert (orders[0] != orders[2]).any()
    for order in orders:
        assert sorted(order) == list(range(50))


def test_an_epoch_sees_every_training_example_once():
    config = made_config()
    config.data.validation_fraction = 0.5  # 48 left: three whole batches
    program, _, splits = build(config, made_data())
    inputs = program.start_epoch(0, 0)
    assert program.steps_per_epoch * config.batch_size == len(splits.train.labels)
    assert sorted(np.asarray(inputs.order)) == list(range(48))


def test_seed_0_is_a_seed_like_any_other():
    """Bug 1 of the original: `if random_seed:` left seed 0 to chance."""
    outcomes = [run(default_program(), seed=seed) for seed in (0, 0, 1)]
    for a, b in zip(leaves(outcomes[0][0]), leaves(outcomes[1][0]), strict=True):
        np.testing.assert_array_equal(a, b)
    assert outcomes[0][1] == outcomes[1][1]
    assert outcomes[0][1] != outcomes[2][1]


def test_normalisation_makes_mean_0_and_deviation_1():
    """Bug 4 of the original: Normalize((0, 0, 0), (1, 1, 1)) does nothing."""
    sample = data.load(data.SAMPLE)
    config = made_config()
    config.image_size = 28
    splits = split(config, sample)
    task = make_task(config, sample, splits, sharding.make_mesh(1))
    inputs = np.asarray(task.standardize(jnp.asarray(splits.train.images)))
    assert inputs.mean() == pytest.approx(0, abs=1e-3)
    assert inputs.std() == pytest.approx(1, abs=1e-3)


def test_label_smoothing_is_trained_on_and_not_evaluated():
    plain = default_program()
    smooth, _, _ = build(made_config(label_smoothing=0.3), made_data())
    state = plain.init(0)
    for name in ("validation", "test"):
        a, b = (
            p.evaluate(state.params, state.batch_stats, name) for p in (plain, smooth)
        )
        assert a.means() == b.means()
    assert run(plain, 1)[1][0] != run(smooth, 1)[1][0]


def test_the_splits_are_disjoint_rows_of_the_source():
    dataset = made_data()
    splits = split(made_config(), dataset)

    def rows(examples):
        pairs = zip(examples.images, examples.labels, strict=True)
        return {(image.tobytes(), int(label)) for image, label in pairs}

    train, validation = rows(splits.train), rows(splits.validation)
    assert len(train) == 77
    assert len(validation) == 19
    assert not train & validation
    source = zip(dataset.train_images, dataset.train_labels, strict=True)
    assert train | validation == {(i.tobytes(), int(k)) for i, k in source}
    np.testing.assert_array_equal(splits.test.images, dataset.test_images)
    np.testing.assert_array_equal(splits.test.labels, dataset.test_labels)


def test_each_epoch_has_its_order_and_each_step_its_augmentation(monkeypatch):
    keys = []
    flip = images.flip

    def spy(pixels, *, key):
        data_of_key = jax.random.key_data(key)
        jax.debug.callback(lambda k: keys.append(np.asarray(k).tobytes()), data_of_key)
        return flip(pixels, key=key)

    monkeypatch.setattr(images, "flip", spy)
    config = made_config()
    config.augment.flip = True
    program, _, _ = build(config, made_data())
    orders = [np.asarray(program.start_epoch(0, e).order) for e in (0, 1)]
    assert (orders[0] != orders[1]).any()
    _, losses = run(program, epochs=2)
    jax.effects_barrier()
    assert len(set(keys)) == len(losses)


def test_the_split_is_the_same_for_every_seed_and_batch():
    first, second = (
        jax.tree.leaves(split(made_config(seed=seed), made_data())) for seed in (0, 1)
    )
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_data_that_do_not_fit():
    config = made_config()
    config.data.validation_fraction = 0.9
    with pytest.raises(ConfigError, match=r"batch_size=16.*10 validation.*whole batch"):
        split(config, made_data(n=11))
    with pytest.raises(ConfigError, match=r"channels=1, but the images.* have 3"):
        split(made_config(channels=1), made_data(channels=3))


def test_grey_images_also_train_with_one_channel():
    program, _, _ = build(made_config(channels=1), made_data())
    assert np.isfinite(run(program, 1)[1]).all()


@pytest.mark.standard_promotion("JAX's attention adds float32 to bfloat16")
@pytest.mark.parametrize("name", [STEM, "vit_tiny"])
def test_bfloat16_trains(name):
    config = made_config(name)
    config.model.dtype = "bfloat16"
    state, losses = run(build(config, made_data())[0], epochs=1)
    assert np.isfinite(losses).all()
    assert {x.dtype for x in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}


def test_models_by_name_are_those_the_configuration_offers():
    for name in models.MODELS:
        size = models.parameters(name).get("patch", 32) * 2
        nnx.eval_shape(
            lambda name=name, size=size: models.make(
                name, image_size=size, num_classes=2, rngs=nnx.Rngs(0)
            )
        )


@pytest.mark.parametrize("share", [1.0, 0.25])
def test_mixed_images_are_trained_on_with_mixed_targets(monkeypatch, share):
    """The loss is linear in the targets, so it is a mixture of two."""

    def mixup(x, alpha, *, key):  # of the targets alone
        return x, lambda y: share * y + (1 - share) * jnp.roll(y, 1, axis=0)

    monkeypatch.setattr(images, "mixup", mixup)
    config = made_config()
    config.augment.mixup = 0.2
    program, task, splits = build(config, made_data())
    state = program.init(0)
    inputs = program.start_epoch(0, 0)
    rows = np.asarray(inputs.order)[:16]
    model = nnx.merge(task.graph(), *map(copied, (state.params, state.batch_stats)))
    see = nnx.jit(lambda model, x: model(task.standardize(x), train=True))
    logits = see(model, jnp.asarray(splits.train.images[rows]))
    _, loss = program.train_step(state, inputs)
    labels = np.asarray(splits.train.labels)[rows]
    log_p = np.asarray(jax.nn.log_softmax(logits))
    own, other = (log_p[np.arange(16), k] for k in (labels, np.roll(labels, 1)))
    expected = -np.mean(share * own + (1 - share) * other)
    assert float(loss) == pytest.approx(expected, rel=1e-4)


def test_every_step_and_part_and_layer_drops_by_a_key_of_its_own(monkeypatch):
    from lion_jax.models import vit

    keys = []
    drop_path = vit._drop_path

    def spy(before, after, key, rate):
        data_of_key = jax.random.key_data(key)
        jax.debug.callback(lambda k: keys.append(np.asarray(k).tobytes()), data_of_key)
        return drop_path(before, after, key, rate)

    monkeypatch.setattr(vit, "_drop_path", spy)
    config = made_config("vit_tiny", accumulate=2)
    config.model.drop_path = 0.5
    program, _, _ = build(config, made_data())
    run(program, epochs=1)
    jax.effects_barrier()
    steps, parts, layers = program.steps_per_epoch, 2, 2
    assert len(set(keys)) == steps * parts * layers
    before = len(keys)
    program.evaluate(program.init(0).params, {}, "test")
    jax.effects_barrier()
    assert len(keys) == before


def test_the_rate_is_asked_for_by_an_array_as_within_a_step(monkeypatch):
    """A schedule of the user's own may call what arrays have."""
    program = default_program()
    monkeypatch.setattr(program, "_schedule", lambda count: 2 * count.astype("float32"))
    assert program.learning_rate(3) == 6.0
