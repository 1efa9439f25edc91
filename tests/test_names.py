"""Texts of reports whose names look alike, or whose differences are small."""

import dataclasses
import html as html_of
import re
from pathlib import Path

import numpy as np
import pytest
from test_report import HIGH, LOW, comparisons, made_runs, rows, text_of

from lion_jax.compare import exports, html, markdown, paired, results, stats, titles
from lion_jax.compare.analysis import analyse

ROOT = Path(__file__).parents[1]
PAIR = made_runs("lion", HIGH) + made_runs("adamw", LOW)


def renamed(runs, name, **fields):
    """Copies of runs under another name; `model_name="x"` sets model.name."""
    groups = {field.partition("_")[0]: value for field, value in fields.items()}
    return [
        dataclasses.replace(
            run,
            label=name,
            config=run.config
            | {"name": name}
            | {g: run.config[g] | {"name": value} for g, value in groups.items()},
        )
        for run in runs
    ]


@pytest.mark.parametrize(
    ("values", "decimals"),
    [
        ((1.36, 0.79, 1.94), 2),
        ((0.0, np.nan, np.inf), 2),
        ((-0.0037, -0.005, 1.0), 3),
        ((-0.004, 1e-9), 3),  # which is a rounding error
        ((0.00001,), 5),
    ],
)
def test_no_small_number_shows_as_zero(values, decimals):
    assert markdown.digits(values, 2) == decimals
    assert markdown.fixed(-1e-9, 2) == "0.00"


def test_a_small_difference_is_no_zero():
    small = made_runs("lion", LOW) + made_runs(
        "adamw", LOW + np.linspace(3e-5, 5e-5, 8)
    )
    said = results.verdict(comparisons(small)["test_accuracy"])
    assert "AdamW is better** (difference -0.004 points [-0.005, -0.003];" in said
    row = rows(text_of(small), "Lion minus AdamW, per seed")[0]
    assert row[2:6] == [
        "-0.004",
        "0.001",
        "-0.004 [-0.005, -0.004]",
        "[-0.005, -0.003]",
    ]
    latex = exports.texts(analyse(small))["comparisons.tex"]
    assert "-0.004 [-0.005, -0.003]" in latex


def test_the_data_are_named_where_there_are_several():
    other = [
        *renamed(PAIR[:8], "c_lion", data_name="cifar10"),
        *renamed(PAIR[8:], "c_adamw", data_name="cifar10"),
    ]
    text = text_of(PAIR + other)
    for data in ("fashion_mnist", "cifar10"):
        model = f"ResNet-50 on {data}"
        assert f"- {model}, Lion against {model}, AdamW, test accuracy" in text
        assert f"**{model}, test accuracy, best validation, %**" in text
    assert " on fashion_mnist, " not in text_of(PAIR)
    latex = exports.texts(analyse(PAIR + other))["comparisons.tex"]
    assert r"ResNet-50 on cifar10 & Lion / AdamW" in latex


def test_models_of_one_name_are_told_apart_by_file():
    runs = [
        run
        for file in ("a.py", "b.py")
        for optimizer, same in (("lion", PAIR[:8]), ("adamw", PAIR[8:]))
        for run in renamed(same, f"{file[0]}_{optimizer}", model_name=f"{file}:build")
    ]
    text = text_of(runs)
    for file in ("a.py", "b.py"):
        assert f"- {file}:build, Lion against {file}:build, AdamW, test" in text
        assert f"**{file}:build, test accuracy, best validation, %**" in text
        assert re.search(rf"^- {file}:build: .* on validation", text, re.MULTILINE)
    assert "**build, test accuracy, best validation, %**" in text_of(runs[:16])
    assert titles.of_models(["a.py:x", "b.py:y"]) == {"a.py:x": "x", "b.py:y": "y"}


def test_fields_that_differ_are_named_one_by_one():
    other = renamed(PAIR[8:], "other", data_name="cifar10")
    for run in other:
        run.config["data"]["options"] = {"size": 3}
    (said,) = analyse(PAIR[:8] + other).warnings
    assert said.endswith(
        "they differ in data.name (cifar10 and fashion_mnist), data.options.size (3 and"
        " not set).**"
    )


def test_underscores_of_names_are_no_markup(tmp_path):
    runs = renamed(PAIR[:8], "__a__") + renamed(made_runs("lion", LOW[:7]), "_b_")
    text = text_of(runs)
    text = re.sub(r"!\[.*\]\(.*\)", "", text)  # pictures
    page = html.page(text, tmp_path)
    assert "The seeds of __a__, _b_ are not the same" in page
    assert "ResNet-50, Lion (__a__)" in page
    assert "<code>__a__</code>" in page
    assert "<strong>a</strong>" not in page
    assert "<em>b</em>" not in page


def test_what_somebody_typed_is_no_markup(tmp_path):
    typed = r"stem.*,![x](secret.txt) <b>*a*</b> `c` \d"
    (tmp_path / "secret.txt").write_text("a secret")
    options = {"model": made_runs("lion", [0.9])[0].config["model"]}
    options["model"] = options["model"] | {"options": {"note": typed}}
    text = text_of(made_runs("lion", HIGH, config=options))
    text = re.sub(r"!\[.*\]\(\w+\.svg\)", "", text)  # pictures
    page = html.page(text, tmp_path)
    assert html_of.escape(typed, quote=False) in page
    assert "<img" not in page
    unknown = html.page("![x](secret.txt)", tmp_path)
    assert "<img" not in unknown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("resnet50_lion a__b `__a__`", "resnet50_lion a__b `__a__`"),
        ("__a__ (_b)", r"\_\_a\_\_ (\_b)"),
    ],
)
def test_only_underscores_at_the_ends_of_words_are_escaped(text, expected):
    assert markdown.literal(text) == expected


def test_as_many_pairs_as_the_documentation_says_suffice_with_several_networks():
    said = " ".join((ROOT / "docs" / "comparing.md").read_text().split())
    assert "networks need 7 pairs (2 x 2/2^7 = 0.031; 6 give 0.062), three too" in said
    assert "three too, four to six 8." in said
    smallest = {n: paired.smallest_p(n) for n in (6, 7, 8)}
    assert stats.holm([smallest[7]] * 2)[0] == pytest.approx(0.031, abs=5e-4)
    assert stats.holm([smallest[6]] * 2)[0] == 0.0625
    assert stats.holm([smallest[7]] * 3)[0] < 0.05 < stats.holm([smallest[7]] * 4)[0]
    assert stats.holm([smallest[8]] * 6)[0] < 0.05 < stats.holm([smallest[8]] * 7)[0]


def test_of_a_loss_u_counts_the_larger_values_and_a12_the_better_ones():
    contrast = comparisons(PAIR)["test_loss"].contrast
    assert contrast.unpaired.statistic == 0
    assert contrast.a12.estimate == 1
    said = " ".join((ROOT / "docs" / "comparing.md").read_text().split())
    assert "For a loss or a time, U = 0 and A12 = 1 say the same" in said
