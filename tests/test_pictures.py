"""Pictures of many configurations, and of ones with long names."""

import functools
import itertools
from pathlib import Path

import numpy as np
import pytest
from test_names import PAIR, renamed
from test_report import HIGH, LOW, changed_result, made_run, made_runs, swept_run

from lion_jax.compare import drawing, figures, pair_figures, tuning_figures
from lion_jax.compare.analysis import analyse

LONG = "resnet50_a_rather_long_config_name_lion"


def numbered(count, name):
    return [
        run
        for i in range(count)
        for run in renamed(made_runs("lion", LOW + 0.001 * i), name.format(i))
    ]


CASES = {
    "two": PAIR,
    "two_long": numbered(2, LONG + "_{}"),
    "three": PAIR + made_runs("sgd", LOW + 0.02),
    "two_models": [
        *PAIR,
        *renamed(made_runs("lion", LOW), LONG),
        *made_runs("lion", HIGH, model="vit_b16"),
    ],
    "ten_long": numbered(10, LONG + "_{}"),
    "fifteen": numbered(15, "lion_{:02}"),
}


@pytest.fixture(params=CASES)
def case(request):
    return request.param


@functools.cache
def analysed(case):
    return analyse(CASES[case])


def drawn(monkeypatch, module, draw, analysis):
    """The figure of some runs, laid out."""
    kept = []
    monkeypatch.setattr(module, "save", lambda figure, _: kept.append(figure) or [])
    draw(analysis, Path("none"))
    (figure,) = kept
    figure.set_dpi(120)
    figure.draw_without_rendering()
    return figure


def require_apart(axis, most):
    """Two ticks of an axis at least have labels, and none covers another."""
    low, high = axis.get_view_interval()
    ticks = [
        tick
        for tick in axis.get_major_ticks() + axis.get_minor_ticks()
        if low <= tick.get_loc() <= high
    ]
    labels = [x for tick in ticks for x in (tick.label1, tick.label2)]
    boxes = [
        label.get_window_extent()
        for label in labels
        if label.get_visible() and label.get_text()
    ]
    assert 2 <= len(boxes) <= most
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_many_random_trials_are_points_by_colour(monkeypatch):
    """Each has a rate and a decay of its own: neither ticks nor lines name them."""
    rng = np.random.default_rng(0)
    runs = [
        swept_run("lion", float(rate), float(decay), 0.8 + 0.01 * rng.random())
        for rate, decay in 10 ** rng.uniform([-5, -1], [-3, 1], (16, 2))
    ]
    figure = drawn(
        monkeypatch,
        tuning_figures,
        lambda analysis, path: tuning_figures.draw(analysis.sweeps, path),
        analyse(runs),
    )
    axis, bar = figure.axes
    assert axis.get_legend() is None
    assert bar.get_ylabel() == "decay"
    require_apart(axis.xaxis, 9)
    require_apart(bar.yaxis, 9)


@pytest.mark.parametrize(("first", "last"), [(10, 0.5), (3, 1.2), (1e3, 1e-3)])
def test_the_labels_of_losses_do_not_overlap(monkeypatch, first, last):
    runs = made_runs("lion", LOW) + made_runs("adamw", HIGH)
    for run in runs:
        for epoch, loss in zip(run.epochs, (first, 2 * last, last), strict=True):
            object.__setattr__(epoch, "val_loss", loss)
    figure = drawn(monkeypatch, figures, figures.curves, analyse(runs))
    require_apart(figure.axes[1].yaxis, 12)


def visible(figure):
    return [axis for axis in figure.axes if axis.get_visible()]


def texts_of(axis):
    return [x for x in (*axis.get_xticklabels(), *axis.get_yticklabels()) if x._text]


def boxes(artists):
    return [artist.get_window_extent() for artist in artists]


def assert_readable(figure):
    """Panels are wide enough, labels stand apart, and nothing is cut off."""
    whole = figure.bbox.padded(1)
    for axis in visible(figure):
        box = axis.get_window_extent()
        assert min(box.width, box.height) > 1.5 * figure.dpi
        for labels in (axis.get_xticklabels(), axis.get_yticklabels()):
            for one, other in itertools.combinations(boxes(labels), 2):
                assert not one.padded(-1).overlaps(other)
        shown = [axis.xaxis.label, axis.yaxis.label, axis.title, axis._left_title]
        shown = [text for text in shown if text.get_text()]
        for box in boxes(shown):
            assert whole.x0 <= box.x0 < box.x1 <= whole.x1
            assert whole.y0 <= box.y0 < box.y1 <= whole.y1
    for one, other in itertools.combinations(visible(figure), 2):
        assert not one.get_window_extent().overlaps(other.get_window_extent())
        titled = [x for x in (one._left_title, other._left_title) if x.get_text()]
        if len(titled) == 2:
            assert not titled[0].get_window_extent().overlaps(boxes(titled[1:])[0])


@pytest.mark.filterwarnings("error")
def test_the_picture_of_the_pairs_is_readable(monkeypatch, case):
    assert_readable(drawn(monkeypatch, pair_figures, pair_figures.draw, analysed(case)))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("draw", [figures.curves, figures.time_against_accuracy])
def test_a_legend_covers_no_axis(monkeypatch, case, draw):
    figure = drawn(monkeypatch, figures, draw, analysed(case))
    assert_readable(figure)
    legends = [axis.get_legend() for axis in figure.axes if axis.get_legend()]
    assert len(legends) == len(analysed(case).groups)
    for legend in legends:
        box, panel = legend.get_window_extent(), legend.axes.get_window_extent()
        inside = panel.padded(1).contains(box.x0, box.y0)
        assert box.width < 0.6 * panel.width if inside else box.x0 > panel.x1
        assert box.height < panel.height + 0.6 * figure.dpi
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
        for axis in figure.axes:
            assert not any(box.overlaps(other) for other in boxes(texts_of(axis)))


def test_names_that_do_not_fit_are_numbered(monkeypatch):
    figure = drawn(monkeypatch, pair_figures, pair_figures.draw, analysed("two_models"))
    assert [x.get_text() for x in figure.axes[0].get_xticklabels()] == ["1", "2", "3"]
    heading = figure.axes[0].get_title(loc="left").splitlines()
    assert heading == [
        "ResNet-50",
        f"1: Lion ({LONG}), n = 8",
        "2: Lion (resnet50_lion), n = 8",
        "3: AdamW, n = 8",
    ]
    second = [x.get_text() for x in figure.axes[1].get_xticklabels()]
    assert second[0] == "1 minus\n2\n8 pairs"


@pytest.mark.parametrize("count", [2, 5])
def test_runs_that_failed_are_counted_beside_the_names(monkeypatch, count):
    """Not below their panel where there are many."""
    runs = numbered(count, "l_{}")
    runs[::3] = [changed_result(run, test_accuracy=None) for run in runs[::3]]
    short = runs if count > 2 else [*runs[:8], *made_runs("adamw", LOW)]
    figure = drawn(monkeypatch, pair_figures, pair_figures.draw, analyse(short))
    assert_readable(figure)
    axis = figure.axes[0]
    if count > 2:
        assert ": Lion (l_0), n = 8, 3 failed\n" in axis.get_title(loc="left")
    else:
        assert axis.get_xticklabels()[0].get_text() == "Lion\nn = 8\n3 failed"


def test_a_long_title_of_a_model_is_wrapped(monkeypatch):
    model = "some/folder/of/mine/a_model_of_my_own.py:build"
    runs = renamed(PAIR[:8], "x", model_name=model)
    runs += renamed(PAIR[:8], "y", model_name=model.replace("own", "other"))
    for module, draw in (pair_figures, pair_figures.draw), (figures, figures.curves):
        assert_readable(drawn(monkeypatch, module, draw, analyse(runs)))


def test_short_names_stand_below_the_panels(monkeypatch):
    figure = drawn(monkeypatch, pair_figures, pair_figures.draw, analysed("two"))
    said = [x.get_text() for axis in figure.axes[:2] for x in axis.get_xticklabels()]
    assert said == ["Lion\nn = 8", "AdamW\nn = 8", "Lion minus\nAdamW\n8 pairs"]
    assert figure.axes[0].get_title(loc="left") == "ResNet-50"


def test_what_is_not_drawn_is_said(monkeypatch):
    figure = drawn(monkeypatch, pair_figures, pair_figures.draw, analysed("fifteen"))
    left, right = figure.axes[:2]
    assert len(left.get_xticklabels()) == drawing.MOST
    assert left.get_title(loc="left").endswith("\nand 3 more, in the tables alone")
    firsts = {x.get_text().split()[0] for x in right.get_xticklabels()}
    assert firsts == {"1"}
    assert right.get_title(loc="left") == "with 1 alone; all 105 are in the tables"
    figure = drawn(monkeypatch, figures, figures.curves, analysed("fifteen"))
    legend = figure.axes[-1].get_legend()
    assert legend.get_title().get_text() == "and 3 more, in the tables alone"
    assert len(legend.get_texts()) == drawing.MOST


def test_an_axis_says_which_of_its_differences_are_of_pairs(monkeypatch):
    other = [made_run("sgd", 100 + seed, x) for seed, x in enumerate(LOW)]
    for runs, said in (
        (PAIR, "difference per seed, points"),
        (PAIR[:8] + other, "difference of the means, points"),
        (PAIR + other, "difference per seed\n(unpaired: of the means), points"),
    ):
        figure = drawn(monkeypatch, pair_figures, pair_figures.draw, analyse(runs))
        label = figure.axes[1].get_ylabel()
        assert label == f"{said}\n(higher is better for the first)"
