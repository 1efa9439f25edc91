"""The fold over validation losses, by itself."""

import jax
import jax.numpy as jnp
import pytest

from lion_jax.training import early_stopping


def fold(losses, **rules):
    """States after each loss."""
    state, states = early_stopping.init(), []
    for epoch, loss in enumerate(losses, start=1):
        state = early_stopping.update(state, loss, epoch, **rules)
        states.append(state)
    return states


def stopped_at(losses, **rules):
    """First epoch at which the fold says stop, or 0."""
    stops = [bool(state.stop) for state in fold(losses, **rules)]
    return stops.index(True) + 1 if any(stops) else 0


@pytest.mark.parametrize(
    ("losses", "rules", "epoch"),
    [
        ([5, 4, 3, 2, 1], {"patience": 1}, 0),
        ([5, 6, 6, 6, 6], {"patience": 3}, 4),
        ([5, 6, 6, 4, 6, 6, 6], {"patience": 3}, 7),
        ([5, 5, 5], {"patience": 2}, 3),
        ([5, 4.95, 4.9, 4.85], {"patience": 2, "min_delta": 0.1}, 3),
        ([5, 4.95, 4.85, 4.8], {"patience": 2, "min_delta": 0.1}, 0),
        ([5, 6, 6, 6], {"patience": 0}, 0),
        ([5, 6, 6, 6, 6], {"patience": 2, "start_epoch": 4}, 5),
        ([float("nan"), 5, float("inf"), 6], {"patience": 2}, 4),
        ([float("nan")] * 3, {"patience": 3}, 3),
    ],
)
def test_stops_at(losses, rules, epoch):
    assert stopped_at(losses, **rules) == epoch


@pytest.mark.parametrize(
    ("losses", "best"),
    [
        ([3, 2, 1], 3),
        ([3, 1, 2], 2),
        ([1, 1, 1], 1),
        ([2.0, 1.9995, 1.9999], 2),
        ([float("nan"), 2, float("-inf")], 2),
        ([float("nan"), float("inf")], 0),
    ],
)
def test_best_is_the_first_lowest_finite_loss_however_little_lower(losses, best):
    assert fold(losses, patience=9, min_delta=0.001)[-1].best_epoch == best


@pytest.mark.slow
def test_the_same_inside_a_compiled_scan():
    losses = jnp.array([5.0, 3.0, 4.0, jnp.nan, 3.5, 2.0])
    outside = fold(list(losses), patience=3)

    @jax.jit
    def scanned(losses):
        def body(state, row):
            state = early_stopping.update(state, row[1], row[0], patience=3)
            return state, state

        epochs = jnp.arange(1, 1 + len(losses))
        return jax.lax.scan(body, early_stopping.init(), (epochs, losses))[1]

    states = scanned(losses)
    for i, state in enumerate(outside):
        assert tuple(x[i] for x in states) == tuple(state)
