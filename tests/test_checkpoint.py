"""Checkpoints by themselves: what is kept, what is best, what comes back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lion_jax.training import checkpoint, sharding
from lion_jax.training.history import Epoch
from lion_jax.training.state import Metrics, TrainState


def state_at(step, value=0.0):
    return TrainState(
        step=jnp.int32(step),
        params={"w": jnp.full((8, 4), value), "blocks": {0: jnp.full(3, value)}},
        batch_stats={},
        opt_state=({"mu": jnp.full((8, 4), -value, jnp.bfloat16)}, ()),
        metrics=Metrics.zeros(),
    )


def record(epoch, step, loss):
    return Epoch(
        epoch=epoch,
        step=step,
        train_loss=1.0,
        train_accuracy=0.5,
        val_loss=loss,
        val_accuracy=0.5,
        images_per_second=1.0,
        seconds=1.0,
    )


def save_all(checkpoints, losses):
    """Saves an epoch of ten steps for each loss; the values are the epochs."""
    history = []
    for epoch, loss in enumerate(losses, start=1):
        history.append(record(epoch, 10 * epoch, loss))
        checkpoint.save(checkpoints, state_at(10 * epoch, float(epoch)), history)
    return history


@pytest.mark.slow
@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([3.0, 1.0, 2.0], 2),
        ([1.0, 2.0, 3.0], 1),
        ([3.0, 2.0, 1.0], 3),
        ([2.0, 1.0, 1.0, 1.0], 2),
        ([float("nan"), 1.0, 2.0], 2),
        ([2.0, float("nan"), float("-inf"), 3.0], 1),
        ([None, 2.0, None], 2),
    ],
)
def test_best_and_the_last_two_are_kept_and_nothing_else(tmp_path, losses, best):
    with checkpoint.open_folder(tmp_path / "c") as checkpoints:
        save_all(checkpoints, losses)
    with checkpoint.open_folder(tmp_path / "c") as checkpoints:
        assert checkpoint.find(checkpoints, "best") == 10 * best
        assert checkpoint.find(checkpoints, "latest") == 10 * len(losses)
        # The last but one is kept in case the last is damaged.
        kept = {best, len(losses) - 1, len(losses)}
        assert {c.step for c in checkpoints.orbax.checkpoints} == {10 * n for n in kept}
        params, _ = checkpoint.restore_model(checkpoints, 10 * best, state_at(0))
    np.testing.assert_array_equal(params["w"], float(best))


def test_a_state_within_an_epoch_is_latest_and_never_best(tmp_path):
    with checkpoint.open_folder(tmp_path / "c") as checkpoints:
        history = save_all(checkpoints, [2.0, 1.0])
        checkpoint.save(checkpoints, state_at(25, 9.0), history)
        assert checkpoint.find(checkpoints, "best") == 20
        assert checkpoint.find(checkpoints, "latest") == 25
        history.append(record(3, 30, 0.5))
        checkpoint.save(checkpoints, state_at(30, 3.0), history)
        assert [c.step for c in checkpoints.orbax.checkpoints] == [25, 30]


def test_everything_comes_back_to_the_bit(tmp_path):
    saved = state_at(10, 0.1)
    history = [record(1, 10, 0.30000000000000004)]
    with checkpoint.open_folder(tmp_path / "c") as checkpoints:
        checkpoint.save(checkpoints, saved, history, seconds=1.25)
    with checkpoint.open_folder(tmp_path / "c") as checkpoints:
        restored, told, seconds = checkpoint.restore(checkpoints, 10, state_at(0))
    assert told == history
    assert seconds == 1.25
    assert jax.tree.structure(restored) == jax.tree.structure(saved)
    for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(saved), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_a_saved_state_does_not_change_with_the_donated_buffer(tmp_path):
    step = jax.jit(lambda s: jax.tree.map(lambda x: x + x, s), donate_argnums=0)
    state = state_at(10, 1.0)
    with checkpoint.open_folder(tmp_path / "c") as checkpoints:
        checkpoint.save(checkpoints, state, [record(1, 10, 1.0)])
        for _ in range(5):
            state = step(state)
        params, _ = checkpoint.restore_model(checkpoints, 10, state_at(0))
    np.testing.assert_array_equal(params["w"], 1.0)


def test_a_state_of_one_device_is_restored_to_eight_and_back(tmp_path, monkeypatch):
    monkeypatch.setattr(sharding, "MIN_SHARDED_SIZE", 8)
    saved = state_at(10, 0.1)

    def abstract(devices):
        mesh = sharding.make_mesh(devices)
        return jax.tree.map(
            lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
            saved,
            sharding.Layout(mesh, "fsdp").of_model(saved),
        )

    with checkpoint.open_folder(tmp_path / "c") as checkpoints:
        checkpoint.save(checkpoints, saved, [record(1, 10, 1.0)])
        eight, *_ = checkpoint.restore(checkpoints, 10, abstract(8))
    assert len(eight.params["w"].sharding.device_set) == 8
    with checkpoint.open_folder(tmp_path / "d") as checkpoints:
        checkpoint.save(checkpoints, eight, [record(1, 10, 1.0)])
        one, *_ = checkpoint.restore(checkpoints, 10, abstract(1))
    np.testing.assert_array_equal(one.params["w"], saved.params["w"])


def test_a_writer_cleans_what_an_interrupted_save_left_and_a_reader_does_not(tmp_path):
    with checkpoint.open_folder(tmp_path / "c") as checkpoints:
        history = save_all(checkpoints, [1.0])
    leftover = tmp_path / "c" / "20.orbax-checkpoint-tmp"
    leftover.mkdir()
    (leftover / "half").write_text("x")
    with checkpoint.open_folder(tmp_path / "c", to_save=False) as checkpoints:
        assert checkpoint.find(checkpoints, "latest") == 10
    assert leftover.exists()
    with checkpoint.open_folder(tmp_path / "c") as checkpoints:
        assert checkpoint.find(checkpoints, "latest") == 10
        history.append(record(2, 20, 0.5))
        checkpoint.save(checkpoints, state_at(20), history)
    assert not leftover.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"params": {"w": jnp.ones((8, 5)), "blocks": {0: jnp.ones(3)}}},
            r"params/w \(float32\[8,4\] there, float32\[8,5\] expected\)",
        ),
        (
            {"params": {"w": jnp.ones((8, 4)), "head": jnp.ones(3)}},
            r"blocks/0 \(float32\[3\] there, nothing expected\).*params/head \(nothing",
        ),
        (
            {"opt_state": ({"mu": jnp.ones((8, 4))}, ())},
            r"mu \(bfloat16\[8,4\] there, float32\[8,4\] expected\)",
        ),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_naming_the_arrays(
    tmp_path, change, said
):
    with checkpoint.open_folder(tmp_path / "c") as checkpoints:
        save_all(checkpoints, [1.0])
        with pytest.raises(checkpoint.CheckpointError, match=said):
            checkpoint.restore(checkpoints, 10, state_at(0)._replace(**change))
        checkpoint.restore(checkpoints, 10, state_at(0))
