"""Reports of made-up records: what is compared, what is said, what is drawn."""

import copy
import csv
import dataclasses
import io
import json
import math
import pickle
import re
import shutil
import subprocess

import numpy as np
import pytest

from lion_jax.compare import (
    exports,
    figures,
    markdown,
    measures,
    paired,
    pairs,
    records,
    reports,
    results,
    stats,
    targets,
    titles,
    tuning,
    tuning_figures,
)
from lion_jax.compare.analysis import Options, analyse
from lion_jax.compare.records import Record
from lion_jax.compare.targets import Task
from lion_jax.config import Config, ConfigError, OptimizerConfig
from lion_jax.training import curves
from lion_jax.training.history import Epoch, Result

RNG = np.random.default_rng(0)
RESNET, VIT = Task("resnet50", "fashion_mnist"), Task("vit_b16", "fashion_mnist")


def made_run(optimizer="lion", seed=0, accuracy=0.8, *, model="resnet50", **changes):
    """A record of a run of three epochs."""
    config = Config(name=f"{model}_{optimizer}", seed=seed)
    config.optimizer.name, config.model.name = optimizer, model
    if optimizer != "lion":
        config.optimizer.learning_rate, config.optimizer.weight_decay = 3e-3, 0.1
    resolved = dataclasses.asdict(config) | changes.pop("config", {})
    diverged = changes.pop("diverged", False)
    epochs = [
        Epoch(
            epoch=epoch,
            step=10 * epoch,
            train_loss=1.0 / epoch,
            train_accuracy=accuracy,
            val_loss=2.0 / epoch,
            val_accuracy=accuracy - 0.1 * (3 - epoch),
            learning_rate=1e-3,
            images_per_second=100.0,
            seconds=5.0,
        )
        for epoch in (1, 2, 3)
    ]
    result = Result(
        seed=seed,
        best_epoch=3,
        stopped_epoch=3,
        stop_reason="diverged" if diverged else "epochs",
        val_accuracy=accuracy,
        val_loss=2 / 3,
        seconds_train=15.0,
        test_accuracy=accuracy,
        test_loss=1 - accuracy,
        last_test_accuracy=None if diverged else accuracy - 0.01,
        last_test_loss=None if diverged else 1.1 - accuracy,
        images_per_second=100.0,
    )
    swept = changes.pop("swept", {})
    label = ",".join([config.name, *(f"{k}={v}" for k, v in swept.items())])
    return Record(
        label=label,
        seed=seed,
        swept=swept,
        config=resolved,
        epochs=epochs,
        result=result,
        memory={"parameters": 100, "optimizer_state": 100, "step": 2**20},
        environment={"commit": "abc", "jax": "0", "device": "cpu", "devices": 1}
        | {"processors": 2},
    )


def changed_result(run, **changes):
    return dataclasses.replace(run, result=dataclasses.replace(run.result, **changes))


def made_runs(optimizer, accuracies, **changes):
    return [
        made_run(optimizer, seed, accuracy, **changes)
        for seed, accuracy in enumerate(accuracies)
    ]


LOW, HIGH = RNG.normal(0.80, 0.01, 8), RNG.normal(0.90, 0.01, 8)


def text_of(runs, *, primary="test_accuracy", target=None):
    """The report without its pictures, which take their time."""
    named = None if target is None else {"": target}
    return reports.markdown_of(analyse(runs, Options(primary, named)))


def rows(text, start):
    """The cells of the table rows that start with some text."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def comparisons(runs, primary="test_accuracy"):
    """Comparisons by the measure's name."""
    found = analyse(runs, Options(primary)).comparisons
    return {comparison.contrast.measure.name: comparison for comparison in found}


def test_the_main_table_states_what_the_statistics_state():
    text = text_of(made_runs("lion", HIGH) + made_runs("adamw", LOW))
    lion, adamw = (
        rows(text, f"ResNet-50, {name} | 8")[0] for name in ("Lion", "AdamW")
    )
    a, b = 100 * HIGH, 100 * LOW
    for row, values in (lion, a), (adamw, b):
        summary, mean = stats.summarize(values), paired.mean_difference(values)
        assert row[1:4] == ["8", f"{summary.mean:.2f}", f"{summary.sd:.2f}"]
        assert row[4] == (
            f"{summary.median:.2f} [{summary.lower_quartile:.2f},"
            f" {summary.upper_quartile:.2f}]"
        )
        assert row[5] == f"[{mean.low:.2f}, {mean.high:.2f}]"
    gap, test = paired.mean_difference(a - b), paired.sign_flip(a - b)
    contrast = rows(text, "Lion minus AdamW, per seed")[0]
    assert contrast[1:3] == ["8 pairs", f"{gap.estimate:.2f}"]
    assert contrast[5:] == [
        f"[{gap.low:.2f}, {gap.high:.2f}]",
        *[markdown.p_value(test.p)] * 2,
    ]
    beside = rows(text, "ResNet-50, Lion / ResNet-50, AdamW | test accuracy, best")[0]
    ranks = stats.mann_whitney(a, b)
    assert beside[2:5] == [
        "8 / 8",
        f"{ranks.statistic:g}",
        f"{markdown.p_value(ranks.p)}, exact",
    ]
    assert beside[6] == "{:.2f} [{:.2f}, {:.2f}]".format(*stats.a12(a, b))
    assert "**ResNet-50, Lion is better** (difference +" in text
    assert "sign flips, exact, n = 8 pairs" in text


def test_loss_and_time_are_better_when_lower():
    found = comparisons(made_runs("lion", HIGH) + made_runs("adamw", LOW))
    assert set(found) == set(measures.NAMES)
    for comparison in found.values():
        assert comparison.contrast.titles[0] == "ResNet-50, Lion"
        assert comparison.contrast.a12.estimate > 0.5
        assert comparison.contrast.first_is_better


def test_runs_are_paired_by_their_seeds_whatever_their_order():
    shared = RNG.normal(0.8, 0.05, 8)  # what a seed does to both
    lion, adamw = made_runs("lion", shared + 0.01), made_runs("adamw", shared)
    found = comparisons([*lion[::-1], *adamw])["test_accuracy"].contrast
    assert found.seeds == tuple(range(8))
    np.testing.assert_allclose(found.pairs, 1.0)
    assert found.test.p == 2 / 2**8
    assert found.unpaired.p > 0.2  # without pairs, the seeds hide it


@pytest.mark.parametrize(
    ("seeds", "pairs", "test"),
    [
        (range(8), 8, "sign flips, exact"),
        (range(2, 10), 6, "sign flips, exact"),
        (range(5, 13), 0, "exact"),  # under half are shared
        (range(100, 108), 0, "exact"),
    ],
)
def test_seeds_that_are_not_shared_are_not_paired(seeds, pairs, test):
    other = [
        made_run("adamw", seed, accuracy)
        for seed, accuracy in zip(seeds, LOW, strict=True)
    ]
    found = comparisons(made_runs("lion", HIGH) + other)["test_accuracy"].contrast
    assert (len(found.seeds), found.test.method) == (pairs, test)
    if not pairs:
        assert found.difference == stats.difference(100 * HIGH, 100 * LOW)
        assert found.test == found.unpaired


def three_models():
    """Six runs of each optimizer for three models, a little better each time."""
    return [
        run
        for model, shift in (("resnet50", 0), ("vit_b16", 0.005), ("vit_ti8", 0.01))
        for run in made_runs("lion", LOW[:6] + shift, model=model)
        + made_runs("adamw", LOW[5::-1] + 0.001, model=model)
    ]


def test_the_primary_measure_is_adjusted_over_the_models_alone():
    found = analyse(three_models()).comparisons
    primary = [c for c in found if c.primary]
    assert [c.contrast.measure.name for c in primary] == ["test_accuracy"] * 3
    adjusted = stats.holm([c.contrast.test.p for c in primary])
    assert [c.p_holm for c in primary] == adjusted
    assert {c.family for c in primary} == {3}


def test_all_other_p_values_are_adjusted_over_everything_printed():
    runs = three_models()
    found = analyse(runs).comparisons
    others = [c for c in found if not c.primary]
    ps = [c.contrast.test.p for c in others] + [c.contrast.unpaired.p for c in found]
    adjusted = stats.holm(ps)
    assert [c.p_holm for c in others] == adjusted[: len(others)]
    assert [c.unpaired_p_holm for c in found] == adjusted[len(others) :]
    assert {c.family for c in others} == {len(ps)}
    text = text_of(runs)
    assert text.count(f"p (Holm, {len(ps)})") == len(others)
    assert text.count("p (Holm, 3)") == 3


def test_another_primary_measure_is_named():
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    text = text_of(runs, primary="last_test_loss")
    results = text.partition("## Exploratory")[0]
    assert "`--primary=last_test_loss`" in results
    assert "test loss, end of schedule: **ResNet-50, Lion is better**" in results
    assert "accuracy, best validation" not in results
    with pytest.raises(ConfigError, match=r"needs a target.*--target"):
        text_of(runs, primary="epochs_to_target")
    text = text_of(runs, primary="epochs_to_target", target=0.75)
    assert "epochs to the target: **ResNet-50, Lion is better**" in text


def test_too_few_runs_are_reported_as_underpowered():
    text = text_of(made_runs("lion", HIGH[:3]) + made_runs("adamw", LOW[:3]))
    assert "**underpowered**; with 3 + 3 runs the smallest possible p is 0.10" in text
    assert "is better**" not in text


def test_five_pairs_are_tested_by_ranks_and_six_by_signs():
    """The sign-flip test of five pairs cannot reach 0.05."""
    five, six = (
        comparisons(made_runs("lion", HIGH[:n]) + made_runs("adamw", LOW[:n]))
        for n in (5, 6)
    )
    assert five["test_accuracy"].contrast.test.p == pytest.approx(2 / 252)
    assert not five["test_accuracy"].contrast.is_paired
    assert len(five["test_accuracy"].contrast.pairs) == 5  # for the interval
    assert six["test_accuracy"].contrast.test.p == 2 / 2**6
    assert six["test_accuracy"].contrast.is_paired


def test_no_difference_is_reported():
    text = text_of(made_runs("lion", LOW) + made_runs("adamw", LOW[::-1]))
    assert "**no difference shown**" in text
    assert "is better**" not in text


def own_runs(name, accuracies, sha="1" * 64, **options):
    """Runs of an optimizer of the user's own."""
    code = {"optimizer.name": {"sha256": {"tx.py": sha}}}
    runs = made_runs("own", accuracies, config={"references": code})
    for run in runs:
        run.config["optimizer"] |= {"name": name, "options": options}
    return runs


def test_votes_of_devices_are_named():
    made = [made_run(seed=seed) for seed in range(3)]
    runs = [dataclasses.replace(run, label=str(run.seed)) for run in made]
    del runs[0].config["mesh"]  # of an earlier version
    runs[1].config["mesh"] |= {"vote": "mean"}
    runs[2].config["mesh"] |= {"vote": "majority", "sync_every": 32}
    assert [
        title for run in runs for title in titles.of_configurations([run]).values()
    ] == [
        "ResNet-50, Lion",
        "ResNet-50, Lion by mean vote",
        "ResNet-50, Lion by majority vote (synchronised)",
    ]
    assert len(pairs.groups(runs)) == 1  # so they are compared


def test_three_optimizers_with_unequal_n_are_all_compared():
    """One of them the user's own, whose code differs from the others' by nature."""
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW[:6])
    runs += own_runs("tx.py:mine", HIGH[:3], weight_decay=0.25)
    found = [c for c in analyse(runs).comparisons if c.primary]
    named = {tuple(x.contrast.titles) for x in found}
    assert named == {
        ("ResNet-50, Lion", "ResNet-50, AdamW"),
        ("ResNet-50, Lion", "ResNet-50, mine"),
        ("ResNet-50, AdamW", "ResNet-50, mine"),
    }
    assert {x.family for x in found} == {3}
    # Three shared seeds are too few for a test of pairs.
    assert sorted(len(x.contrast.seeds) for x in found) == [0, 0, 6]
    text = text_of(runs)
    (row,) = rows(text, "ResNet-50, mine | `resnet50_own` |")
    assert row[3:6] == ["0.25", "", "0-2"]
    assert "tx.py 111111111111..." in text


def test_models_whose_code_differs_are_not_compared():
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    for sha, run in zip("1" * 8 + "2" * 8, runs, strict=True):
        run.config["model"] |= {"name": "net.py:Net"}
        run.config["references"] = {"model.name": {"sha256": {"net.py": sha * 64}}}
    assert not analyse(runs).comparisons
    for run in runs:
        run.config["references"]["model.name"]["sha256"]["net.py"] = "1" * 64
    assert analyse(runs).comparisons


def test_siblings_that_are_none_are_not_compared():
    other = made_runs("adamw", LOW, config={"batch_size": 128})
    text = text_of(made_runs("lion", HIGH) + other)
    assert "**resnet50_adamw and resnet50_lion are not compared" in text
    assert "they differ in batch_size (128 and 64)" in text
    assert "There are no two configurations to compare." in text
    assert not rows(text, "Lion minus")
    assert rows(text, "ResNet-50, Lion | 8")


def test_a_rival_with_lions_rate_and_decay_is_reported():
    """As by `--config.optimizer.name=adamw` on a file for Lion."""
    lion, adamw = made_runs("lion", HIGH), made_runs("adamw", LOW)
    assert "has the values of" not in text_of(lion + adamw)
    for run in adamw:
        run.config["optimizer"] |= {"learning_rate": 3e-4, "weight_decay": 1.0}
    assert (
        "- **ResNet-50, AdamW has the values of ResNet-50, Lion: learning rate 0.0003,"
        " decay 1. Optimizers need their own: tune each.**"
    ) in text_of(lion + adamw)


def test_other_seeds_are_reported():
    text = text_of(made_runs("lion", HIGH) + made_runs("adamw", LOW[:7]))
    assert "**The seeds of resnet50_lion, resnet50_adamw are not the same" in text
    assert rows(text, "Lion minus AdamW, per seed")[0][1] == "7 pairs"


def test_seeds_that_few_share_are_reported_to_make_no_pairs():
    other = [made_run("adamw", 6 + seed, accuracy) for seed, accuracy in enumerate(LOW)]
    runs = made_runs("lion", HIGH) + other
    (said,) = warnings(runs)
    assert said.endswith(
        "are not the same; fewer than 6, or than half, are shared by resnet50_lion and"
        " resnet50_adamw, which are compared without pairs."
    )
    third = made_runs("sgd", HIGH)
    (said,) = warnings(runs + third)
    assert "than half, are shared by resnet50_lion and resnet50_adamw" in said
    assert said.endswith(
        "runs without a partner are left out of the differences per seed."
    )


def test_what_is_said_of_a_comparison_is_of_the_same_runs():
    """Five shared seeds say that AdamW is better, the five others of each Lion."""
    a = [0.800, 0.801, 0.802, 0.803, 0.804, 0.95, 0.951, 0.952, 0.953, 0.954]
    b = [0.8005, 0.8015, 0.8025, 0.8035, 0.8045, 0.70, 0.701, 0.702, 0.703, 0.704]
    runs = made_runs("lion", a) + made_runs("adamw", b[:5])
    runs += [made_run("adamw", 20 + seed, x) for seed, x in enumerate(b[5:])]
    found = comparisons(runs)["test_accuracy"].contrast
    assert (found.seeds, found.is_split) == ((), False)
    assert found.difference == stats.difference(100 * np.array(a), 100 * np.array(b))
    one = made_runs("lion", a[:2]) + [made_run("adamw", s, b[s]) for s in (1, 2)]
    assert comparisons(one)["test_accuracy"].contrast.seeds == ()


def test_where_ranks_and_means_point_apart_neither_is_better():
    a, b = [0.80, 0.81, 0.82, 0.83, 0.20], [0.70, 0.71, 0.72, 0.73, 0.74]
    found = comparisons(made_runs("lion", a) + made_runs("adamw", b))["test_accuracy"]
    assert found.contrast.is_split
    found = dataclasses.replace(found, p_holm=0.01, smallest_p=0.01)
    assert "**they differ, but neither is better**" in results.verdict(found)


def test_there_is_no_verdict_before_the_last_run():
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    asked = frozenset((run.label, run.seed) for run in runs)
    for more, said in (
        (frozenset(), "**ResNet-50, Lion is better** ("),
        (
            {("resnet50_lion", 8), ("resnet50_adamw", 8)},
            "**no verdict yet**, with 2 runs",
        ),
        ({("of others", 8)}, "**ResNet-50, Lion is better** ("),
    ):
        found = analyse(runs, Options(asked=asked | more))
        text = reports.markdown_of(found)
        assert said in text
        assert ("p holds for all that were planned" in text) == ("verdict" in said)

    less = made_runs("lion", LOW + 0.001) + made_runs("adamw", LOW[::-1])
    for some, ahead in (
        (less, "no difference is shown so far ("),
        (runs[:2] + runs[8:10], "with 2 + 2 runs the smallest possible p is 0.33"),
    ):
        there = {(run.label, run.seed) for run in some}
        more = frozenset(there | {("resnet50_lion", 8)})
        text = reports.markdown_of(analyse(some, Options(asked=more)))
        assert "**no verdict yet**, with 1 run of theirs missing" in text
        assert ahead in text
        assert "underpowered" not in text


def test_as_many_pairs_as_suffice_are_named():
    networks = [
        run
        for model in ("resnet50", "vit_b16")
        for optimizer, values in (("lion", HIGH[:6]), ("adamw", LOW[:6]))
        for run in made_runs(optimizer, values, model=model)
    ]
    said = "smallest possible p is 0.062 after Holm, above 0.05. 7 pairs suffice."
    assert text_of(networks).count(said) == 2


def test_what_layers_are_trained_is_no_part_of_an_optimizer():
    """Each field of an optimizer is its own, or shared by what is compared."""
    own = {"name", "options", "learning_rate", "weight_decay", "b1", "b2", "eps"}
    own |= {"momentum", "mu_dtype", "mode", "cautious", "cautious_weight_decay"}
    own |= {"independent_weight_decay"}
    fields = {field.name for field in dataclasses.fields(OptimizerConfig)}
    assert own | {*pairs.SHARED} == fields
    assert not own & {*pairs.SHARED}
    frozen = made_run().config["optimizer"] | {"freeze": "stem.*,blocks.0.*"}
    runs = made_runs("lion", HIGH, config={"optimizer": frozen})
    (said,) = warnings(runs + made_runs("adamw", LOW))
    assert r"they differ in optimizer.freeze ( and stem.\*,blocks.0.\*)" in said


def test_runs_from_the_same_weights_are_compared_wherever_these_lie(tmp_path):
    for side, optimizer in (("a", "lion"), ("b", "adamw")):
        start = {"init_from": f"/home/{side}/w.safetensors"}
        for run in made_runs(optimizer, HIGH, config=start):
            records.write(run, tmp_path)
    assert analyse(records.read_all(tmp_path)).primary


def test_trials_alone_have_no_time_to_a_target():
    runs = [swept_run("lion", rate, 1.0, 0.8) for rate in (1e-4, 3e-4)]
    with pytest.raises(ConfigError, match=r"set --target=0\.9, say"):
        analyse(runs, Options("seconds_to_target"))


def test_without_a_commit_the_version_is_named():
    runs = made_runs("lion", HIGH)
    for run in runs:
        run.environment.update({"commit": None, "lion-jax": "0.2.0"})
    assert "on fashion_mnist; version 0.2.0.\n" in text_of(runs)


def test_curves_of_few_runs_are_told_apart():
    runs = made_runs("lion", HIGH[:5])
    for run in runs[2:]:
        del run.epochs[1:]
    assert figures.epochs_of_half(runs) == 1
    assert figures.epochs_of_half(runs[:3]) == 3


def test_runs_of_other_data_are_warned_of():
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    for run in runs:
        run.environment["data"] = "new" if run.seed > 5 else "old"
    (said,) = warnings(runs)
    assert said.startswith("Runs are of different data and do not compare: ")
    for label in ("Lion", "AdamW"):
        for seeds in ("0-5", "6-7"):
            assert f"ResNet-50, {label}, seeds {seeds}" in said
    assert said.endswith(": new.")


def test_runs_that_went_on_elsewhere_are_warned_of():
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    for run in runs[2], runs[3], runs[9]:
        before = {**run.environment, "device": "H200", "commit": "another"}
        run.environment["earlier"] = [before]
    (said,) = warnings(runs)
    assert said.startswith("Runs were begun under other conditions than they ended")
    change = "commit ('another' then, 'abc' now), device ('H200' then, 'cpu' now)"
    assert f"ResNet-50, Lion, seeds 2-3: {change}; ResNet-50, AdamW, seed 1: " in said
    assert "H200" not in text_of(runs).partition("### Where")[2]


def test_configurations_that_were_not_run_alike_are_warned_of():
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    for run in runs:  # pair by pair alike
        run.environment["device"] = "cpu" if run.seed > 5 else "H200"
    assert warnings(runs) == []
    for run in runs[:8]:
        run.environment.update(device="H200", commit="abc-dirty")
    (said,) = warnings(runs)
    assert said.startswith("Configurations were not run alike: ")
    assert "device H200 (ResNet-50, Lion) against H200, cpu (" in said
    assert "commit abc-dirty (ResNet-50, Lion) against abc (ResNet-50, AdamW)" in said
    assert "figures of time do not compare" in said


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"devices": 8}, "number of devices 8 / 1"),
        ({"optax": "0.1"}, "version of optax 0.1 / 0.2"),
        ({"lion-jax": "0.1"}, "version of lion-jax 0.1 / none"),
        ({"switches": {"jax_enable_x64": True}}, "jax_enable_x64 True / False"),
        ({"variables": {"TF32": "0"}}, "TF32 0 / none"),
        ({"xla_flags": ""}, "XLA_FLAGS none / --a"),
        ({"processor_features": "avx"}, "vector instructions avx / avx512"),
        ({"python": "3.14", "system": "BSD", "new": 1}, ""),
    ],
)
def test_whatever_may_change_numbers_is_a_condition(change, said):
    recorded = {
        **{"devices": 1, "optax": "0.2", "lion-jax": None, "xla_flags": "--a"},
        **{"switches": {"jax_enable_x64": False}, "variables": {}},
        **{"processor_features": "avx512", "python": "3.11", "system": "Linux"},
    }
    runs = made_runs("adamw", LOW) + made_runs("lion", HIGH)
    for run in runs:
        run.environment.update(recorded)
    for run in runs[8:]:
        run.environment.update(change)
    found = warnings(runs)
    assert len(found) == (said != "")
    theirs, _, ours = said.partition(" / ")
    said = f"{theirs} (ResNet-50, Lion) against {ours} (ResNet-50, AdamW)."
    assert all(f"not run alike: {said}" in text for text in found)


def test_votes_beside_others_are_named_for_what_else_they_change():
    runs = made_runs("adamw", LOW) + made_runs("lion", HIGH)
    for run in runs[8:]:
        run.config["mesh"] = run.config["mesh"] | {"vote": "majority"}
    (said,) = warnings(runs)
    assert said.startswith("In ResNet-50, Lion by majority vote, batch normalization")
    assert "of each device's part" in said


def test_a_tie_that_reaches_a_smaller_p_is_not_called_underpowered():
    """Three against four, two of which are equal: 1 of 35 splits is the farthest."""
    accuracies = (0.851, 0.854, 0.860), (0.830, 0.832, 0.835, 0.835)
    runs = made_runs("lion", accuracies[0]) + [
        made_run("adamw", seed, accuracy)
        for seed, accuracy in enumerate(accuracies[1], start=10)
    ]
    found = comparisons(runs)["test_accuracy"]
    assert found.p_holm == found.smallest_p == pytest.approx(1 / 35)
    assert "ResNet-50, Lion is better" in text_of(runs)


def test_a_title_is_copied_with_its_parts():
    title = titles.Title("a, b", "c, d")
    for copied in (copy.deepcopy(title), pickle.loads(pickle.dumps(title))):
        assert (copied, copied.heading, copied.short) == (title, "a, b", "c, d")


def test_names_of_data_with_commas_and_asterisks_are_told_apart_and_no_markup():
    runs = []
    for number, name in enumerate(("/d/a, b*c*.npz", "/d/a, d*c*.npz")):
        for optimizer, values in (("lion", HIGH), ("adamw", LOW)):
            made = made_runs(optimizer, values)
            for run in made:
                run.config["data"] = run.config["data"] | {"name": name}
                run.config["name"] = f"{run.config['name']}_{number}"
            runs += [dataclasses.replace(run, label=run.config["name"]) for run in made]
    for number in (0, 1):
        for seed in range(100, 102 + number):
            trial = swept_run("lion", 1e-4 * seed, 1.0, 0.8, seed)
            trial.config["data"] = runs[16 * number].config["data"]
            trial.config["name"] = f"resnet50_lion_{number}"
            runs.append(
                dataclasses.replace(trial, label=f"{trial.config['name']},{seed}")
            )
    analysis = analyse(runs)
    headings = {title.heading for title in analysis.titles.values()}
    assert headings == {"ResNet-50 on /d/a, b*c*.npz", "ResNet-50 on /d/a, d*c*.npz"}
    assert len(analysis.budgets) == 2
    text = reports.markdown_of(analysis)
    assert "b*c*" not in text
    assert r"**ResNet-50 on /d/a, b\*c\*.npz, test accuracy" in text
    assert rows(text, "Lion minus AdamW, per seed")
    latex = exports.texts(analysis)["comparisons.tex"]
    assert "ResNet-50 on /d/a, b*c*.npz & Lion / AdamW &" in latex


def test_every_model_needs_a_target_for_a_speed_as_primary_measure():
    runs = made_runs("lion", HIGH) + made_runs("lion", HIGH, model="vit_b16")
    for named in ({"resnet50": 0.8}, {"": 0.8}, {"resnet50": 0.8, "vit_b16": 0.7}):
        options = Options("epochs_to_target", named)
        if named == {"resnet50": 0.8}:
            with pytest.raises(
                ConfigError, match=r"every model; set --target=vit_b16="
            ):
                analyse(runs, options)
        else:
            analyse(runs, options)


def test_a_model_without_trials_is_said_not_to_be_tuned_here():
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    assert "whether they were tuned alike, these records do not say" in text_of(runs)


def test_equal_accuracies_of_trials_are_no_fault_of_the_choice():
    swept = [
        made_run("lion", 100, 0.8, swept={"optimizer.learning_rate": rate})
        for rate in (1e-4, 1e-3, 1e-2)
    ]
    for run in swept:
        run.config["optimizer"] |= {
            "learning_rate": run.swept["optimizer.learning_rate"]
        }
    final = made_runs("lion", HIGH)
    for run in final:
        run.config["optimizer"] |= {"learning_rate": 1e-3}
    assert not [said for said in warnings(swept + final) if "best trial" in said]


def test_a_diverged_run_counts_as_the_worst():
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    runs[0] = made_run("lion", 0, 0.99, diverged=True)
    at_end = comparisons(runs)["last_test_accuracy"].contrast
    assert at_end.summaries[0].n == 8
    assert at_end.unpaired.statistic == 7 * 8  # the diverged one beats none
    assert math.isnan(at_end.difference.estimate)
    assert at_end.test.method == "signed ranks, exact"
    # Ranks 1 to 7 for the first, the largest against it: 8 of 36.
    assert at_end.test == paired.signed_ranks(at_end.pairs)
    assert at_end.test.statistic == (28 - 8) / 8


def test_the_winner_is_the_one_of_the_test_whose_p_is_given():
    """Ahead in 11 of 12 pairs, whatever lone seeds and a run that failed say."""
    below = np.linspace(0.70, 0.72, 12)
    runs = made_runs("adamw", below) + made_runs("lion", below + 0.01)
    runs += [made_run("lion", seed, 0.5) for seed in range(12, 24)]
    dead = dict.fromkeys(("test_accuracy", "last_test_accuracy"))
    runs = [
        changed_result(run, **dead)
        if run.label.endswith("lion") and not run.seed
        else run
        for run in runs
    ]
    verdict = next(line for line in text_of(runs).splitlines() if " against " in line)
    contrast = comparisons(runs)["test_accuracy"].contrast
    assert contrast.pairs_ahead == (11, 1)
    assert contrast.a12.estimate == 117 / 144  # of the runs in pairs alone
    assert "**ResNet-50, Lion is better**" in verdict
    ahead = "ResNet-50, Lion is ahead in 11, ResNet-50, AdamW in 1 of 12 pairs"
    assert ahead in verdict


def test_diverged_runs_are_counted_in_the_report():
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    runs[0] = made_run("lion", 0, 0.9, diverged=True)
    text = text_of(runs)
    assert rows(text, "ResNet-50, Lion | 8 | failed | -")
    assert rows(text, "ResNet-50, Lion | `resnet50_lion`")[0][-3:] == ["0-7", "8", "1"]
    assert rows(text, "ResNet-50, AdamW | `")[0][-3:] == ["0-7", "8", "0"]


def test_pairs_that_failed_both_have_no_difference():
    dead = dict.fromkeys(("test_accuracy", "last_test_accuracy"))
    runs = made_runs("lion", HIGH, diverged=True) + made_runs("adamw", LOW)
    all_failed = [
        changed_result(run, **dead)
        for run in runs[:8] + made_runs("adamw", LOW, diverged=True)
    ]
    text = text_of(all_failed)
    assert "in 0, ResNet-50, AdamW in 0 of 8 pairs; p = 1.0 after Holm" in text
    row = rows(text, "Lion minus AdamW, per seed")[0]
    assert row[1:7] == ["8 pairs", "-", "-", "-", "-", "1.0"]
    # One pair that failed both leaves seven, which decide, and no mean of eight.
    one = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    one = [changed_result(run, **dead) if run.seed == 0 else run for run in one]
    text = text_of(one)
    verdict = "**ResNet-50, Lion is better** (ResNet-50, Lion is ahead in 7, "
    assert f"{verdict}ResNet-50, AdamW in 0 of 8 pairs; p = 0.016 after Holm" in text
    assert rows(text, "Lion minus AdamW, per seed")[0][2:6] == ["-"] * 4


def test_equal_numbers_of_best_and_end_stand_once():
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    runs = [
        changed_result(run, last_test_accuracy=run.result.test_accuracy) for run in runs
    ]
    found = comparisons(runs)
    assert found["test_accuracy"].contrast.measure.also == ("last_test_accuracy",)
    assert "last_test_accuracy" not in found
    assert "last_test_loss" in found
    text = text_of(runs)
    assert "**ResNet-50, test accuracy, best validation = end of schedule, %**" in text
    by_end = comparisons(runs, "last_test_accuracy")  # the primary one stays
    assert by_end["last_test_accuracy"].primary
    assert "test_accuracy" not in by_end


def test_time_to_a_target_by_hand_with_misses():
    runs = made_runs("lion", [0.9, 0.9, 0.9, 0.7, 0.7])
    epochs, seconds = measures.speeds({RESNET: 0.8})
    assert list(epochs.of(runs)) == [2, 2, 2, math.inf, math.inf]
    assert list(seconds.of(runs)) == [10, 10, 10, math.inf, math.inf]
    text = text_of(runs + made_runs("adamw", [0.6] * 5), target=0.8)
    assert rows(text, "ResNet-50, Lion | 3 of 5")
    assert rows(text, "ResNet-50, AdamW | 0 of 5")
    times = rows(text, "ResNet-50, Lion | 5 | never")
    assert [row[4] for row in times] == ["2.0 [2.0, never]", "10.0 [10.0, never]"]


def test_the_default_target_is_what_half_of_the_worst_reach():
    groups = pairs.groups(
        made_runs("lion", [0.9, 0.9, 0.9]) + made_runs("adamw", [0.7, 0.789, 0.8])
    )
    assert targets.defaults(groups) == {RESNET: 0.78}
    two = groups + pairs.groups(made_runs("lion", [0.5], model="vit_b16"))
    assert targets.defaults(two) == {RESNET: 0.78, VIT: 0.5}


def test_a_target_is_named_or_reported_to_come_from_the_same_runs():
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    assert "ResNet-50: 80.00 % on validation, **taken from" in text_of(runs)
    text = text_of(runs, target=0.855)
    assert "ResNet-50: 85.50 % on validation, named beforehand" in text
    assert "taken from" not in text


def runs_on_two(accuracies):
    """Runs of both optimizers per data set, labelled `mnist_lion` and so on."""
    runs = []
    for optimizer in ("lion", "adamw"):
        for data, accuracy in accuracies.items():
            made = made_runs(optimizer, [accuracy] * 3)
            for run in made:
                run.config["name"] = f"{data}_{optimizer}"
            runs += [dataclasses.replace(x, label=x.config["name"]) for x in made]
    return runs


def test_each_data_set_of_a_model_has_a_target_of_its_own():
    runs = runs_on_two({"mnist": 0.98, "kmnist": 0.81})
    for run in runs:
        run.config["data"]["name"] = run.label.partition("_")[0]
    found = analyse(runs)
    assert found.targets == {
        Task("resnet50", "kmnist"): 0.81,
        Task("resnet50", "mnist"): 0.98,
    }
    text = reports.markdown_of(found)
    assert "- ResNet-50 on mnist: 98.00 % on validation, **taken" in text
    assert "- ResNet-50 on kmnist: 81.00 % on validation, **taken" in text
    assert rows(text, "ResNet-50 on mnist, Lion | 3 of 3")
    assert [*exports.report(found)["targets"]] == ["resnet50@kmnist", "resnet50@mnist"]
    named = Options(
        "epochs_to_target", targets.parse("resnet50=0.7,resnet50@mnist=0.9")
    )
    by_name = analyse(runs, named)
    assert [*by_name.targets.values()] == [0.7, 0.9]
    assert all(map(by_name.named, by_name.targets))
    one = Options("epochs_to_target", targets.parse("resnet50@mnist=0.9"))
    with pytest.raises(ConfigError, match=r"set --target=resnet50@kmnist=0\.9, say"):
        analyse(runs, one)


def test_each_folder_of_images_has_a_target_of_its_own():
    """All are called folder; their versions tell them apart."""
    runs = runs_on_two({"abc": 0.98, "def": 0.81})
    for run in runs:
        version = run.label.partition("_")[0]
        run.config["data"]["name"] = "folder"
        run.environment["data"] = f"folder {version} (28 x 28 x 1, 10 classes)"
    found = analyse(runs, Options(targets=targets.parse("resnet50@folder:abc=0.9")))
    assert found.targets == {
        Task("resnet50", "folder:abc"): 0.9,
        Task("resnet50", "folder:def"): 0.81,
    }
    text = reports.markdown_of(found)
    assert "- ResNet-50 (abc_lion, abc_adamw): 90.00 % on validation, named" in text
    assert "- ResNet-50 (def_lion, def_adamw): 81.00 % on validation, **taken" in text


def test_targets_are_for_all_models_or_by_model():
    defaults = {RESNET: 0.5, VIT: 0.6}
    assert targets.parse("0.9") == {"": 0.9}
    both = targets.parse("resnet50=0.9,vit_b16=0.8")
    assert targets.for_tasks(both, defaults) == {RESNET: 0.9, VIT: 0.8}
    one = targets.for_tasks({"vit_b16": 0.8}, defaults)
    assert one == {RESNET: 0.5, VIT: 0.8}
    with pytest.raises(ConfigError, match="no runs of vit; name one of resnet50"):
        targets.for_tasks({"vit": 0.8}, defaults)
    for text in ("90", "resnet50=", "much", "0.9,resnet50=nan"):
        with pytest.raises(ConfigError, match="must be > 0 and < 1"):
            targets.parse(text)


def test_memory_and_speed_stand_beside():
    text = text_of(made_runs("lion", HIGH) + made_runs("adamw", LOW))
    assert rows(text, "ResNet-50, Lion | 8 of 8")[0][2:] == ["100", "1.00", "1"]


def test_the_report_holds_what_makes_the_numbers_again():
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    for run in runs[8:]:
        run.config["optimizer"]["b2"] = 0.999
        run.environment["commit"] = "def"
    text = text_of(runs)
    assert rows(text, "ResNet-50, Lion | `resnet50_lion`")[0][2:5] == [
        *("0.0003", "1", "0.9, 0.99")
    ]
    assert rows(text, "ResNet-50, AdamW | `")[0][4] == "0.9, 0.999"
    for setting in ("batch_size 64", "image_size 224", "clip_norm 0", "crop_padding 0"):
        assert setting in text
    for setting in ("schedule constant", "split_seed 42", "jax 0", "processors 2"):
        assert setting in text
    assert rows(text, "resnet50_lion | abc")  # what differs stands by configuration
    assert rows(text, "resnet50_adamw | def")


def test_the_error_over_images_stands_beside_the_one_over_seeds():
    sample = {"data": dataclasses.asdict(Config().data) | {"name": "fashion_mnist"}}
    text = text_of(made_runs("lion", [0.8, 0.9], config=sample))
    # Between 0.8 and 0.9: their standard deviation by sqrt(2); 85 % of 10,000 images.
    assert "with these test images, 5.00 points" in text
    assert "samples of 10,000 test images, 0.36 points" in text
    unknown = {"data": sample["data"] | {"name": "mine"}}
    text = text_of(made_runs("lion", [0.8, 0.9], config=unknown))
    assert "standard errors" not in text


def swept_run(optimizer, rate, decay, accuracy, seed=100):
    values = {"learning_rate": rate, "weight_decay": decay}
    swept = {f"optimizer.{field}": value for field, value in values.items()}
    settings = made_run(optimizer).config["optimizer"] | values
    changed = {"optimizer": settings}
    return made_run(optimizer, seed, accuracy, swept=swept, config=changed)


def test_a_sweep_is_ranked_by_validation_with_its_budget():
    runs = [
        swept_run("lion", 1e-4, 1.0, 0.80),
        swept_run("lion", 3e-4, 1.0, 0.85),
        swept_run("adamw", 1e-3, 0.1, 0.70),
        swept_run("adamw", 3e-3, 0.1, 0.75),
    ]
    text = text_of(runs)
    assert (
        "Lion: 2 trials, seed 100, ResNet-50, AdamW: 2 trials, seed 100 (equal" in text
    )
    best = rows(text, "ResNet-50, Lion")[0]
    assert best[1:4] == ["learning rate 0.0003, decay 1", "1", "85.00"]
    assert "## Results" not in text
    assert "(**not equal** budgets" in text_of(runs[:3])
    again = dataclasses.replace(runs[0], seed=101)
    assert "(**not equal** budgets" in text_of([*runs, again])
    vit = made_run("lion", 100, swept={"optimizer.b1": 0.9}, model="vit_b16")
    text = text_of([*runs, vit])  # another model has its own budget
    assert text.count("(equal budgets") == 1
    assert "- ViT-B/16, Lion: 1 trial, seed 100.\n" in text


def test_a_model_has_a_budget_for_each_data_set():
    small = {"data": {**made_run().config["data"], "name": "cifar10"}}
    runs = [
        swept_run(optimizer, rate, 1.0, 0.8)
        for optimizer in ("lion", "adamw")
        for rate in (1e-4, 3e-4, 1e-3)
    ]
    others = [
        dataclasses.replace(
            run,
            label=f"small_{run.label}",
            config=run.config | small | {"name": f"small_{run.config['name']}"},
        )
        for run in runs
        if run.swept["optimizer.learning_rate"] < 1e-3
    ]
    assert warnings(runs + others) == []
    assert text_of(runs + others).count("(equal budgets") == 2


def test_a_trial_that_diverged_and_trials_of_one_accuracy():
    runs = [swept_run("lion", rate, 1.0, 0.84) for rate in (1e-4, 3e-4, 1e-3)]
    runs[1] = changed_result(runs[1], val_loss=0.1)
    final = tuned_runs(1e-4, 1.0)
    found = analyse(runs + final).sweeps[0]
    assert found.used is not found.trials[0]
    assert found.is_best(found.used)
    assert not any("not use the best" in said for said in found.warnings)
    runs[0] = changed_result(runs[0], stop_reason="diverged")
    said = "ResNet-50, Lion: the trial used diverged in 1 of 1 run."
    assert said in warnings(runs + final)


def test_trials_of_several_seeds_have_a_mean_and_its_standard_error():
    runs = [
        swept_run("lion", rate, 1.0, accuracy, seed)
        for rate, accuracies in ((1e-4, (0.80, 0.84)), (3e-4, (0.83, 0.82)))
        for seed, accuracy in zip((100, 101), accuracies, strict=True)
    ]
    first, second = rows(text_of(runs), "ResNet-50, Lion | learning")
    assert first[1:4] == ["learning rate 0.0003, decay 1", "2", "82.50 ± 0.50"]
    assert second[1:4] == ["learning rate 0.0001, decay 1", "2", "82.00 ± 2.00"]


def test_a_trial_that_two_sweeps_made_is_one():
    """The order of the flags, or a field of one value, gives it another label."""
    runs = [swept_run("lion", rate, 1.0, 0.8) for rate in (1e-4, 3e-4)]
    turned = dict(reversed(runs[0].swept.items()))
    alone = {field: turned[field] for field in turned if "rate" in field}
    again = [
        dataclasses.replace(runs[0], swept=swept, label=f"resnet50_lion,{swept}")
        for swept in (turned, alone)
    ]
    text = text_of([*runs, *again, swept_run("adamw", 1e-3, 0.1, 0.8)])
    assert "Lion: 2 trials, seed 100" in text
    assert len(rows(text, "ResNet-50, Lion | learning")) == 2


def test_a_trial_that_diverged_at_once_counts_as_nothing():
    failed = changed_result(
        swept_run("lion", 1.0, 1.0, 0.5),
        val_accuracy=None,
        val_loss=None,
        stop_reason="diverged",
    )
    text = text_of([failed, swept_run("lion", 3e-4, 1.0, 0.85)])
    row = rows(text, "ResNet-50, Lion | learning rate 1, decay 1")[0]
    assert row[3:6] == ["0.00", "infinite", "1"]


def tuned_runs(rate, decay, **changes):
    """Final runs of Lion with some values."""
    optimizer = made_run().config["optimizer"]
    optimizer |= {"learning_rate": rate, "weight_decay": decay}
    return made_runs("lion", HIGH[:2], config={"optimizer": optimizer} | changes)


GRID = [
    swept_run("lion", rate, decay, 0.8 + 0.01 * bonus)
    for rate, decay, bonus in [
        *((1e-4, 1.0, 0), (3e-4, 1.0, 3), (1e-3, 1.0, 1)),
        *((3e-4, 0.1, 2), (3e-4, 10.0, 1)),
    ]
]


def warnings(runs):
    text = text_of(runs)
    _, _, rest = text.partition("## Warnings\n\n")
    return re.findall(r"^- \*\*(.*)\*\*$", rest.partition("\n\n")[0], re.MULTILINE)


def test_the_trial_that_the_runs_used_is_marked_and_nothing_else():
    runs = GRID + tuned_runs(3e-4, 1.0)
    assert warnings(runs) == []
    marked = [row for row in rows(text_of(runs), "") if "**used**" in row]
    (row,) = marked
    assert row[1] == "learning rate 0.0003, decay 1"
    assert row[7] == ""


@pytest.mark.slow
def test_runs_that_did_not_use_the_best_trial_are_reported_in_bold():
    """As the ViT-Ti/8 comparison of version 0.1 did."""
    said = warnings(GRID + tuned_runs(3e-4, 0.1))
    assert said == [
        "ResNet-50, Lion: the final runs did not use the best trial: learning rate"
        " 0.0003, decay 0.1 reached 82.00 % on validation, learning rate 0.0003, decay"
        " 1 83.00 %.",
        "ResNet-50, Lion: the trial used lies on the edge of its grid: decay 0.1 is the"
        " smallest tried.",
    ]


def test_values_that_no_trial_had_are_reported_in_bold():
    (said,) = warnings(GRID + tuned_runs(5e-4, 1.0))
    assert "used learning rate 0.0005, decay 1, which is none of the 5 trials" in said


def test_an_edge_is_where_more_could_have_been_tried():
    corner = [*GRID, swept_run("lion", 1e-3, 10.0, 0.9)]
    (said,) = warnings(corner + tuned_runs(1e-3, 10.0))
    assert "learning rate 0.001 is the largest tried and decay 10 is the larg" in said
    zero = [*GRID, swept_run("lion", 3e-4, 0.0, 0.9)]  # nothing lies below 0
    assert warnings(zero + tuned_runs(3e-4, 0.0)) == []


def test_trials_of_another_protocol_or_of_the_same_seeds_are_reported():
    (said,) = warnings(GRID + tuned_runs(3e-4, 1.0, epochs=7))
    assert "another protocol than the final runs: epochs 100, not 7" in said
    same = [dataclasses.replace(run, seed=1) for run in GRID]
    (said,) = warnings(same + tuned_runs(3e-4, 1.0))
    assert "trials and final runs share the seeds 1" in said


def test_a_value_that_is_the_trials_but_for_rounding_is_the_trials():
    swept = [swept_run("lion", rate, 1.0, 0.8) for rate in (1e-4, 0.003 / 10, 1e-3)]
    swept[1] = changed_result(swept[1], val_accuracy=0.9)
    (sweep,) = analyse(swept + tuned_runs(3e-4, 1.0)).sweeps
    assert sweep.used is sweep.trials[0]
    assert sweep.warnings == []


@pytest.mark.parametrize("of_trials", [True, False])
def test_an_option_that_only_trials_or_only_runs_have_is_another_protocol(of_trials):
    swept, final = copy.deepcopy(GRID), tuned_runs(3e-4, 1.0)
    for run in swept if of_trials else final:
        run.config["model"] = run.config["model"] | {"options": {"depth": 5}}
    (said,) = warnings(swept + final)
    both = "depth 5, not unset" if of_trials else "depth unset, not 5"
    assert f"another protocol than the final runs: {both}" in said


def test_trials_on_other_images_of_a_folder_are_another_protocol():
    runs = copy.deepcopy(GRID) + tuned_runs(3e-4, 1.0)
    for run in runs:
        run.config["data"] = run.config["data"] | {"name": "folder"}
        run.environment["data"] = "folder 0a" if run.swept else "folder 1b"
    (said,) = warnings(runs)
    assert "data's version folder 0a, not folder 1b" in said


def test_siblings_whose_trials_had_other_protocols_are_reported_without_final_runs():
    runs = [
        swept_run(optimizer, rate, 1.0, 0.8)
        for optimizer in ("lion", "adamw")
        for rate in (1e-4, 3e-4)
    ]
    assert warnings(runs) == []
    for run in runs[:2]:
        run.config["epochs"] = 5
    (said,) = warnings(runs)
    assert said.startswith("The trials of ResNet-50, Lion and of ResNet-50, AdamW had")
    assert "different protocols: epochs (5 and 100)" in said


def test_lines_of_trials_stand_in_the_order_of_their_values(monkeypatch, tmp_path):
    """Whatever the learning rate at which each has its best trial."""
    shown = []
    monkeypatch.setattr(
        tuning_figures, "save", lambda *given: shown.append(given) or []
    )
    best = [(1e-3, 0.1), (1e-4, 10.0), (3e-4, 1.0)]
    runs = [
        swept_run("lion", rate, decay, 0.9 if (rate, decay) in best else 0.8)
        for rate in (1e-4, 3e-4, 1e-3)
        for decay in (10.0, 0.1, 1.0)
    ]
    tuning_figures.draw(analyse(runs).sweeps, tmp_path)
    ((figure, _),) = shown
    (axis,) = figure.axes
    said = [text.get_text() for text in axis.get_legend().get_texts()]
    assert said == ["decay 0.1", "decay 1", "decay 10"]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["cosine", "constant", "cosine"], ["constant", "cosine"]),
        ([{"a": 2}, {"a": 1}, {}], ["{'a': 1}", "{'a': 2}", "{}"]),
        ([math.inf, 0.9, None], ["0.9", "None", "inf"]),
        ([True, False, True], ["False", "True"]),
    ],
)
def test_values_that_are_no_numbers_stand_side_by_side(
    monkeypatch, tmp_path, values, names
):
    shown = []
    monkeypatch.setattr(
        tuning_figures, "save", lambda *given: shown.append(given) or []
    )
    trials = [
        tuning.Trial(f"run,{k}", {"optimizer.x": v}, (0,), 80.0 + k, 0.1, 1.0, 0)
        for k, v in enumerate(values)
    ]
    sweep = tuning.Sweep("run", titles.Title("vit", "Lion"), "vit", trials, None, [])
    monkeypatch.setattr(tuning.Sweep, "edges", lambda *_: [])
    used = dataclasses.replace(sweep, used=trials[0])
    two = {"optimizer.x": "a", "optimizer.y": 1}
    mixed = [dataclasses.replace(t, values=two | t.values) for t in trials]
    tuning_figures.draw([used, dataclasses.replace(sweep, trials=mixed)], tmp_path)
    ((figure, _),) = shown
    figure.draw_without_rendering()
    first, second = figure.axes
    assert [text.get_text() for text in first.get_xticklabels()] == names
    assert first.get_xlabel() == "x"
    assert second.get_xlabel() == "y (dotted: ends of the grid)"


def test_a_sweep_over_the_options_of_a_function_is_told_apart():
    field, runs = "optimizer.schedule_options", []
    for decay in (0.1, 0.9):
        run = made_run(seed=100, accuracy=decay, swept={field: {"decay_rate": decay}})
        run.config["optimizer"] |= {"schedule_options": {"decay_rate": decay}}
        runs.append(run)
    final = made_runs("lion", HIGH)
    for run in final:
        run.config["optimizer"] |= {"schedule_options": {"decay_rate": 0.9}}
    (sweep,) = analyse(runs + final).sweeps
    assert [t.values[field]["decay_rate"] for t in sweep.trials] == [0.9, 0.1]
    assert sweep.used is sweep.trials[0]
    assert not sweep.warnings


def test_a_sweep_over_a_text_is_drawn_and_exported(monkeypatch, tmp_path):
    monkeypatch.setattr(tuning_figures, "save", lambda *_: [])
    optimizer = made_run().config["optimizer"]
    runs = [
        made_run(
            seed=100,
            swept={"optimizer.schedule": name},
            config={"optimizer": optimizer | {"schedule": name}},
        )
        for name in ("cosine", "constant")
    ]
    analysis = analyse(runs)
    tuning_figures.draw(analysis.sweeps, tmp_path)
    assert "schedule cosine" in reports.markdown_of(analysis)


def test_one_trial_of_another_protocol_is_named():
    """Trials beyond an edge, made with other epochs: they are not of one ranking."""
    odd = GRID[1]
    odd = dataclasses.replace(odd, config=odd.config | {"epochs": 999})
    grid = [run for run in GRID if run is not GRID[1]] + [odd]
    expected = (
        "ResNet-50, Lion: the trials of learning rate 0.0003, decay 1 had another"
        " protocol than the final runs: epochs 999, not 100."
    )
    assert warnings(grid + tuned_runs(3e-4, 1.0)) == [expected]
    assert warnings(grid) == [expected.replace("the final runs", "the others")]


def test_tuning_that_was_not_equal_is_reported_in_bold():
    rates = [(1e-3, 0.70), (3e-3, 0.75), (1e-2, 0.71)]
    other = [swept_run("adamw", rate, 0.1, accuracy) for rate, accuracy in rates]
    lion = [run for run in GRID if run.swept["optimizer.weight_decay"] == 1]
    final = tuned_runs(3e-4, 1.0)
    optimizer = other[1].config["optimizer"]
    both = final + made_runs("adamw", LOW[:2], config={"optimizer": optimizer})
    assert warnings(lion + other + both) == []
    assert warnings(lion + other[:2] + both)[0].endswith("AdamW: 2 trials, seed 100.")
    none = "ResNet-50, Lion: 3 trials, seed 100, ResNet-50, AdamW: no trial"
    assert warnings(lion + both) == [f"The tuning was not equal: {none}."]
    assert f"{none} (**not equal** budgets" in text_of(lion + both)
    assert warnings(lion + final) == []  # nothing to be unequal with
    again = dataclasses.replace(other[0], seed=101)
    text = "AdamW: 3 trials (4 runs), seeds 100-101."
    assert text in warnings([*lion, *other, again, *both])[0]
    # A second run of a trial is no unequal budget where the other has one, too.
    twice = [again, dataclasses.replace(lion[1], seed=101)]
    assert warnings([*lion, *other, *twice, *both]) == []
    assert warnings([*lion, twice[1], *final]) == []
    elsewhere = [dataclasses.replace(run, seed=200) for run in other]
    assert "3 trials, seed 200." in warnings([*lion, *elsewhere, *both])[0]


@pytest.mark.slow
def test_the_same_records_make_the_same_report_and_pictures(tmp_path):
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    for run in runs:
        records.write(run, tmp_path)
    read = records.read_all(tmp_path)
    paths = reports.write(read, tmp_path)
    first = [path.read_bytes() for path in paths]
    assert [path.name for path in paths] == [
        *("report.md", "report.html", "report.json"),
        *("comparisons.csv", "comparisons.tex"),
        *(f"{n}.{kind}" for n in ("runs", "curves", "time") for kind in ("png", "svg")),
    ]
    assert reports.write(read[::-1], tmp_path) == paths
    assert [path.read_bytes() for path in paths] == first
    text = paths[0].read_text()
    for name in ("runs.svg", "curves.svg", "time.svg"):
        assert f"]({name})" in text


@pytest.mark.slow
def test_an_epoch_without_a_finite_loss_is_a_gap_in_the_curves(tmp_path):
    runs = made_runs("lion", HIGH[:2])
    last = runs[0].epochs[-1]
    runs[0].epochs[-1] = dataclasses.replace(last, val_loss=None)
    middle = figures.quartiles_of(runs, "val_accuracy")[2]
    assert middle[-1] == pytest.approx(HIGH[1])  # of the other run alone
    last = runs[1].epochs[-1]
    runs[1].epochs[-1] = dataclasses.replace(last, parameters_finite=False)
    middle = figures.quartiles_of(runs, "val_loss")[2]
    assert list(np.isnan(middle)) == [False, False, True]
    reports.write(runs, tmp_path)


def test_a_diverged_epoch_reaches_nothing():
    """The arg max of NaN is a class, so a tenth of the images is still right."""
    runs = made_runs("lion", [0.9, 0.9, 0.9])
    for run in runs[:2]:
        run.epochs[:] = [
            dataclasses.replace(epoch, val_loss=None, val_accuracy=0.95)
            for epoch in run.epochs
        ]
    epochs, seconds = measures.speeds({RESNET: 0.8})
    assert list(epochs.of(runs)) == [math.inf, math.inf, 2]
    assert list(seconds.of(runs)) == [math.inf, math.inf, 10]
    assert list(measures.speeds({RESNET: 0.0})[0].of(runs)) == [math.inf] * 2 + [1]


def test_an_optimizer_that_always_diverges_reaches_no_target_first():
    lost = [
        dataclasses.replace(
            run, epochs=[dataclasses.replace(run.epochs[0], val_loss=None)]
        )
        for run in made_runs("lion", HIGH, diverged=True)
    ]
    runs = lost + made_runs("adamw", LOW)
    groups = pairs.groups(runs)
    assert 0.7 < targets.defaults(groups)[RESNET] < 0.85
    text = text_of(runs)
    assert rows(text, "ResNet-50, Lion | 0 of 8")
    assert "reach, without ResNet-50, Lion, of which half reach less than 1 %" in text
    speed = comparisons(runs)["seconds_to_target"]
    assert not speed.contrast.first_is_better
    # Nobody reaches anything: there is no target, and nothing is compared by it.
    alone = text_of(lost)
    assert "ResNet-50: no target, as half of the runs" in alone
    assert rows(alone, "ResNet-50, Lion | - |")
    (found,) = analyse(lost, Options()).measures
    assert not {measure.name for measure in found} & {*measures.SPEED}


def test_a_configuration_without_a_sibling_is_reported_alone():
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    text = text_of(runs + made_runs("lion", LOW, model="vit_b16"))
    assert rows(text, "Lion minus AdamW, per seed")
    assert "**ViT-B/16, test accuracy, best validation, %**" in text
    assert rows(text, "ViT-B/16, Lion | 8")


def test_configurations_of_one_title_are_distinguished_by_their_names():
    other = [
        dataclasses.replace(run, label="lion_b", config=run.config | {"name": "lion_b"})
        for run in made_runs("lion", LOW)
    ]
    text = text_of(made_runs("lion", HIGH) + other)
    assert "**ResNet-50, Lion (resnet50_lion) is better**" in text


def test_a_title_means_one_configuration_wherever_it_stands(tmp_path):
    """Two pairs of one model, which are not compared with each other."""
    clipped = [
        dataclasses.replace(
            run,
            label=f"{run.label}_clip",
            config=run.config
            | {"name": f"{run.label}_clip"}
            | {"optimizer": run.config["optimizer"] | {"clip_norm": 0.5}},
        )
        for run in made_runs("lion", LOW) + made_runs("adamw", HIGH)
    ]
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW) + clipped
    text = text_of(runs)
    verdicts = re.findall(r"^- (.*) against .*\*\*(.*) is better", text, re.MULTILINE)
    assert verdicts == [
        ("ResNet-50, Lion (resnet50_lion)", "ResNet-50, Lion (resnet50_lion)"),
        (
            "ResNet-50, Lion (resnet50_lion_clip)",
            "ResNet-50, AdamW (resnet50_adamw_clip)",
        ),
    ]
    for more in ("", "_clip"):  # what heads tables and panels
        assert f"**ResNet-50 (resnet50_lion{more}, resnet50_adamw{more}), test" in text
    latex = exports.texts(analyse(runs))["comparisons.tex"]
    assert r"Lion (resnet50\_lion\_clip) / AdamW (resnet50\_adamw\_clip)" in latex


def test_siblings_share_their_schedule():
    lion, adamw = made_runs("lion", HIGH), made_runs("adamw", LOW)
    for run in adamw:
        run.config["optimizer"]["schedule"] = "cosine"
        run.config["data"]["cache_dir"] = "/elsewhere"  # no matter
    first, second = pairs.groups(lion + adamw)
    different = ["optimizer.schedule (cosine and constant)"]
    assert pairs.unequal(pairs.first_of(first), pairs.first_of(second)) == different


def test_runs_on_other_images_of_a_folder_are_no_siblings():
    lion, adamw = made_runs("lion", HIGH), made_runs("adamw", LOW)
    for run in lion + adamw:
        run.config["data"]["name"] = "folder"
    assert len(pairs.groups(lion + adamw)) == 1
    for runs, version in ((lion, "folder 0a1b"), (adamw, "folder 2c3d")):
        runs[0].environment["data"] = version
    first, second = pairs.groups(lion + adamw)
    different = ["data's version (folder 2c3d and folder 0a1b)"]
    assert pairs.unequal(pairs.first_of(first), pairs.first_of(second)) == different


def test_four_seeds_of_two_models_are_underpowered_after_holm():
    runs = [
        run
        for model in ("resnet50", "vit_b16")
        for run in made_runs("lion", HIGH[:4], model=model)
        + made_runs("adamw", LOW[:4], model=model)
    ]
    text = text_of(runs)
    assert text.count("**underpowered**; with 4 + 4 runs") == 2
    assert "the smallest possible p is 0.057 after Holm" in text
    assert "is better**" in text_of(runs[:8])


def test_six_pairs_may_suffice_beside_a_clearer_model():
    """Holm does not multiply by two the larger of two p values."""
    runs = [
        run
        for model, n in (("resnet50", 8), ("vit_b16", 6))
        for run in made_runs("lion", HIGH[:n], model=model)
        + made_runs("adamw", LOW[:n], model=model)
    ]
    text = text_of(runs)
    assert "**ViT-B/16, Lion is better** (difference" in text
    assert "p = 0.031 after Holm, sign flips, exact, n = 6 pairs" in text


def test_json_is_strict_and_holds_every_value():
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    runs[0] = made_run("lion", 0, 0.9, diverged=True)

    def refuse(name):
        raise AssertionError(name)

    text = exports.texts(analyse([*runs, *GRID]))["report.json"]
    found = json.loads(text, parse_constant=refuse)
    lion, adamw = found["configurations"]
    values = adamw["measures"]["test_accuracy"]["values"]
    assert values == pytest.approx(list(100 * LOW))
    assert lion["measures"]["last_test_accuracy"]["values"][0] is None
    assert lion["measures"]["last_test_accuracy"]["failed"] == 1
    assert found["options"]["primary"] == "test_accuracy"
    assert found["targets"]["resnet50"]["named"] is False
    first = found["comparisons"][0]
    assert first["primary"] is True
    assert (first["first"], first["second"]) == ("resnet50_lion", "resnet50_adamw")
    assert first["seeds"] == [*range(8)]
    assert len(first["differences"]) == first["n_pairs"] == 8
    (sweep,) = found["sweeps"]
    assert sweep["trials"][0]["values"]["optimizer.learning_rate"] == 3e-4
    assert set(found) == {
        *("format", "options", "targets", "configurations", "comparisons"),
        *("sweeps", "warnings"),
    }


def test_an_option_without_bounds_is_null_in_json():
    optimizer = made_run().config["optimizer"] | {"options": {"b1": math.inf}}
    runs = made_runs("lion", [0.8, 0.9], config={"optimizer": optimizer})
    found = json.loads(exports.texts(analyse(runs))["report.json"])
    (configuration,) = found["configurations"]
    assert configuration["config"]["optimizer"]["options"] == {"b1": None}


def test_csv_has_a_row_per_comparison_with_stable_columns():
    analysis = analyse(made_runs("lion", HIGH) + made_runs("adamw", LOW))
    text = exports.texts(analysis)["comparisons.csv"]
    found = [*csv.DictReader(io.StringIO(text))]
    assert [row["measure"] for row in found] == list(measures.NAMES)
    assert tuple(found[0]) == exports.COLUMNS
    assert float(found[0]["p"]) == 2 / 2**8
    assert float(found[0]["difference"]) == pytest.approx(100 * np.mean(HIGH - LOW))


def test_latex_is_a_table_whose_special_characters_are_escaped():
    analysis = analyse(made_runs("lion", HIGH) + made_runs("adamw", LOW))
    text = exports.texts(analysis)["comparisons.tex"]
    lines = text.splitlines()
    assert lines[1].startswith(r"\begin{tabular}{lllrrrlrr}")
    cells = [line.split(" & ") for line in lines if line.startswith("ResNet-50 & ")]
    assert len(cells) == len(measures.NAMES)
    assert {len(row) for row in cells} == {9}
    assert cells[0][:4] == [
        *("ResNet-50", "Lion / AdamW", r"test accuracy, best validation, \%", "8")
    ]
    assert exports.escape("a_b & 5% <~\\") == (
        r"a\_b \& 5\% $<$\textasciitilde{}\textbackslash{}"
    )


BROWSERS = [*filter(None, map(shutil.which, ("chromium", "google-chrome")))]


@pytest.mark.slow
def test_html_needs_nothing_else_and_opens_in_a_browser(tmp_path):
    """Where Chromium is installed, it draws the page, without any network."""
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW) + GRID
    odd = "<script>document.title='broken'</script>"
    runs[0].environment["commit"] = odd
    reports.write(runs, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert page.count('src="data:image/svg+xml;base64,') == page.count("<img") == 4
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)
    for browser in BROWSERS[:1]:
        (tmp_path / "alone").mkdir()
        shutil.copy(tmp_path / "report.html", tmp_path / "alone")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu"]
        command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
        ran = subprocess.run(
            [*command, (tmp_path / "alone" / "report.html").as_uri()],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert ran.returncode == 0, ran.stderr
        assert "<title>Comparison of runs</title>" in ran.stdout
        assert ran.stdout.count("<table>") == page.count("<table>") > 5
        assert "&lt;script&gt;" in ran.stdout


def test_records_of_one_label_are_of_one_configuration(tmp_path):
    records.write(made_run("lion", 0), tmp_path)
    records.write(made_run("lion", 1, config={"epochs": 3}), tmp_path)
    said = r"than seed 0: epochs \(100 there, 3 asked for\)"
    with pytest.raises(records.RecordError, match=said):
        records.read_all(tmp_path)


def test_a_copy_of_a_record_is_refused_naming_both_files(tmp_path):
    """A copied folder once turned p = 0.056 into p = 0.0075."""
    records.write(made_run("lion", 0), tmp_path)
    own = records.path_of(tmp_path, "resnet50_lion", 0)
    copy = own.parent.with_name("resnet50_lion (copy)")
    shutil.copytree(own.parent, copy)
    with pytest.raises(records.RecordError) as refused:
        records.read_all(tmp_path)
    said = str(refused.value)
    assert str(own) in said
    assert str(copy / "seed_0.json") in said
    assert f"move {copy / 'seed_0.json'} out of records/" in said
    shutil.move(copy, tmp_path / "elsewhere")  # the remedy
    assert len(records.read_all(tmp_path)) == 1
    shutil.copy(own, own.with_name("seed_0 (1).json"))
    with pytest.raises(records.RecordError, match="would count twice"):
        records.read_all(tmp_path)


def test_a_record_at_another_place_is_refused_with_its_own(tmp_path):
    records.write(made_run("lion", 0), tmp_path)
    own = records.path_of(tmp_path, "resnet50_lion", 0)
    own.rename(own.with_name("seed_3.json"))
    with pytest.raises(records.RecordError, match=r"seed_3.*whose place is .*seed_0"):
        records.read_all(tmp_path)
    own.with_name("seed_3.json").rename(own)  # the remedy
    assert len(records.read_all(tmp_path)) == 1


def test_a_record_of_a_newer_format_is_not_to_be_removed(tmp_path):
    records.write(made_run(), tmp_path)
    path = records.path_of(tmp_path, "resnet50_lion", 0)
    path.write_text(path.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(
        records.RecordError, match=r"newer lion_jax.*upgrade"
    ) as refused:
        records.read_all(tmp_path)
    assert "remove" not in str(refused.value)


def test_a_record_with_a_later_field_is_not_to_be_removed(tmp_path):
    run = made_run()
    run.config["optimizer"]["of_tomorrow"] = 1
    records.write(run, tmp_path)
    with pytest.raises(
        records.RecordError, match=r"seed_0.json: .*'optimizer.of_tomorrow'.*upgrade"
    ) as refused:
        records.read_all(tmp_path)
    assert "move" not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("result.test_accuracy", math.nan, "its test_accuracy is nan"),
        ("result.test_accuracy", "0.8", "its test_accuracy is '0.8'"),
        ("result.test_loss", True, "its test_loss is True"),
        ("result.images_per_second", None, "its images_per_second is None"),
        ("result.test_accuracy", 85.0, "its test_accuracy is 85.0, which is no share"),
        ("result.last_test_accuracy", None, "is None, but it did not diverge"),
        ("result.stop_reason", 1, "its stop_reason is 1, not one of epochs, early"),
        ("result.stop_reason", "tired", "its stop_reason is 'tired', not one of"),
        ("result.seed", 5, "its seed is 0, but its result.seed 5"),
        ("result.seed", False, "its seed is 0, but its result.seed False"),
        ("config.seed", 5, "its seed is 0, but its config.seed 5"),
        ("config.references", 5, "its config.references is 5"),
        ("config.references", {"model.name": 5}, "is {'model.name': 5}"),
        ("config.references", {"model.name": {"sha256": 5}}, "is {'model.name': {"),
        ("config.references", {"model.name": {"package": "a"}}, "is {'model.name': {"),
        ("epochs.1.epoch", 3, "its epoch 2 is 3"),
        ("epochs.1.parameters_finite", "no", "its parameters_finite is 'no'"),
        ("memory.parameters", 0, "its model has no parameters"),
        ("memory.parameters", 10**400, "too large"),
        ("memory.step", "x", "its step is 'x'"),
        ("memory.step", -1, "its step is -1, which is below 0"),
        ("memory", None, "its memory is None, which is no group"),
        ("environment", None, "its environment is None, which is no group"),
        ("environment", [], "its environment is [], which is no group"),
        ("swept", None, "its swept is None, which is no group"),
        ("label", 5, "its label is 5, which is no text"),
        ("seed", "0", "its seed is '0', which is no whole number"),
        ("seed", 0.0, "its seed is 0.0, which is no whole number"),
        ("seed", False, "its seed is False, which is no whole number"),
        ("seed", 2**32, f"its seed is {2**32}, which is no whole number below"),
        ("format", "2", "its format is '2', not 1"),
        ("memory.optimizer_state", "1", "its optimizer_state is '1'"),
        ("config.name", "other", "its label is resnet50_lion, its configuration other"),
        ("swept.optimizer.b1", 0.9, "its label is resnet50_lion, but it swept"),
    ],
)
def test_a_record_whose_value_is_none_is_refused(tmp_path, path, value, rule):
    values = json.loads(json.dumps(dataclasses.asdict(made_run())))
    *groups, name = path.split(".", 1) if path[:6] != "epochs" else path.split(".")
    holder = values
    for group in groups:
        holder = holder[int(group) if group.isdecimal() else group]
    holder[name] = value
    file = records.path_of(tmp_path, "resnet50_lion", 0)
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(values))
    said = f"{re.escape(rule)}.*move it out of records/"
    with pytest.raises(records.RecordError, match=said):
        records.read(file)


def test_a_run_that_diverged_and_a_trial_have_no_figures_of_the_test_set(tmp_path):
    none = dict.fromkeys(("test_accuracy", "test_loss"))
    none |= dict.fromkeys(("last_test_accuracy", "last_test_loss"))
    diverged = changed_result(made_run(diverged=True), **none)
    trial = changed_result(swept_run("lion", 1e-4, 1.0, 0.8), **none)
    for run in diverged, trial:
        records.write(run, tmp_path)
    assert len(records.read_all(tmp_path)) == 2


@pytest.mark.parametrize("name", ["val_accuracy", "seconds", "train_loss"])
def test_an_epoch_whose_number_is_none_is_refused(tmp_path, name):
    run = made_run()
    run.epochs[1] = dataclasses.replace(run.epochs[1], **{name: math.inf})
    records.write(run, tmp_path)
    with pytest.raises(records.RecordError, match=f"its {name} is inf"):
        records.read_all(tmp_path)


def test_a_record_without_a_later_field_has_its_default(tmp_path):
    run = made_run()
    del run.config["model"]["drop_path"], run.config["accumulate"]
    records.write(run, tmp_path)
    assert records.read_all(tmp_path) == [made_run()]


def test_a_label_is_no_path(tmp_path):
    run = made_run("lion", swept={"data.data_dir": "../../x"})
    records.write(run, tmp_path)
    assert records.read_all(tmp_path) == [run]
    assert [path.name for path in tmp_path.iterdir()] == [records.FOLDER]


@pytest.mark.slow
def test_somebodys_pyplot_is_left_alone(tmp_path):
    import matplotlib.pyplot as plt

    before = plt.get_backend(), plt.get_fignums()
    reports.write(made_runs("lion", HIGH) + made_runs("adamw", LOW), tmp_path)
    epochs = made_run().epochs
    # The best epoch is that of the result: finite in its parameters too.
    epochs[-1] = dataclasses.replace(epochs[-1], parameters_finite=False)
    curves.plot(tmp_path, epochs, "a run")
    assert "best: epoch 2" in (tmp_path / "curves.svg").read_text()
    assert (plt.get_backend(), plt.get_fignums()) == before


DAMAGE = {
    '"format": 1': '"format": 0',
    '"stop_reason"': '"stopped"',
    '"val_loss"': '"loss"',
    '"optimizer_state"': '"state"',
    '"weight_decay": 1.0': '"weight_decay": -1.0',
}


@pytest.mark.slow
def test_records_come_back_and_damage_is_reported(tmp_path):
    run = made_run()
    records.write(run, tmp_path)
    path = records.path_of(tmp_path, run.label, 0)
    assert records.read(path) == run
    whole = path.read_text()
    without = json.loads(whole)
    without["epochs"] = []
    for text in (
        *(whole[:-20], "[]", "{}", json.dumps(without)),
        *(whole.replace(a, b) for a, b in DAMAGE.items()),
    ):
        assert text != whole
        path.write_text(text)
        with pytest.raises(records.RecordError, match=re.escape(str(path))):
            records.read_all(tmp_path)
    with pytest.raises(records.RecordError, match="holds no records"):
        records.read_all(tmp_path / "none")
