"""Reports of made-up records: what is compared, what is said, what is drawn."""

import dataclasses
import json
import math
import re

import numpy as np
import pytest

from lion_jax.compare import comparison, figures, markdown, records, report, stats
from lion_jax.compare.records import Record
from lion_jax.config import Config
from lion_jax.training import curves
from lion_jax.training.history import Epoch

RNG = np.random.default_rng(0)


def made_run(optimizer="lion", seed=0, accuracy=0.8, *, model="resnet50", **changes):
    """A record of a run of three epochs."""
    config = Config(name=f"{model}_{optimizer}", seed=seed)
    config.optimizer.name, config.model.name = optimizer, model
    resolved = dataclasses.asdict(config) | changes.pop("config", {})
    diverged = changes.pop("diverged", False)
    epochs = [
        {
            "epoch": epoch,
            "step": 10 * epoch,
            "train_loss": 1.0 / epoch,
            "train_accuracy": accuracy,
            "val_loss": 2.0 / epoch,
            "val_accuracy": accuracy - 0.1 * (3 - epoch),
            "parameters_finite": True,
            "learning_rate": 1e-3,
            "images_per_second": 100.0,
            "seconds": 5.0,
        }
        for epoch in (1, 2, 3)
    ]
    result = {
        "diverged": None,
        "stop_reason": "diverged" if diverged else "epochs",
        "val_accuracy": accuracy,
        "test_accuracy": accuracy,
        "test_loss": 1 - accuracy,
        "last_test_accuracy": None if diverged else accuracy - 0.01,
        "last_test_loss": None if diverged else 1.1 - accuracy,
        "images_per_second": 100.0,
    }
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


def made_runs(optimizer, accuracies, **changes):
    return [
        made_run(optimizer, seed, accuracy, **changes)
        for seed, accuracy in enumerate(accuracies)
    ]


LOW, HIGH = RNG.normal(0.80, 0.01, 8), RNG.normal(0.90, 0.01, 8)


def written(runs, folder, **options):
    report.write(runs, folder, **options)
    return (folder / report.REPORT).read_text()


def rows(text, start):
    """The cells of the table rows that start with some text."""
    lines = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_main_table_says_what_the_statistics_say(tmp_path):
    text = written(made_runs("lion", HIGH) + made_runs("adamw", LOW), tmp_path)
    row = rows(text, "resnet50_lion / resnet50_adamw")[0]
    a, b = 100 * HIGH, 100 * LOW
    test = stats.mann_whitney(a, b)
    assert row[1] == "test accuracy, best validation, %"
    assert row[2] == "8 / 8"
    summary = stats.summarize(a)
    assert row[3].startswith(
        f"{summary.median:.4g} [{summary.lower_quartile:.4g},"
        f" {summary.upper_quartile:.4g}] / "
    )
    assert row[4].startswith(f"{summary.mean:.4g}, {summary.sd:.2g} / ")
    difference = stats.difference(a, b)
    assert row[5] == "{:.3g} [{:.3g}, {:.3g}]".format(*difference)
    assert row[6] == f"{test.u:g}, exact"
    assert row[7] == markdown.p_value(test.p)
    assert row[9] == "{:.2g} [{:.2g}, {:.2g}]".format(*stats.a12(a, b))
    assert "**resnet50_lion is better**" in text


def test_loss_and_time_are_better_when_lower():
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    groups = comparison.groups(runs)
    for measure in (*comparison.test_measures(), *comparison.speeds({"resnet50": 0.6})):
        (found,) = comparison.compare(groups, measure)
        assert found.a == "resnet50_lion"
        assert found.a12.estimate > 0.5, measure.title


def test_p_is_adjusted_over_the_comparisons_of_a_measure():
    models = ("resnet50", "vit_b16", "vit_ti8")
    runs = [
        run
        for model, shift in zip(models, (0, 0.005, 0.01), strict=True)
        for run in made_runs("lion", LOW + shift, model=model)
        + made_runs("adamw", LOW[::-1] + 0.001, model=model)
    ]
    found = comparison.compare(comparison.groups(runs), comparison.test_measures()[0])
    assert len(found) == 3
    assert [c.p_holm for c in found] == stats.holm([c.test.p for c in found])


def test_too_few_runs_are_said_to_be_no_answer(tmp_path):
    text = written(made_runs("lion", HIGH[:3]) + made_runs("adamw", LOW[:3]), tmp_path)
    assert "**no answer**. 3 and 3 runs cannot show a difference at 5%" in text
    assert "the smallest p possible is 0.1" in text
    assert "is better**" not in text


def test_no_difference_is_said(tmp_path):
    text = written(made_runs("lion", LOW) + made_runs("adamw", LOW + 1e-4), tmp_path)
    assert "**no difference shown**" in text
    assert "is better**" not in text


def test_siblings_that_are_none_are_not_compared(tmp_path):
    other = made_runs("adamw", LOW, config={"batch_size": 128})
    text = written(made_runs("lion", HIGH) + other, tmp_path)
    assert "resnet50_adamw and resnet50_lion are not compared" in text
    assert "they differ in batch_size (128 and 64)" in text
    assert not rows(text, "resnet50_lion / ")
    assert rows(text, "resnet50_lion | test accuracy")


def test_other_seeds_are_told(tmp_path):
    text = written(made_runs("lion", HIGH) + made_runs("adamw", LOW[:7]), tmp_path)
    assert "The seeds of resnet50_lion, resnet50_adamw are not the same" in text


def test_a_diverged_run_counts_as_the_worst():
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    runs[0] = made_run("lion", 0, 0.99, diverged=True)
    groups = comparison.groups(runs)
    _, at_end, *_ = (
        comparison.compare(groups, m)[0] for m in comparison.test_measures()
    )
    assert at_end.summaries[0].n == 8
    assert at_end.test.u == 7 * 8  # seven beat all eight, the diverged one none
    assert math.isnan(at_end.difference.estimate)


def test_diverged_runs_are_counted_in_the_report(tmp_path):
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    runs[0] = made_run("lion", 0, 0.9, diverged=True)
    text = written(runs, tmp_path)
    assert rows(text, "resnet50_lion / ")[1][4].startswith("failed, - /")
    assert rows(text, "resnet50 | resnet50_lion")[0][-2:] == ["8", "1"]
    assert rows(text, "resnet50 | resnet50_adamw")[0][-2:] == ["8", "0"]


def test_time_to_a_target_by_hand_with_misses(tmp_path):
    runs = made_runs("lion", [0.9, 0.9, 0.9, 0.7, 0.7])
    epochs, seconds = comparison.speeds({"resnet50": 0.8})
    assert list(epochs.of(runs)) == [2, 2, 2, math.inf, math.inf]
    assert list(seconds.of(runs)) == [10, 10, 10, math.inf, math.inf]
    text = written(runs + made_runs("adamw", [0.6] * 5), tmp_path, target=0.8)
    row = rows(text, "resnet50_lion | 3 of 5")[0]
    assert row[2:4] == ["2 [2, never]", "10 [10, never]"]
    assert rows(text, "resnet50_adamw | 0 of 5")[0][2] == "never [never, never]"


def test_the_default_target_is_what_half_of_the_worst_reach():
    groups = comparison.groups(
        made_runs("lion", [0.9, 0.9, 0.9]) + made_runs("adamw", [0.7, 0.789, 0.8])
    )
    assert comparison.default_targets(groups) == {"resnet50": 0.78}
    two = groups + comparison.groups(made_runs("lion", [0.5], model="vit_b16"))
    assert comparison.default_targets(two) == {"resnet50": 0.78, "vit_b16": 0.5}


def test_memory_and_speed_stand_beside(tmp_path):
    text = written(made_runs("lion", HIGH) + made_runs("adamw", LOW), tmp_path)
    assert rows(text, "resnet50_lion | 8 of 8")[0][4:] == ["100", "1.00", "1"]


def swept_run(optimizer, rate, decay, accuracy):
    swept = {"optimizer.learning_rate": rate, "optimizer.weight_decay": decay}
    return made_run(optimizer, 100, accuracy, swept=swept)


def test_a_sweep_is_ranked_by_validation_with_its_budget(tmp_path):
    runs = [
        swept_run("lion", 1e-4, 1.0, 0.80),
        swept_run("lion", 3e-4, 1.0, 0.85),
        swept_run("adamw", 1e-3, 0.1, 0.70),
        swept_run("adamw", 3e-3, 0.1, 0.75),
    ]
    text = written(runs, tmp_path)
    assert "resnet50_lion: 2 trials" in text
    assert "(equal budgets, in runs and seeds)" in text
    best = rows(text, "resnet50_lion")[0]
    assert best[1] == "optimizer.learning_rate=0.0003, optimizer.weight_decay=1"
    assert best[3] == "85"
    assert (tmp_path / "sensitivity.png").read_bytes().startswith(b"\x89PNG")
    assert "## Results" not in text
    assert "(**not equal** budgets" in written(runs[:3], tmp_path)
    again = dataclasses.replace(runs[0], seed=101)
    assert "(**not equal** budgets" in written([*runs, again], tmp_path)
    vit = made_run("lion", 100, swept={"optimizer.b1": 0.9}, model="vit_b16")
    text = written([*runs, vit], tmp_path)  # another network has its own budget
    assert text.count("(equal budgets") == 2


def test_a_trial_that_diverged_at_once_counts_as_nothing(tmp_path):
    failed = swept_run("lion", 1.0, 1.0, 0.5)
    failed.result.update(val_accuracy=None, stop_reason="diverged")
    text = written([failed, swept_run("lion", 3e-4, 1.0, 0.85)], tmp_path)
    assert rows(text, " | optimizer.learning_rate=1,")[0][3:] == ["0", "1"]


def test_the_same_records_make_the_same_report_and_pictures(tmp_path):
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    for run in runs:
        records.write(run, tmp_path)
    read = records.read_all(tmp_path)
    paths = report.write(read, tmp_path)
    first = [path.read_bytes() for path in paths]
    assert [path.name for path in paths] == [
        *("report.md", "runs.png", "curves.png", "time.png")
    ]
    assert report.write(read[::-1], tmp_path) == paths
    assert [path.read_bytes() for path in paths] == first
    text = paths[0].read_text()
    for path in paths[1:]:
        assert f"]({path.name})" in text


def test_an_epoch_without_a_finite_loss_is_a_gap_in_the_curves(tmp_path):
    runs = made_runs("lion", HIGH[:2])
    runs[0].epochs[-1]["val_loss"] = None
    middle = figures._quartiles(runs, "val_accuracy")[2]
    assert middle[-1] == pytest.approx(HIGH[1])  # of the other run alone
    runs[1].epochs[-1]["parameters_finite"] = False
    middle = figures._quartiles(runs, "val_loss")[2]
    assert list(np.isnan(middle)) == [False, False, True]
    written(runs, tmp_path)


def test_a_diverged_epoch_reaches_nothing():
    """The arg max of NaN is a class, so a tenth of the images is still right."""
    runs = made_runs("lion", [0.9, 0.9, 0.9])
    for run in runs[:2]:
        for row in run.epochs:
            row["val_loss"], row["val_accuracy"] = None, 0.95
    epochs, seconds = comparison.speeds({"resnet50": 0.8})
    assert list(epochs.of(runs)) == [math.inf, math.inf, 2]
    assert list(seconds.of(runs)) == [math.inf, math.inf, 10]
    assert comparison.default_targets(comparison.groups(runs)) == {"resnet50": 0}


def test_a_configuration_without_a_sibling_is_reported_alone(tmp_path):
    runs = made_runs("lion", HIGH) + made_runs("adamw", LOW)
    text = written(runs + made_runs("lion", LOW, model="vit_b16"), tmp_path)
    assert rows(text, "resnet50_lion / resnet50_adamw")
    assert rows(text, "vit_b16_lion | test accuracy, best validation, %")


def test_siblings_share_their_schedule():
    lion, adamw = made_runs("lion", HIGH), made_runs("adamw", LOW)
    for run in adamw:
        run.config["optimizer"]["schedule"] = "cosine"
        run.config["data"]["cache_dir"] = "/elsewhere"  # no matter
    first, second = comparison.groups(lion + adamw)
    different = ["optimizer.schedule (cosine and constant)"]
    assert comparison.unequal(first, second) == different


def test_four_seeds_of_two_networks_are_no_answer_after_holm(tmp_path):
    runs = [
        run
        for model in ("resnet50", "vit_b16")
        for run in made_runs("lion", HIGH[:4], model=model)
        + made_runs("adamw", LOW[:4], model=model)
    ]
    text = written(runs, tmp_path)
    assert text.count("**no answer**. 4 and 4 runs") == 4
    assert "the smallest p possible is 0.057 after Holm" in text
    assert "is better**" in written(runs[:8], tmp_path)


def test_records_of_one_label_are_of_one_configuration(tmp_path):
    records.write(made_run("lion", 0), tmp_path)
    records.write(made_run("lion", 1, config={"epochs": 3}), tmp_path)
    said = r"than seed 0: epochs \(100 there, 3 asked for\)"
    with pytest.raises(records.RecordError, match=said):
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


def test_somebodys_pyplot_is_left_alone(tmp_path):
    import matplotlib.pyplot as plt

    before = plt.get_backend(), plt.get_fignums()
    written(made_runs("lion", HIGH) + made_runs("adamw", LOW), tmp_path)
    curves.plot(tmp_path, [Epoch.from_dict(x) for x in made_run().epochs], "a run")
    assert (plt.get_backend(), plt.get_fignums()) == before


DAMAGE = {
    '"format": 1': '"format": 9',
    '"stop_reason"': '"stopped"',
    '"val_loss"': '"loss"',
    '"optimizer_state"': '"state"',
    '"weight_decay": 1.0': '"weight_decay": -1.0',
}


def test_records_come_back_and_damage_is_told(tmp_path):
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
