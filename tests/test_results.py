"""Every number that the repository names follows from the records beside it."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

from lion_jax import cli
from lion_jax.compare import exports, html, records, reports, requested, titles, tuning
from lion_jax.compare.analysis import Options, analyse
from lion_jax.compare.measures import test_measures as measures_of_the_test_set

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path.parent for path in (ROOT / "results").rglob(records.FOLDER))
CONFIGS = sorted((ROOT / "configs").glob("*.py"))
BESIDE = sorted((ROOT / "results" / "vote").glob("*.py"))
NUMBERS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
NUMBERS += ["ten", "eleven", "twelve"]
EXPECTED = re.compile(
    r"Expected: ([\d.]+) % test accuracy, mean of n = (\d+) seeds, standard deviation"
    r" ([\d.]+) \(commit ([0-9a-f]+),[^)]*\); the records are in (results/\S+)\."
)
BEST = re.compile(r"are the best of (\w+) trials on validation")


def words(text):
    """A text in one line, as it is read."""
    return " ".join(text.split())


def read(folder):
    """All numbers of a folder's records, with the options of its report."""
    options = json.loads((folder / "report.json").read_text())["options"]
    asked = requested.runs(requested.read_all(folder))
    return analyse(records.read_all(folder), Options(**options, asked=asked))


def close(found, expected):
    """Whether a tree of JSON holds another, but for rounding in the last places."""
    if isinstance(expected, dict):
        return found.keys() >= expected.keys() and all(
            close(found[name], value) for name, value in expected.items()
        )
    if isinstance(expected, list):
        same = len(found) == len(expected)
        return same and all(map(close, found, expected))
    if isinstance(expected, float):
        return found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    return found == expected


def without_common_settings(text):
    """A report without the list to which each new field of a configuration adds.

    The table of the settings that differ, to which none adds, is held.
    """
    before, _, rest = text.partition("Settings of all:\n\n")
    return before, rest.partition("\n\n")[2]


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_every_report_is_that_of_its_records(folder):
    analysis = read(folder)
    stored = json.loads((folder / "report.json").read_text())
    assert close(json.loads(json.dumps(exports.report(analysis))), stored)
    text = (folder / reports.REPORT).read_text()
    made = reports.markdown_of(analysis)
    assert without_common_settings(text) == without_common_settings(made)
    assert (folder / "report.html").read_text() == html.page(text, folder)
    for name in ("comparisons.csv", "comparisons.tex"):
        assert (folder / name).read_text() == exports.texts(analysis)[name]


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_no_warning_of_a_report_is_hidden_by_the_text(folder):
    pages = [ROOT / "README.md", *(ROOT / "results").rglob("README.md")]
    text = words(" ".join(page.read_text() for page in pages))
    for warning in read(folder).warnings:
        assert warning.strip("*") in text


def check_expected(config, text, folders):
    """Holds the expected result in a file's docstring to the records that it names."""
    mean, n, sd, commit, folder = EXPECTED.search(text).groups()
    runs = [run for run in folders[folder].final if run.label == config.name]
    values = measures_of_the_test_set()[0].of(runs)
    assert len(runs) == int(n)
    assert f"{np.mean(values):.1f}" == mean
    assert f"{np.std(values, ddof=1):.1f}" == sd
    assert {run.environment["commit"] for run in runs} == {commit}
    for run in runs:
        assert not records.differences(run.config, dataclasses.asdict(config))


def check_best(config, text, folders):
    """Holds the statement that a file has its sweep's best trial to that sweep."""
    found = [
        sweep
        for analysis in folders.values()
        for sweep in analysis.sweeps
        if sweep.name == config.name
    ]
    (sweep,) = found
    flat = records.flat(dataclasses.asdict(config))
    assert {field: flat[field] for field in sweep.trials[0].values} == (
        sweep.trials[0].values
    )
    assert len(sweep.trials) == NUMBERS.index(BEST.search(text)[1]) + 1


def problems(config, text, folders):
    """What a file's docstring names that is not in the records, as an exception."""
    if "the best of" in text:
        check_best(config, text, folders)
    measured = not re.search(r"not yet measured|to be measured", text)
    if measured and "seed 0 alone" not in text:
        check_expected(config, text, folders)


@pytest.fixture(scope="module")
def folders():
    return {path.relative_to(ROOT).as_posix(): read(path) for path in FOLDERS}


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_expected_result_and_best_trial_is_that_of_the_records(path, folders):
    config = cli.load_config(str(path))
    problems(config, words(path.read_text().split('"""')[1]), folders)


@pytest.mark.slow
@pytest.mark.parametrize("path", BESIDE, ids=lambda path: path.stem)
def test_a_configuration_beside_records_is_that_of_its_runs(path, folders):
    config = cli.load_config(str(path))
    analysis = folders[path.parent.relative_to(ROOT).as_posix()]
    runs = [run for run in analysis.final if run.label == config.name]
    assert runs
    for run in runs:
        assert not records.differences(run.config, dataclasses.asdict(config))
    text = path.with_name("exact.py").read_text()
    check_best(config, words(text.split('"""')[1]), folders)


def test_a_file_that_names_another_result_or_trial_is_found(folders):
    """The fault of version 0.1, put back: decay 0.3 in place of the best trial's."""
    vit = ROOT / "configs" / "sample_vit_ti8_adamw.py"
    config, text = cli.load_config(str(vit)), words(vit.read_text().split('"""')[1])
    config.optimizer.weight_decay = 0.3
    with pytest.raises(AssertionError):
        check_best(config, text, folders)
    resnet = ROOT / "configs" / "sample_resnet50_lion.py"
    config, text = cli.load_config(str(resnet)), words(resnet.read_text())
    check_expected(config, text, folders)
    with pytest.raises(AssertionError):
        check_expected(config, text.replace("deviation 0.9", "deviation 0.8"), folders)
    config.epochs = 7
    with pytest.raises(AssertionError):
        check_expected(config, text, folders)


def test_the_report_warns_of_the_fault_of_version_0_1(folders):
    """Final runs of AdamW with decay 0.3, which was not the best of its trials."""
    runs = folders["results/sample"].runs
    swept = [run for run in runs if run.swept]
    (other,) = [
        run
        for run in swept
        if run.config["name"] == "sample_vit_ti8_adamw"
        and run.swept
        == {"optimizer.learning_rate": 1e-3, "optimizer.weight_decay": 0.3}
    ]
    final = dataclasses.replace(other, swept={}, seed=0)
    (sweep,) = [
        s
        for s in tuning.sweeps(swept, [final], titles.of_configurations(swept))
        if s.used is not None
    ]
    assert sweep.warnings == [
        "**ViT-Ti/8, AdamW: the final runs did not use the best trial: learning rate"
        " 0.001, decay 0.3 reached 69.20 % on validation, learning rate 0.001, decay"
        " 0.03 71.40 %.**"
    ]


def test_the_quick_starts_expected_result_is_its_record():
    text = words((ROOT / "configs" / "quickstart.py").read_text())
    accuracy, commit = re.search(
        r"Expected: ([\d.]+) % test accuracy \(seed 0 alone, n = 1; commit (\w+),", text
    ).groups()
    folder = ROOT / "results" / "quickstart"
    result = json.loads((folder / "result.json").read_text())
    environment = json.loads((folder / "environment.json").read_text())
    assert f"{100 * result['test_accuracy']:.1f}" == accuracy
    assert environment["commit"] == commit
