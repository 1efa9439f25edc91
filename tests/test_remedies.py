"""Every remedy that a message names is followed, and leads out.

Messages are the texts of the package with an imperative of `VERBS` after their last
semicolon.
Each has a row in `ROWS` or names a test in `ELSEWHERE`; one without fails a test.
"""

import ast
import dataclasses
import functools
import importlib.machinery
import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy
from PIL import Image
from small_runs import small_config

import lion_jax
from lion_jax import __main__ as package
from lion_jax import config as configs
from lion_jax import data, evaluate, export, identity, predict, runtime, train
from lion_jax.compare import __main__ as compare
from lion_jax.compare import (
    analysis,
    api,
    campaign,
    given,
    measures,
    records,
    requested,
    shards,
    targets,
    unfinished,
)
from lion_jax.config import About, checks, values
from lion_jax.data import __main__ as prepare
from lion_jax.data import debian, idx, tfds_reading, tfds_source
from lion_jax.training import (
    checkpoint,
    pretrained,
    restored,
    run_folder,
    sharding,
    task,
)
from lion_jax.training.optimizers import frozen
from lion_jax.training.signature import Signature
from lion_jax.training.state import TrainState
from lion_jax.training.trackers import Reporter

ROOT = Path(__file__).parents[1]
OLD = ROOT / "tests" / "data" / "version_0_1"
VERBS = (
    *("begin", "choose", "chmod", "copy", "delete", "free", "give", "install"),
    *("leave", "make", "move", "name", "prepare", "remove", "rerun", "restore"),
    *("run", "set", "train", "unset", "upgrade", "use", "wait"),
)
ANY_VERB = re.compile(rf"\b({'|'.join(VERBS)})\b")
# As the first word of a clause it is an imperative.
ADVICE = re.compile(rf"(?:^|, |: |\] |\b(?:or|and|must) )({'|'.join(VERBS)})\b")
Step = Callable[[], object]
Row = Callable[[Path, pytest.MonkeyPatch], Iterator[tuple[str, Step]]]
ROWS: dict[str, Row] = {}
ARRAYS = "test_arrays_that_are_none_are_refused_and_the_remedies_work"
FILES = "test_names_that_are_none_and_files_that_are_none"
LAYOUTS = "test_layouts_that_are_none_are_refused_and_the_remedies_work"
TESTS = "test_test_splits_that_are_none_are_refused_and_the_remedies_work"
# Of remedies that other tests follow: words of the message, and the test.
PLACES = "test_a_place_that_is_half_known_is_refused_and_the_remedies_work"
TOGETHER = "test_several_processes_make_the_run_of_one"
ELSEWHERE = {
    **dict.fromkeys(
        (
            "but it must be HOST:PORT of process 0, a port of 1 to 65535; give",
            "processes needs another, 0 to {}; give --process 0",
            "but it must be a number; unset it, or set",
        ),
        PLACES,
    ),
    **dict.fromkeys(
        (
            "give a --workdir on a disk that all processes share",
            "does not answer there within {} s ({}); start it, or give",
            "was started twice; give each another --process",
            "cannot listen there ({}); give another port",
            "give all the same data",
            "install the same everywhere",
        ),
        TOGETHER,
    ),
    "of with_ema; give that of an optimizer": "test_what_is_wrong_is_refused",
    "the memory of a device does not suffice": (
        "test_memory_that_does_not_suffice_is_reported_in_one_line"
    ),
    "{}; set --config.data.data_dir= (empty)": (
        "test_a_folder_for_data_that_are_elsewhere_is_refused"
    ),
    "--config.data.placement=host, or device, for all": (
        "test_data_that_differ_in_one_value_are_others"
    ),
    "note: {}; give another --workdir.": (
        "test_what_a_finished_run_does_not_do_any_more_is_said"
    ),
    "all of which are used; leave --config.devices at 0": (
        "test_several_processes_use_all_their_devices"
    ),
    "set --config.{}={}, for instance": (
        "test_every_default_is_the_remedy_that_its_refusal_names"
    ),
    "so it cannot go on; leave epochs and patience": (
        "test_a_finished_run_without_its_checkpoints_cannot_go_on"
    ),
    "which={}, but it must be one of {}; leave it out": (
        "test_a_state_that_is_neither_best_nor_latest_is_refused"
    ),
    "; free space or make the folder writable": (
        "test_a_full_disk_ends_the_run_and_space_lets_it_go_on"
    ),
    "the first checkpoint was saved, but": (
        "test_a_first_checkpoint_that_cannot_be_read_back_ends_the_run"
    ),
    "called kernel; call its matrices so, or set": (
        "test_a_decay_of_kernels_needs_a_parameter_of_that_name"
    ),
    "restart Python or reload the module, or name its file": (
        "test_a_module_that_has_changed_since_its_import_is_refused"
    ),
    "is lost (its checkpoint was": "test_a_lost_best_state_is_not_replaced_by_another",
    **dict.fromkeys(
        ("give one image as x[None]", "make the model for", "give at least one image"),
        "test_images_that_a_model_was_not_made_for_are_refused",
    ),
    **dict.fromkeys(
        (
            "are both called {}; give one of them another name",
            "trials mirror one of them; leave the other out",
            "are too many for one span; set a smaller --trials",
        ),
        "test_a_grid_is_around_what_the_files_have",
    ),
    **dict.fromkeys(
        ("give to_optax(state of lion, like=", "for {}; give what its init makes"),
        "test_a_run_of_optax_lion_continues_and_returns",
    ),
    "calls a type as a schedule, give its name": (
        "test_an_injected_momentums_dtype_is_given_by_its_name"
    ),
    "numbers; give key=jax.random.key(step)": "test_dropping_layers_needs_a_key",
    "no installed font has {}; install one": (
        "test_names_are_drawn_in_a_font_that_has_them"
    ),
    "use one of these, such as Linux": "test_another_system_is_refused_in_one_line",
    "run python -m pip install 'lion-jax[train]'": (
        "test_commands_without_their_packages_name_what_to_install"
    ),
    "name one beforehand with `--target`": (
        "test_a_target_is_named_or_reported_to_come_from_the_same_runs"
    ),
    "interrupted in {}; rerun": "test_interrupted_runs_go_on_and_no_number_changes",
    "held by other processes: {}; rerun": (
        "test_runs_that_others_hold_are_left_to_them_with_a_line"
    ),
    ", damaged ({}; remove {}, and": "test_a_damaged_run_is_named_and_hides_no_other",
    "run it again to resume.": (
        "test_a_resumed_run_equals_the_uninterrupted_one_to_the_bit"
    ),
    "rerun the same command to resume.": (
        "test_a_resumed_run_equals_the_uninterrupted_one_to_the_bit"
    ),
    "is prepared in a format that needs TensorFlow": (
        "test_a_folder_in_a_format_that_needs_tensorflow_is_reported"
    ),
    "holds no best checkpoint of a run; give": (
        "test_a_run_begins_with_the_best_parameters_of_another"
    ),
    "is no folder; give one": LAYOUTS,
    "make a folder per class, such as": LAYOUTS,
    "put images there, or remove the folder.": LAYOUTS,
    "name them train and test": "test_splits_of_other_names_are_no_classes",
    "move the images of both into one": "test_two_folders_of_one_name_are_refused",
    "which the training split does not; remove": TESTS,
    "put images there, or remove it, so": TESTS,
    "one could be held out; make a test split": TESTS,
    "needs the folder; give it as": "test_a_folder_is_asked_for",
    "pixels; set --config.data.image_size=224": (
        "test_images_of_several_sizes_need_an_image_size"
    ),
    "or save them anew": "test_unreadable_files_are_named_all_in_one_error",
    "GB left; free space there": "test_a_disk_without_space_is_reported_beforehand",
    "who keeps it to themselves; give": "test_what_another_user_keeps_is_not_replaced",
    "cannot be written ({}); give": "test_a_cache_that_cannot_be_written_is_reported",
    "are arrays of one size; set": "test_the_sample_has_its_size_already",
    "give {}.reshape(-1, 28, 28)": ARRAYS,
    "give {}.transpose(0, 2, 3, 1)": ARRAYS,
    "0 to 255, or floats in [0, 1]; give": ARRAYS,
    "floats must be in [0, 1]; give {}.": ARRAYS,
    "NaN or an infinity, which are no pixels; give": ARRAYS,
    "{}.argmax(axis=1) if they are one-hot": ARRAYS,
    "of all splits at once, and class_names.": ARRAYS,
    "numbered from 0, here to {} at most; give np.unique": ARRAYS,
    "holds no image; give some, or leave": ARRAYS,
    **dict.fromkeys(
        ("is a folder; set --config.data.name=folder and", "is a file; give arrays"),
        "test_a_name_that_is_a_path_leads_to_what_reads_it",
    ),
    "learnt by heart; remove them from one": (
        "test_test_images_that_are_trained_on_are_counted_at_every_load"
    ),
    "look like splits within a class; move them": (
        "test_splits_within_classes_are_refused_and_the_remedy_works"
    ),
    "give one label per image": ARRAYS,
    "make their shapes equal": ARRAYS,
    "must be >= 0; set 0 for all": "test_predict_prints_what_the_model_says",
    "give two classes or more": ARRAYS,
    "is no file; give its path": FILES,
    "which are not unpickled; give": (
        "test_arrays_of_python_objects_are_named_and_the_remedy_works"
    ),
    "train in another folder with a smaller learning rate": (
        "test_a_run_that_diverged_at_once_says_so"
    ),
    "leads nowhere; mend the link, or": (
        "test_links_bring_no_other_classes_and_are_followed_in_one_order"
    ),
    "give yourself the right to read it": (
        "test_a_folder_that_cannot_be_listed_is_named"
    ),
    "; name its arrays train_images": FILES,
    "times; set --config.scan_steps=": (
        "test_windows_larger_than_memory_are_refused_and_the_remedy_works"
    ),
    "the data have changed: the run was": (
        "test_a_folder_trains_resumes_where_it_moved_to_and_is_refused_if_it_changed"
    ),
    "for pixels in [0, 1] give": "test_a_restored_network_predicts_what_was_tested",
    "must name a function of the file; set": (
        "test_what_cannot_be_meant_is_refused_and_the_remedy_is_taken"
    ),
    "now; restore the file to resume": (
        "test_an_own_run_is_resumed_to_the_bit_from_wherever_its_files_are"
    ),
    "; give its path with": (
        "test_a_trained_model_is_evaluated_with_the_code_that_made_it"
    ),
    **dict.fromkeys(
        (
            "install it, or import what is beside the file",
            "has no value; give one with",
            "so nothing can be trained; make",
            "in training and in evaluation; name its parameter train",
            "changes its form when it is called",
            "which would hold one of them; give one another name",
            "outside of a variable; make it nnx.Variable",
        ),
        "test_wrong_code_is_refused_in_one_line_until_it_is_mended",
    ),
    **dict.fromkeys(
        (
            "or among the installed packages; run",
            "by lion_jax; leave it out",
            "takes no dtype; add that parameter, or set",
            "takes no mask; set",
            "which checkpoints cannot hold; make",
            "but checkpoints cannot hold empty ones; leave",
        ),
        "test_a_wrong_reference_is_refused_and_the_remedy_leads_out",
    ),
}


def leads_out_of(words: str) -> Callable[[Row], Row]:
    """Makes a function the row of the message that holds the words.

    The function yields what is refused with that message, under no name; then, under
    the words of the message for it, what follows each remedy.
    """

    def register(row: Row) -> Row:
        assert words not in ROWS
        ROWS[words] = row
        return row

    return register


# ------------------------------------------------------------------------- messages


@functools.cache
def messages() -> dict[str, str]:
    """The texts of the package that name a remedy, with {} for values, and where."""
    found = {}
    for path in sorted((ROOT / "lion_jax").rglob("*.py")):
        tree = ast.parse(path.read_text())
        nodes = [*ast.walk(tree)]
        parts = {v for x in nodes if isinstance(x, ast.JoinedStr) for v in x.values}
        parts |= {x.value for x in nodes if isinstance(x, ast.Expr)}  # docstrings
        parts |= {x for y in nodes if is_help(y) for x in ast.walk(y)}
        for node in nodes:
            if node not in parts and (text := text_of(node)) and names_remedy(text):
                found[text] = f"{path.relative_to(ROOT)}:{node.lineno}"
    return found


def is_help(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "About"


def text_of(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value.replace("%s", "{}")
    if not isinstance(node, ast.JoinedStr):
        return ""
    return "".join(
        part.value if isinstance(part, ast.Constant) else "{}" for part in node.values
    )


def names_remedy(text: str) -> bool:
    if "; " in text or "Remedies:" in text:
        return bool(ADVICE.search(text.rpartition("; ")[2]))
    first = text.removeprefix("error: ").split()
    return len(first) > 3 and first[0] in VERBS


def test_every_message_with_a_remedy_has_a_test():
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").glob("test_*.py"))
    assert len(messages()) > 60
    for text, place in messages().items():
        known = [words for words in (*ROWS, *ELSEWHERE) if words in text]
        assert known, f"{place}: no test follows the remedy of {text!r}"
    for words in (*ROWS, *ELSEWHERE):
        assert any(words in text for text in messages()), f"no message has {words!r}"
    for name in ELSEWHERE.values():
        assert f"def {name}(" in tests


@pytest.mark.parametrize("words", ROWS)
def test_a_remedy_leads_out(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(runtime, "start", lambda *_, **__: None)
    monkeypatch.setattr(train, "train", lambda *_, **__: 0)
    monkeypatch.setattr(evaluate, "evaluate", lambda *_: {})
    monkeypatch.setattr(campaign, "run", lambda _: True)
    (text,) = {text for text in messages() if words in text}
    steps = ROWS[words](tmp_path, monkeypatch)
    _, refused = next(steps)
    with pytest.raises((Exception, SystemExit)) as error:
        refused()
    message = " ".join(str(error.value).split())
    template = ".*".join(map(re.escape, " ".join(text.split()).split("{}")))
    assert re.search(template, message), message
    followed = []
    for remedy, attempt in steps:
        assert remedy in message
        attempt()
        followed.append(remedy)
    advice = text.rpartition("; ")[2] if "Remedies:" not in text else ""
    assert {*ANY_VERB.findall(advice)} <= {*ANY_VERB.findall(" ".join(followed))}


# ------------------------------------------------------------------ files and flags


def config_file(file="quick.py", **options):
    """Writes a configuration file; returns its name."""
    made = {"name": "quick", "data": {"name": data.SAMPLE}} | options
    Path(file).write_text(
        "from lion_jax import config\n"
        f"def get_config():\n    return config.from_dict({made!r})\n"
    )
    return file


def start(command, *argv):
    """Runs a command in this process, without what it does in the end."""
    return command.main([str(word) for word in argv])


def started(command, *argv):
    return functools.partial(start, command, *argv)


@leads_out_of("use python -m lion_jax.{}")
def command_without_a_dot(place, patch):
    def main():
        patch.setattr("sys.stderr", SimpleNamespace(write=said.append))
        assert package.main(["train"]) == 2
        patch.undo()
        raise RuntimeError("".join(said))

    said: list[str] = []
    yield "", main
    yield (
        "use python -m lion_jax.train",
        lambda: importlib.util.find_spec(said[0].split()[-1]).loader,
    )


def names_shown():
    with pytest.raises(SystemExit) as ended:
        start(train, "--config", "list")
    assert ended.value.code == 0


@leads_out_of("--config is missing; give a Python file")
def no_configuration(place, patch):
    yield "", started(train)
    yield "give a Python file", started(train, "--config", config_file())
    yield "or a name that --config list shows", names_shown
    yield "--config quickstart", started(train, "--config", "quickstart")


@leads_out_of("; give one of them.")
def name_of_several(place, patch):
    yield "", started(train, "--config=sample_resnet50_*")
    yield "give one of them", started(train, "--config=sample_resnet50_lion")


@leads_out_of("there is no such file; give a Python file")
def no_such_file(place, patch):
    yield "", started(train, "--config=resnet_lion.py")
    yield "give a Python file", started(train, "--config", config_file())
    yield "or a name that --config list shows", names_shown
    yield "--config resnet50_lion", started(train, "--config", "resnet50_lion")


@leads_out_of("the file must run and define")
def file_that_does_not_run(place, patch):
    Path("a.py").write_text("get_config = 1 / 0\n")
    yield "", started(train, "--config=a.py")
    yield "the file must run", lambda: start(train, "--config", config_file("a.py"))


@leads_out_of("but it must be a dictionary of what")
def options_that_are_none(place, patch):
    own = "def tx(schedule, mask, b=0.1):\n    return optax.sgd(schedule)\n"
    Path("own.py").write_text(f"import optax\n\n{own}")

    def flagged(options):
        file = config_file(optimizer={"name": "./own.py:tx", "options": options})
        return started(train, "--config", file, "--config.optimizer.options.b=0.5")

    yield "", flagged(None)
    yield "give options={}", flagged({})


@leads_out_of("must be of type {}; give {}={}(...).")
def group_that_is_none(place, patch):
    given = configs.Config()
    given.optimizer = "lion"
    yield "", lambda: configs.check(given)
    good = configs.Config(optimizer=configs.OptimizerConfig())
    yield "give optimizer=OptimizerConfig(...)", lambda: configs.check(good)


@leads_out_of("is a group of fields; set one of them")
def field_that_is_a_group(place, patch):
    argv = "--config", config_file()
    yield "", started(train, *argv, "--config.model=resnet50")
    yield (
        "set one of them, such as --config.model.name=...",
        started(train, *argv, "--config.model.name=resnet50"),
    )


@leads_out_of("must divide it; set --config.image_size=")
def image_and_patch(place, patch):
    argv = "--config", config_file(), "--config.model.name=vit_b16"
    yield "", started(train, *argv, "--config.image_size=33")
    yield "set --config.image_size=32", started(train, *argv, "--config.image_size=32")


OWN_DATA = """\
def made(size):
    import numpy as np
    images, labels = np.zeros((8, size, size, 1), np.uint8), np.arange(8) % 2
    labels = labels.astype(np.int32)
    return data.Dataset("own", "1", "here", ("a", "b"), images, labels, images, labels)
"""


def devices(available=8, processes=1, **options):
    config = configs.Config(**options)
    return lambda: checks.check_devices(config, available, processes=processes)


@leads_out_of("but JAX finds {}; set --config.devices=")
def too_many_devices(place, patch):
    yield "", devices(devices=9)
    yield "set --config.devices=8", devices(devices=8, eval_batch_size=256)
    yield "or 0 for all", devices(devices=0, eval_batch_size=256)


@leads_out_of("is an older name of mesh.mode=fsdp; set --config.shard_parameters=")
def two_modes(place, patch):
    argv = ["--config=quickstart", "--config.mesh.mode=zero1"]
    yield "", started(train, *argv, "--config.shard_parameters=true")
    yield (
        "set --config.shard_parameters=false",
        started(train, *argv, "--config.shard_parameters=false"),
    )


@leads_out_of("which has others unless optimizer.{} is {}; set --config.mesh.")
def signs_of_another_optimizer(place, patch):
    argv = ["--config=sample_resnet50_adamw", "--config.mesh.mode={}"]
    yield "", started(train, argv[0], argv[1].format("zero1"))
    yield "set --config.mesh.mode=fsdp", started(train, argv[0], argv[1].format("fsdp"))


@leads_out_of("have a whole momentum each; set --config.mesh.vote=none, or")
def parts_of_a_vote(place, patch):
    argv = "--config=sample_resnet50_lion", "--config.mesh.vote=majority"
    parts = "--config.mesh.mode=fsdp"
    yield "", started(train, *argv, parts)
    none = started(train, argv[0], parts, "--config.mesh.vote=none")
    yield "set --config.mesh.vote=none", none
    data = "--config.mesh.mode=data", "--config.shard_parameters=false"
    yield "or --config.mesh.mode=data", started(train, *argv, *data)


@leads_out_of("but a mean of votes has no ties; set --config.mesh.ties=")
def ties_of_a_mean(place, patch):
    argv = "--config=sample_resnet50_lion", "--config.mesh.vote=mean"
    yield "", started(train, *argv, "--config.mesh.ties=alternate")
    stand = started(train, *argv, "--config.mesh.ties=stand")
    yield "set --config.mesh.ties=stand", stand


@leads_out_of("but one device has none to vote with; set more --config.devices")
def one_voter(place, patch):
    def checked(devices, vote="majority"):
        config = configs.Config(devices=devices)
        config.mesh.vote = vote
        return lambda: sharding.check_devices(config)

    yield "", checked(1)
    yield "set more --config.devices", checked(2)
    assert jax.config.jax_num_cpu_devices == 8  # as the variable sets it
    yield "or on a CPU JAX_NUM_CPU_DEVICES=8", checked(0)
    yield "for another run, --config.mesh.vote=none", checked(1, "none")


@leads_out_of("{}; set --config.devices={}, or, for another run, {}")
def devices_and_batch(place, patch):
    options = {"batch_size": 60, "accumulate": 2, "eval_batch_size": 256}
    yield "", devices(**options)
    yield "set --config.devices=2", devices(**options | {"devices": 2})
    yield "another run, --config.batch_size=64", devices(**options | {"batch_size": 64})
    yield (
        "or --config.accumulate",
        devices(**options | {"accumulate": 1, "batch_size": 56}),
    )


@leads_out_of("{}; use processes that have {} devices in all, or set, for another")
def processes_and_batch(place, patch):
    yield "", devices(3, 3, batch_size=64)
    yield "use processes that have 2 devices in all", devices(2, 2, batch_size=64)
    sizes = {"batch_size": 63, "eval_batch_size": 255}
    yield "set, for another run, --config.batch_size=63", devices(3, 3, **sizes)


@leads_out_of("{} command; give {}.")
def no_command_of_data(place, patch):
    yield "", started(prepare, "fetch")
    for command in ("prepare", "where"):
        yield "give prepare or where", started(prepare, command, "--name", data.SAMPLE)


@leads_out_of("but it {}; leave it out, or give arguments of the function that --name")
def options_of_no_function(place, patch):
    Path("own.py").write_text(f"from lion_jax import data\n\n{OWN_DATA}")
    own = "--name", "./own.py:made"
    yield "", started(prepare, "prepare", *own, "--options", "[4]")
    yield "leave it out", started(prepare, "prepare", "--name", data.SAMPLE)
    given = started(prepare, "prepare", *own, "--options", '{"size": 4}')
    yield "give arguments of the function that --name is", given
    with pytest.raises(data.DataError, match=r"""--options '{"size": \.\.\.}', or"""):
        started(prepare, "prepare", *own)()
    with pytest.raises(configs.ConfigError, match="--name=mnist is none; leave it out"):
        started(prepare, "prepare", "--name=mnist", '--options={"size": 4}')()


@leads_out_of("must be a pair of a number and how many there are; give shard=(0, 8)")
def no_pair_of_a_shard(place, patch):
    yield "", lambda: shards.of("0/8")
    yield "give shard=(0, 8) for the first of 8", lambda: shards.of((0, 8))


@leads_out_of("but it must be a dictionary by model or data set; give targets=")
def targets_that_are_none(place, patch):
    yield "", lambda: targets.checked(0.9)
    yield 'give targets={"": 0.9} for all', lambda: targets.checked({"": 0.9})


@leads_out_of("--workdir is missing; give the folder")
def no_folder_to_evaluate(place, patch):
    yield "", started(evaluate)
    yield "give the folder of a run", started(evaluate, "--workdir", OLD / "run")


# ---------------------------------------------------------------------- comparisons


def comparison(*argv):
    return started(compare, "run", "--configs", config_file(), "--seeds=1", *argv)


def old_record(**changes):
    record = records.read(OLD / "compare/records/tiny/seed_0.json")
    return dataclasses.replace(record, **changes)


def with_rate(record, rate):
    config = identity.fill(record.config)
    return config | {"optimizer": config["optimizer"] | {"learning_rate": rate}}


@leads_out_of("is set twice; give it once")
def swept_twice(place, patch):
    rates = "--sweep=optimizer.learning_rate="
    yield "", comparison("--out=out", f"{rates}1e-4", f"{rates}1e-3")
    yield (
        "give it once, with all its values by commas",
        comparison("--out=out", f"{rates}1e-4,1e-3"),
    )


@leads_out_of("--out={} can be no folder: {}; give another --out.")
def records_in_a_file(place, patch):
    Path("file").touch()
    yield "", comparison("--out=file")
    yield "give another --out", comparison("--out=folder")


@leads_out_of("but seeds must be < 2**32; set a smaller --first_seed")
def seeds_beyond_the_last(place, patch):
    last = f"--first_seed={2**32 - 1}"
    yield "", comparison("--out=out", last, "--seeds=2")
    yield "set a smaller --first_seed", comparison("--out=out", "--seeds=2")
    yield "or fewer --seeds", comparison("--out=out", last)


@leads_out_of("different seeds >= 0 and < 2**32; give seeds=25")
def seeds_that_are_none(place, patch):
    yield "", lambda: given.seeds([])
    yield "give seeds=25", lambda: given.seeds(25)
    yield "or seeds=[0, 1, 2]", lambda: given.seeds([0, 1, 2])


@leads_out_of("but it must be {}; leave it out for {}.")
def flag_of_python(place, patch):
    made = [small_config()]
    yield "", lambda: api.run(made, place / "out", time_limit=0.0)
    yield "leave it out for inf", lambda: api.run(made, place / "out")


@leads_out_of("give [Config(...)], for instance.")
def configurations_that_are_none(place, patch):
    yield "", lambda: api.run([], place / "out")
    made = [configs.Config()]
    yield "give [Config(...)]", lambda: api.run(made, place / "out")


@leads_out_of("give sweep={'optimizer.learning_rate': [1e-4, 3e-4]}")
def sweep_without_values(place, patch):
    def run(values):
        sweep = {"optimizer.learning_rate": values}
        return lambda: api.run([small_config()], place / "out", sweep=sweep)

    yield "", run([])
    yield "give sweep={'optimizer.learning_rate': [1e-4, 3e-4]}", run([1e-4, 3e-4])


@leads_out_of("two targets; give one alone.")
def two_targets(place, patch):
    yield "", lambda: targets.parse("0.9,0.8")
    yield "give one alone", lambda: targets.parse("0.9")


@leads_out_of("--out is missing; give the folder")
def no_folder_of_records(place, patch):
    yield "", comparison()
    yield "give the folder of the records", comparison("--out=folder")


@leads_out_of("occurs twice among the configurations; give each another name=")
def names_twice(place, patch):
    both = config_file("a.py"), config_file("b.py")
    argv = "run", "--out=out", "--seeds=1", "--configs"
    yield "", started(compare, *argv, *both)
    config_file("b.py", name="other")
    yield "give each another name=", started(compare, *argv, *both)
    rate = "--sweep=optimizer.learning_rate=1e-4"
    with pytest.raises(configs.ConfigError, match="each swept value once"):
        start(compare, *argv, "a.py", f"{rate},1e-4")
    yield "each swept value once", started(compare, *argv, "a.py", rate)


@leads_out_of("give another --out, or remove it.")
def records_of_another_configuration(place, patch):
    record = old_record()
    records.write(record, place / "out")
    config = configs.from_dict(with_rate(record, 0.5))
    point = campaign.Point(record.label, {}, config)

    def check(out):
        return campaign.check([point], range(1), place / out)

    yield "", lambda: check("out")
    yield "give another --out", lambda: check("other")
    records.path_of(place / "out", record.label, record.seed).unlink()
    yield "or remove it", lambda: check("out")


@leads_out_of("but it must be I/N with 0 <= I < N, as shards count from 0; give")
def shard_that_is_none(place, patch):
    yield "", comparison("--out=out", "--shard=8/8")
    yield "give --shard=0/8 for the first", comparison("--out=out", "--shard=0/8")
    yield "--shard=7/8 for the last", comparison("--out=out", "--shard=7/8")


@leads_out_of("shard {} of {} is in use by {}; wait")
def shard_in_use(place, patch):
    def hold(index):
        with shards.locked(shards.Shard(index, 2), place):
            pass

    with shards.locked(shards.Shard(0, 2), place):
        yield "", lambda: hold(0)
        yield "or give another --shard", lambda: hold(1)
    yield "wait for it to end", lambda: hold(0)


@leads_out_of("does not name the runs of a campaign ({}); remove it")
def damaged_campaign(place, patch):
    asked = requested.Request(["tiny"], [0], 1, "run")
    requested.write(place, asked)
    (path,) = (place / requested.FOLDER).iterdir()
    path.write_text("{}")
    yield "", lambda: requested.read_all(place)
    path.unlink()

    def write_again():
        requested.write(place, asked)
        assert requested.read_all(place) == [asked]

    yield "remove it, and the next compare run writes it again", write_again


@leads_out_of("--configs is missing; give files")
def no_configurations(place, patch):
    yield "", started(compare, "run", "--out=out")
    yield "give files: --configs", comparison("--out=out")


@leads_out_of("lion_jax.train --config list shows; give existing files")
def pattern_of_no_file(place, patch):
    yield "", started(compare, "grid", "--configs=no*.py")
    yield "give existing files", started(compare, "grid", "--configs", config_file())


@leads_out_of("set --trials=9 --trial_seeds=1 --ratio=10.")
def grid_of_one(place, patch):
    argv = "grid", "--configs", config_file()
    yield "", started(compare, *argv, "--trials=1")
    remedy = "--trials=9", "--trial_seeds=1", "--ratio=10"
    yield "set --trials=9", started(compare, *argv, *remedy)


@leads_out_of("a grid is centred on a number other than 0; set it")
def grid_around_zero(place, patch):
    argv = "grid", "--configs", config_file(optimizer={"learning_rate": 0.0})
    yield "", started(compare, *argv)
    config_file(optimizer={"learning_rate": 0.1})
    yield "set it in the file", started(compare, *argv)


@leads_out_of("there are no runs of {}; name one of")
def target_of_no_model(place, patch):
    defaults = {targets.Task("resnet50", "fashion_mnist"): 0.5}
    yield "", lambda: targets.for_tasks({"vit_b16": 0.9}, defaults)
    yield (
        "name one of resnet50",
        lambda: targets.for_tasks({"resnet50": 0.9}, defaults),
    )


@leads_out_of("set --target=0.9, or --target=resnet50=0.9")
def target_in_percent(place, patch):
    yield "", lambda: targets.parse("90")
    yield "set --target=0.9", lambda: targets.parse("0.9")
    each = "resnet50=0.9,vit_b16=0.8"
    yield f"--target={each}", lambda: targets.parse(each)
    yield "leave it out", lambda: analysis.analyse([old_record()])


@leads_out_of("a target that is named beforehand, for every model; set")
def speed_without_a_target(place, patch):
    def analyse(named):
        options = analysis.Options(measures.SPEED[0], named)
        return analysis.analyse([old_record()], options)

    yield "", lambda: analyse(None)
    yield "set --target=0.9", lambda: analyse(targets.parse("0.9"))


@leads_out_of("holds no records; make some with")
def no_records(place, patch):
    yield "", lambda: records.read_all(place)
    yield "make some with python -m lion_jax.compare run", comparison("--out=out")
    records.write(old_record(), place)  # as the command does
    yield "make some", lambda: records.read_all(place)


@leads_out_of("which reads format {}; upgrade lion_jax.")
def record_of_a_newer_format(place, patch):
    records.write(old_record(format=records.FORMAT + 1), place)
    yield "", lambda: records.read_all(place)
    patch.setattr(records, "FORMAT", records.FORMAT + 1)
    yield "upgrade lion_jax", lambda: records.read_all(place)


@leads_out_of("/, and the run is made again.")
def damaged_record(place, patch):
    record = old_record()
    records.write(record, place)
    path = records.path_of(place, record.label, record.seed)
    path.write_text("{")
    point = campaign.Point(record.label, {}, configs.from_dict(record.config))

    def check():
        return campaign.check([point], range(1), place)

    yield "", check
    path.rename(place / "damaged.json")
    yield "move it out of records/, and the run is made again", lambda: check()[0]


@leads_out_of("is damaged ({}); remove that folder, and the run")
def damaged_unfinished_run(place, patch):
    record = old_record()
    point = campaign.Point(record.label, {}, configs.from_dict(record.config))
    folder = unfinished.folder_of(place, record.label, 0)
    folder.mkdir(parents=True)
    (folder / run_folder.CONFIG).touch()

    def check():
        return campaign.check([point], range(1), place)

    yield "", check
    shutil.rmtree(folder)
    yield "remove that folder, and the run begins anew", lambda: check()[0]


@leads_out_of("remove one of them.")
def records_that_differ(place, patch):
    record = old_record()
    records.write(record, place)
    other = old_record(
        seed=1,
        config=with_rate(record, 0.5) | {"seed": 1},
        result=dataclasses.replace(record.result, seed=1),
    )
    records.write(other, place)
    yield "", lambda: records.read_all(place)
    records.path_of(place, other.label, 1).unlink()
    yield "remove one of them", lambda: records.read_all(place)


@leads_out_of("which would count twice; move {} out of")
def record_twice(place, patch):
    record = old_record()
    records.write(record, place)
    own = records.path_of(place, record.label, record.seed)
    copy = own.parent.with_name("copy") / own.name
    shutil.copytree(own.parent, copy.parent)
    yield "", lambda: records.read_all(place)
    shutil.move(copy, place / "elsewhere")
    yield f"move {copy} out of records/", lambda: records.read_all(place)


@leads_out_of("whose place is {}; move it there.")
def record_elsewhere(place, patch):
    record = old_record()
    records.write(record, place)
    own = records.path_of(place, record.label, record.seed)
    elsewhere = own.rename(own.with_name("seed_7.json"))
    yield "", lambda: records.read_all(place)
    elsewhere.rename(own)
    yield "move it there", lambda: records.read_all(place)


# ------------------------------------------------------------------------- versions


@dataclasses.dataclass
class Newer(configs.Config):
    """A configuration of a later version."""

    sharpness: Annotated[float, About("how sharp")] = 0.0


@leads_out_of("upgrade to the version that saved it.")
def saved_by_a_newer_version(place, patch):
    saved = dataclasses.asdict(Newer())
    yield "", lambda: configs.from_dict(saved)
    patch.setattr(values, "Config", Newer)
    yield "upgrade to the version that saved it", lambda: configs.from_dict(saved)


@leads_out_of("upgrade lion_jax, or {}.")
def folder_of_a_newer_version(place, patch):
    saved = dataclasses.asdict(Newer())
    run_folder.write_json(place / run_folder.CONFIG, saved)
    wanted = dataclasses.asdict(configs.Config())
    yield "", lambda: run_folder.check(place, wanted)
    yield "or give another folder", lambda: run_folder.check(place / "other", wanted)
    patch.setattr(identity, "Config", Newer)
    yield "upgrade lion_jax", lambda: run_folder.check(place, saved)


# --------------------------------------------------------------------- runs' folders


def wanted(**options):
    return dataclasses.asdict(small_config(**options))


def occupy(folder, config):
    """Begins a run in a folder, as training does."""
    run_folder.check(folder, config)
    with run_folder.occupied(folder, config):
        pass


@leads_out_of("give another folder (--workdir or --out)")
def another_folder(place, patch):
    Path("file").touch()
    yield "", lambda: run_folder.check(place / "file", wanted())
    yield "give another folder", lambda: occupy(place / "folder", wanted())
    yield "(--workdir or --out)", comparison("--out=other")
    yield (
        "(--workdir or --out)",
        started(train, "--config", config_file(), "--workdir=other"),
    )


@leads_out_of("and copy it there afterwards.")
def folder_in_a_cloud(place, patch):
    yield "", lambda: occupy(Path("gs://bucket/run"), wanted())
    yield "give another folder", lambda: occupy(place / "run", wanted())
    yield "copy it there afterwards", lambda: shutil.copytree("run", "bucket")


@leads_out_of("holds a run of another configuration: {}; {}, or remove")
def folder_of_another_run(place, patch):
    occupy(place / "run", wanted(seed=1))
    (place / "run" / run_folder.METRICS).write_text("{}\n")
    yield "", lambda: occupy(place / "run", wanted())
    yield "give another folder", lambda: occupy(place / "other", wanted())
    shutil.rmtree("run")
    yield "or remove that one", lambda: occupy(place / "run", wanted())


@leads_out_of("so it is unknown of which run; copy its")
def folder_without_a_configuration(place, patch):
    shutil.copytree(OLD / "run", "run")
    config = run_folder.read_json(Path("run/config.json"))
    Path("run/config.json").unlink()
    yield "", lambda: run_folder.check(place / "run", config)
    yield "give another folder", lambda: run_folder.check(place / "other", config)
    shutil.copy(OLD / "run/config.json", "run")
    yield "copy its config.json there", lambda: run_folder.check(place / "run", config)


@leads_out_of("cannot be read ({}); restore it from a copy, or {}")
def truncated_configuration(place, patch):
    occupy(place / "run", wanted())
    config = place / "run" / run_folder.CONFIG
    copy = config.read_text()
    run_folder.write_json(config, wanted() | {"optimizer": "lion"})
    with pytest.raises(run_folder.RunFolderError, match="'lion' is no group of"):
        occupy(place / "run", wanted())
    config.write_text(copy[:9])
    yield "", lambda: occupy(place / "run", wanted())
    yield "or give another folder", lambda: occupy(place / "other", wanted())
    config.write_text(copy)
    yield "restore it from a copy", lambda: occupy(place / "run", wanted())


@leads_out_of("is no result of a run ({}); remove it and rerun")
def result_of_something_else(place, patch):
    (place / run_folder.RESULT).write_text('{"seed": 1}')
    yield "", lambda: run_folder.read_result(place)
    (place / run_folder.RESULT).unlink()

    def rerun():
        assert run_folder.read_result(place) is None  # then the run is resumed

    yield "remove it and rerun the same command", rerun


@leads_out_of("{} is in use by {}; wait for it to end, or {}.")
def folder_in_use(place, patch):
    with run_folder.locked(place / "run"):
        yield "", lambda: occupy(place / "run", wanted())
        yield "or give another folder", lambda: occupy(place / "other", wanted())
    yield "wait for it to end", lambda: occupy(place / "run", wanted())


# ---------------------------------------------------------------------- checkpoints


def old_run(place):
    """A copy of a run with checkpoints of steps 16 and 32; returns its folder."""
    return shutil.copytree(OLD / "run", place / "run")


def damage(folder, step):
    path = max(
        (folder / "checkpoints" / str(step) / "model").rglob("*"),
        key=lambda path: path.stat().st_size if path.is_file() else 0,
    )
    path.write_bytes(path.read_bytes()[::-1])


def mend(folder):
    shutil.rmtree(folder)
    shutil.copytree(OLD / "run", folder)


def resume(folder):
    """Opens a run's checkpoints as training does."""
    with checkpoint.open_folder(folder / "checkpoints") as checkpoints:
        return checkpoint.find(checkpoints, "latest")


def load(folder, change=lambda x: x):
    """Restores the model of the last step; `change` makes another model of it."""
    with checkpoint.open_folder(folder / "checkpoints", to_save=False) as checkpoints:
        saved = checkpoints.orbax.checkpointables_metadata(32).metadata["model"]
        params = jax.tree.map(change, saved["params"])
        abstract = TrainState(None, params, saved["batch_stats"], None, None)
        return checkpoint.restore_model(checkpoints, 32, abstract)


@leads_out_of("no sound checkpoint is left, and nothing was changed; restore")
def all_checkpoints_damaged(place, patch):
    folder = old_run(place)
    damage(folder, 16)
    damage(folder, 32)
    yield "", lambda: resume(folder)
    yield "begin anew in another folder", lambda: resume(place / "other")
    mend(folder)
    yield f"restore {folder / 'checkpoints'} from a copy", lambda: resume(folder)


@leads_out_of("step {} is damaged; restore {} from a copy")
def checkpoint_damaged(place, patch):
    folder = old_run(place)
    damage(folder, 32)
    yield "", lambda: load(folder)
    yield "begin anew in another folder", lambda: resume(place / "other")
    mend(folder)
    yield f"restore {folder / 'checkpoints'} from a copy", lambda: load(folder)


@leads_out_of("is of another model or optimizer: {}; use another folder")
def checkpoint_of_another_model(place, patch):
    folder = old_run(place)

    def larger(array):
        return jax.ShapeDtypeStruct((*array.shape, 2), array.dtype)

    yield "", lambda: load(folder, larger)
    yield "use another folder", lambda: resume(place / "other")
    yield "the configuration that it was made with", lambda: load(folder)


@leads_out_of("cannot be restored ({}); begin anew in another folder.")
def checkpoint_unreadable(place, patch):
    folder = old_run(place)
    (folder / "checksums" / "32.json").unlink()
    damage(folder, 32)
    yield "", lambda: load(folder)
    yield "begin anew in another folder", lambda: resume(place / "other")


class LoadingDataError(Exception):
    """Restoring has come as far as the data."""


def restoring(patch, folder, which="best"):
    def reached(*_):
        raise LoadingDataError

    patch.setattr(data, "load", reached)
    with pytest.raises(LoadingDataError):
        restored.restore(folder, which)


@leads_out_of("holds no {}; give a folder that lion_jax.train made.")
def folder_without_a_run(place, patch):
    yield "", lambda: restored.restore(place)
    folder = old_run(place)
    yield "give a folder that lion_jax.train made", lambda: restoring(patch, folder)


@leads_out_of("holds no checkpoint; train first.")
def run_without_checkpoints(place, patch):
    occupy(place, wanted())
    yield "", lambda: restored.restore(place)
    shutil.copytree(OLD / "run/checkpoints", place / "checkpoints")  # as training does
    yield "train first", lambda: restoring(patch, place)


@leads_out_of("checkpoint yet; train to the end of an epoch first.")
def run_without_an_epoch(place, patch):
    folder = old_run(place)
    shutil.rmtree(folder / "checkpoints")
    (folder / "checkpoints").mkdir()
    yield "", lambda: restored.restore(folder)
    mend(folder)  # as training does
    yield "train to the end of an epoch first", lambda: restoring(patch, folder)


@leads_out_of("there is no image file; give one or more, such as shoe.png.")
def no_image_file(place, patch):
    patch.setattr(predict, "load", lambda *_: restored_model())
    argv = ["--workdir", str(old_run(place))]
    yield "", lambda: predict.main(argv)
    Image.new("L", (4, 4)).save("shoe.png")
    yield (
        "give one or more, such as shoe.png",
        lambda: predict.main([*argv, "shoe.png"]),
    )


@leads_out_of("cannot be read as images; leave them out, or save them anew")
def unreadable_image(place, patch):
    patch.setattr(predict, "load", lambda *_: restored_model())
    argv = ["--workdir", str(old_run(place))]
    Image.new("L", (4, 4)).save("shoe.png")
    Path("notes.png").write_text("no image")
    yield "", lambda: predict.main([*argv, "shoe.png", "notes.png"])
    yield "leave them out", lambda: predict.main([*argv, "shoe.png"])
    Image.new("L", (4, 4)).save("notes.png")
    yield "save them anew as PNG", lambda: predict.main([*argv, "notes.png"])


@leads_out_of("--out is missing; give a file, such as {}.")
def no_file_to_export_to(place, patch):
    exporting(patch)
    argv = ["--workdir", str(old_run(place))]
    yield "", lambda: export.main(argv)
    given = ["--out", "model.safetensors"]
    yield "give a file, such as model.safetensors", lambda: export.main(argv + given)


@leads_out_of("is a folder; give a file in it.")
def folder_to_export_to(place, patch):
    exporting(patch)
    argv = ["--workdir", str(old_run(place)), "--out"]
    yield "", lambda: export.main([*argv, str(place)])
    file = str(place / "model.safetensors")
    yield "give a file in it", lambda: export.main([*argv, file])


@leads_out_of("is no regular file; give one such as {}.")
def exported_to_a_pipe(place, patch):
    exporting(patch)
    os.mkfifo(place / "pipe")
    argv = ["--workdir", str(old_run(place)), "--out"]
    yield "", lambda: export.main([*argv, str(place / "pipe")])
    file = str(place / "model.safetensors")
    yield "give one such as model.safetensors", lambda: export.main([*argv, file])


@leads_out_of("would change the run's own {}; give another file, such as {}.")
def exported_over_the_run(place, patch):
    exporting(patch)
    run = old_run(place)
    argv = ["--workdir", str(run), "--out"]
    yield "", lambda: export.main([*argv, str(run / "config")])
    file = str(run / "model.safetensors")
    yield "give another file", lambda: export.main([*argv, file])


def exporting(patch):
    patch.setattr(export, "load", lambda *_: restored_model())
    patch.setattr(export.exported, "write_weights", lambda _, path: path.touch())


def restored_model():
    """A model that knows two classes and cannot tell them apart."""
    signature = Signature("made", "1", ("a", "b"), (4, 4, 1), 4, 1, (0.5,), (0.5,))

    def apply(params, batch_stats, images):
        return np.zeros((len(images), 2))

    return restored.Restored(1, small_config(), signature, {}, {}, apply)


@leads_out_of("but image files have 1 or 3; use training.load(...).predict")
def model_of_four_channels(place, patch):
    model = restored_model()
    four = dataclasses.replace(model.signature, image_shape=(4, 4, 4))
    patch.setattr(
        predict, "load", lambda *_: dataclasses.replace(model, signature=four)
    )
    argv = ["--workdir", str(old_run(place)), "shoe.png"]
    yield "", lambda: predict.main(argv)
    images = np.zeros((1, 4, 4, 4), np.uint8)
    remedied = dataclasses.replace(model, signature=four).predict
    yield "use training.load(...).predict(array)", lambda: remedied(images)


@leads_out_of("JAX finds no CPU here, for which the program is to be compiled too; set")
def no_cpu_to_export_for(place, patch):
    def devices(*_):
        raise RuntimeError("Unknown backend cpu")

    with patch.context() as without:
        without.setattr(jax, "devices", devices)
        yield "", export.exported._cpu
    yield "set JAX_PLATFORMS=cuda,cpu", export.exported._cpu


def named_set(*names):
    sample = data.load(data.SAMPLE)
    return lambda: dataclasses.replace(sample, class_names=names)


@leads_out_of("two classes are called {}; name each in a way of its own.")
def classes_of_one_name(place, patch):
    yield "", named_set(*"aacdefghij")
    yield "name each in a way of its own", named_set(*"abcdefghij")


def weights_file(name="weights.safetensors", **arrays):
    safetensors.numpy.save_file(arrays, name)
    return name


@leads_out_of("such files may run code when they are read; give weights as")
def pickled_weights(place, patch):
    yield "", lambda: pretrained.read("weights.pth")
    file = weights_file(a=np.zeros(3))
    yield "give weights as .safetensors", lambda: pretrained.read(file)


@leads_out_of("cannot be read ({}); give a {} file, or the folder of a run.")
def unreadable_weights(place, patch):
    yield "", lambda: pretrained.read("absent.safetensors")
    file = weights_file(a=np.zeros(3))
    yield "give a .safetensors file", lambda: pretrained.read(file)
    yield "the folder of a run", lambda: pretrained.read(str(old_run(place)))


@leads_out_of("; give weights of this model.")
def weights_of_another_model(place, patch):
    def begin(**arrays):
        weights = pretrained.read(weights_file(**arrays))
        pretrained.fit(weights, {"b": np.zeros(3)})

    yield "", lambda: begin(a=np.zeros(3))
    yield "give weights of this model", lambda: begin(b=np.zeros(3))


def tracked(name):
    return lambda: Reporter(name, small_config(), Path("run"))


FOUND = importlib.machinery.ModuleSpec("there", None, origin="there.py")


@leads_out_of("or package.module:function; give one of these.")
def tracker_unknown(place, patch):
    patch.setattr("importlib.util.find_spec", lambda _: FOUND)
    yield "", tracked("tensorboard")
    yield "give one of these", tracked("wandb")


@leads_out_of("is not installed; run python -m pip install {}.")
def tracker_not_installed(place, patch):
    patch.setattr("importlib.util.find_spec", lambda _: None)
    yield "", tracked("wandb")
    patch.setattr("importlib.util.find_spec", lambda _: FOUND)  # as pip does
    yield "run python -m pip install wandb", tracked("wandb")


@leads_out_of("it must take config and folder, but takes no {}; make it take both.")
def tracker_of_another_signature(place, patch):
    Path("own.py").write_text("def opened(config): ...\n")
    yield "", tracked("./own.py:opened")
    Path("mine.py").write_text("def opened(config, folder): ...\n")
    yield "make it take both", tracked("./mine.py:opened")


PARAMS = {"stem": {"kernel": jnp.ones(1)}, "head": {"bias": jnp.ones(1)}}


@leads_out_of("names no parameter; give paths such as {} or {}.*.")
def pattern_of_no_parameter(place, patch):
    yield "", lambda: frozen(PARAMS, "backbone.*")
    yield "give paths such as head.bias", lambda: frozen(PARAMS, "head.bias")
    yield "or stem.*", lambda: frozen(PARAMS, "stem.*")


@leads_out_of("leaves no parameter to train; name fewer.")
def patterns_of_all_parameters(place, patch):
    yield "", lambda: frozen(PARAMS, "*")
    yield "name fewer", lambda: frozen(PARAMS, "stem.*")


# ------------------------------------------------------------------------- machines


@leads_out_of("JAX_DISABLE_JIT is set, but the steps must be compiled; unset it.")
def without_compilation(place, patch):
    jax.config.update("jax_disable_jit", True)
    try:
        yield "", sharding.count_devices
    finally:
        jax.config.update("jax_disable_jit", False)
    yield "unset it", sharding.count_devices


@leads_out_of("unset JAX_PLATFORMS, or install JAX for that platform")
def platform_that_is_not_there(place, patch):
    def no_cuda():
        raise RuntimeError("Unable to initialize backend 'cuda'")

    with pytest.MonkeyPatch.context() as asked:
        asked.setattr(jax, "device_count", no_cuda)
        yield "", sharding.count_devices
        asked.setattr(jax, "device_count", lambda: 1)
        yield "or install JAX for that platform", sharding.count_devices
    yield "unset JAX_PLATFORMS", sharding.count_devices


def cached(patch):
    """Keeps compiled programs in a folder; a warning is an error."""

    def warn(text, *rest):
        raise RuntimeWarning(text % rest)

    patch.setattr(runtime._log, "warning", warn)
    patch.setattr(jax.config, "update", lambda *_: None)
    return lambda folder: runtime.cache_compilations(Path(folder))


@leads_out_of("give another --compilation_cache, or off")
def cache_in_a_file(place, patch):
    keep = cached(patch)
    Path("file").touch()
    yield "", lambda: keep("file/folder")
    yield "give another --compilation_cache", lambda: keep("folder")
    argv = "--config", config_file(), "--compilation_cache=off"
    yield "or off", started(train, *argv)


@leads_out_of("other users may write to {}; chmod 700 it")
def cache_of_everybody(place, patch):
    keep = cached(patch)
    Path("folder").mkdir()
    Path("folder").chmod(0o777)
    yield "", lambda: keep("folder")
    yield "give another --compilation_cache", lambda: keep("other")
    Path("folder").chmod(0o700)
    yield "chmod 700 it", lambda: keep("folder")


# ----------------------------------------------------------------------------- data


def dataset(labels=(0, 1), channels=1, names=("cat", "dog")):
    images = np.zeros((len(labels), 4, 4, channels), np.uint8)
    given = np.asarray(labels, np.int32)
    return data.Dataset("tiny", "1.0.0", "here", names, images, given, images, given)


class Examples(list):
    """As a data source of TFDS."""

    def __getitems__(self, indices):
        return [self[index] for index in indices]


def builder(
    splits=("train", "test"),
    names=("cat", "dog"),
    sizes=(4, 4),
    dtype="u1",
    keys=None,
):
    """As a builder of TFDS, of a set that is prepared."""
    label = SimpleNamespace(names=list(names)) if names else SimpleNamespace()
    examples = Examples(
        {"image": np.zeros((size, 4, 1), dtype), "label": number}
        for number, size in enumerate(sizes)
    )
    return SimpleNamespace(
        info=SimpleNamespace(
            splits=splits,
            supervised_keys=keys,
            features={"image": np.zeros((4, 4, 1)), "label": label},
        ),
        as_data_source=lambda split: examples,
        data_path="/prepared",
        version="1.0.0",
        is_prepared=lambda: True,
    )


def read(**options):
    return lambda: tfds_reading.read(builder(**options), "tiny", "here")


@leads_out_of("train is needed; choose another set.")
def set_without_a_train_split(place, patch):
    yield "", read(splits=("test",))
    yield "choose another set", read()


@leads_out_of("and no class label; choose a set for image classification.")
def set_without_classes(place, patch):
    yield "", read(names=())
    yield "choose a set for image classification", read()


@pytest.mark.parametrize(
    "keys", [("text", "label"), ("label", "image"), (("image", "text"), "label")]
)
def test_a_set_whose_examples_are_no_labelled_images_is_refused(keys):
    with pytest.raises(data.DataError, match=r"are no image and no class label"):
        read(keys=keys)()


@leads_out_of("but must be uint8; choose another set.")
def set_of_floats(place, patch):
    yield "", read(dtype=np.float32)
    yield "choose another set", read()


@leads_out_of("shapes, from {} to {}; set --config.data.image_size=224")
def set_of_several_shapes(place, patch):
    yield "", read(sizes=(4, 5))
    yield (
        "set --config.data.image_size=224",
        lambda: tfds_reading.read(builder(sizes=(4, 5)), "tiny", "here", 224),
    )


@leads_out_of("lacks a module for it ({}); give another set")
def set_without_its_module(place, patch):
    yield "", lambda: tfds_source._make_builder("huggingface:mnist", str(place))
    yield (
        "give another set, such as fashion_mnist",
        lambda: tfds_source._make_builder("fashion_mnist", str(place)),
    )


@leads_out_of("is no name of a data set in TensorFlow Datasets ({}); give")
def name_of_no_set(place, patch):
    yield "", lambda: tfds_source._make_builder("Fashion MNIST", str(place))
    yield (
        "give one such as fashion_mnist",
        lambda: tfds_source._make_builder("fashion_mnist", str(place)),
    )


@leads_out_of("the number of classes; prepare the set anew.")
def label_of_no_class(place, patch):
    yield "", lambda: dataset(labels=(0, 2))
    yield "prepare the set anew", dataset


@leads_out_of("nothing to learn from one; give images of two classes or more.")
def one_class(place, patch):
    yield "", lambda: dataset(labels=(0, 0), names=("cat",))
    yield "give images of two classes or more", dataset


@leads_out_of("{} It came with lion_jax; install it again.")
def damaged_sample(place, patch):
    with pytest.MonkeyPatch.context() as damaged:
        Path("sample.npz").write_bytes(b"PK")
        damaged.setattr(data, "SAMPLE_PATH", place / "sample.npz")
        yield "", lambda: data.load(data.SAMPLE)
    yield "install it again", lambda: data.load(data.SAMPLE)


@leads_out_of("Remedies: (1) go online once and run")
def set_that_is_not_here(place, patch):
    def prepared(name, root):
        made = builder()
        made.is_prepared = lambda: root == "copy"
        made.url_infos = {"https://data/images.gz": None}
        return made

    patch.setattr(idx, "make_builder", prepared)
    patch.setattr(tfds_source, "_has_manual_files", lambda _: False)
    patch.setattr(tfds_source, "_is_reachable", lambda _: False)
    patch.setattr(debian, "is_installed", lambda: False)
    argv = "prepare", "--name", "fashion_mnist", "--cache_dir"
    yield "", lambda: data.load("fashion_mnist", "", "none")
    yield (
        "give its parent as --config.data.data_dir",
        lambda: data.load("fashion_mnist", "copy", "a"),
    )
    yield "train on the embedded sample", lambda: data.load(data.SAMPLE)
    patch.setattr(tfds_source, "_download_and_prepare", lambda *_, **__: None)
    with pytest.MonkeyPatch.context() as online:
        online.setattr(tfds_source, "_is_reachable", lambda _: True)
        yield (
            "run `python -m lion_jax.data prepare --name fashion_mnist",
            started(prepare, *argv, "b"),
        )
    patch.setattr(debian, "is_installed", lambda: True)
    patch.setattr(debian, "restore_originals", lambda _: None)
    yield (
        "on Debian install the package dataset-fashion-mnist",
        started(prepare, *argv, "c"),
    )


@leads_out_of("set a smaller --config.batch_size or another fraction.")
def batch_above_the_data(place, patch):
    tiny = dataset(labels=(0, 1, 0, 1))

    def split(batch_size, fraction):
        config = small_config()
        config.batch_size, config.data.validation_fraction = batch_size, fraction
        return lambda: task.split(config, tiny)

    yield "", split(3, 0.5)
    yield "set a smaller --config.batch_size", split(2, 0.5)
    yield "or another fraction", split(3, 0.25)


@leads_out_of("but the images of {} have {}; set --config.channels={}.")
def channels_of_other_images(place, patch):
    colored = dataset(labels=(0, 1) * 4, channels=3)

    def split(channels):
        config = small_config(channels=channels)
        config.batch_size, config.data.validation_fraction = 2, 0.5
        return lambda: task.split(config, colored)

    yield "", split(1)
    yield "set --config.channels=3", split(3)


# --------------------------------------------------------------------- the optimizer


@leads_out_of("say how to decay; set weight_decay > 0 or both to False.")
def kinds_of_no_decay(place, patch):
    make = functools.partial(lion_jax.lion, 1e-3)
    yield "", lambda: make(weight_decay=0.0, cautious_weight_decay=True)
    yield (
        "set weight_decay > 0",
        lambda: make(weight_decay=0.1, cautious_weight_decay=True),
    )
    yield "or both to False", lambda: make(weight_decay=0.0)


@leads_out_of("no such leaf; give the weights that the optimizer updates.")
def average_of_other_weights(place, patch):
    params = {"w": jnp.ones(2)}
    state = lion_jax.with_ema(lion_jax.lion(1e-3), 0.9).init(params)
    yield "", lambda: lion_jax.averaged(state, {"v": jnp.ones(2)})
    yield (
        "give the weights that the optimizer updates",
        lambda: lion_jax.averaged(state, params),
    )


@leads_out_of("restore a checkpoint into optimizer.init(params)")
def state_of_another_optimizer(place, patch):
    params = jnp.ones(2)
    yield "", lambda: lion_jax.from_optax(optax.sgd(1e-3).init(params))
    state = optax.lion(1e-3).init(params)
    yield (
        "restore a checkpoint into optimizer.init(params)",
        lambda: lion_jax.from_optax(state),
    )
