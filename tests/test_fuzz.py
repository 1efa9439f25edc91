"""Command lines that nobody meant: each ends in status 2, one line, and no file."""

import math
import os
import re

import pytest
from command_line import ending
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lion_jax import train
from lion_jax.compare import __main__ as compare
from lion_jax.config import Config, fields_of
from lion_jax.training.tables import TABLES

pytestmark = pytest.mark.slow

FIELDS = fields_of(Config)
NUMBERS = {path: f.type for path, f in FIELDS.items() if f.type in (int, float)}
RANGES = {path: FIELDS[path].about for path in NUMBERS}
CHOICES = {path: field.choices for path, field in FIELDS.items() if field.choices}
CHOICES |= {path: tuple(table) for path, table in TABLES.items()}
GROUPS = sorted({path.partition(".")[0] for path in FIELDS if "." in path})
FLAGS = {
    train: ("config", "workdir", "compilation_cache", "profile", "noprofile"),
    compare: (
        *("configs", "seeds", "first_seed", "out", "sweep", "time_limit"),
        "compilation_cache",
    ),
}
CONFIG = """\
from lion_jax.config import *

def get_config():
    return Config(name="quick", image_size=32, data=DataConfig(name="nowhere"))
"""
text = st.text(max_size=30)
word = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=20)


def is_number(value, kind):
    try:
        kind(value)
    except (ValueError, OverflowError):
        return False
    return True


def outside(path):
    """Numbers, as text, that a field's range leaves out."""
    about = RANGES[path]
    closed, high = about.ge is not None, about.lt
    low = int(about.ge if closed else about.gt)
    below = st.integers(max_value=low - 1) if closed else st.integers(max_value=low)
    choices = [below]
    if high is not None:
        choices.append(st.integers(min_value=int(high)))
    if FIELDS[path].type is float:
        choices += [st.sampled_from([math.nan, math.inf, -math.inf])]
        choices += [st.floats(max_value=low, exclude_max=closed)]
        if high is not None:
            choices.append(st.floats(min_value=high))
    return st.one_of(choices).map(lambda value: f"--config.{path}={value}")


def no_number(path):
    kind = FIELDS[path].type
    return text.filter(lambda value: not is_number(value, kind)).map(
        lambda value: f"--config.{path}={value}"
    )


def no_choice(path):
    others = text.filter(lambda value: value not in CHOICES[path])
    return others.map(lambda value: f"--config.{path}={value}")


no_field = word.filter(lambda name: name.partition("=")[0] not in FIELDS).map(
    lambda name: f"--config.{name}=1"
)


def no_flag(command):
    known = (*FLAGS[command], "help", "h")
    return word.filter(
        lambda name: re.match(r"[a-z_]*", name.lstrip("-"))[0] not in known
    ).map(lambda name: f"--{name}")


no_bool = text.filter(
    lambda value: value.lower() not in ("true", "false", "t", "f", "1", "0")
).map(lambda value: f"--config.augment.flip={value}")
stray = word.filter(lambda value: not value.startswith("-"))
of_fields = st.one_of(
    st.sampled_from(sorted(RANGES)).flatmap(outside),
    st.sampled_from(sorted(NUMBERS)).flatmap(no_number),
    st.sampled_from(sorted(CHOICES)).flatmap(no_choice),
    st.sampled_from(GROUPS).map(lambda group: f"--config.{group}=1"),
    no_bool,
)
# At a comma a sweep has its next value, and that one may be right.
sweeps = of_fields.filter(lambda flag: "," not in flag).map(
    lambda flag: flag.replace("--config.", "--sweep=", 1)
)
mistakes = st.one_of(of_fields, no_field, no_flag(train), stray)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a configuration, to be in."""
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "quick.py").write_text(CONFIG)
    before = os.getcwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


def assert_one_line(place, argv, command=train):
    accepted = "it was accepted"
    status, said, printed = ending(argv, command, lambda _: pytest.fail(accepted))
    assert status == 2, said
    assert not printed
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert "Traceback" not in said
    assert [p.name for p in place.iterdir() if p.name != "__pycache__"] == ["quick.py"]


@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(mistake=mistakes, first=st.booleans())
def test_any_mistake_in_a_flag_is_told_in_one_line(place, mistake, first):
    config = "--config=quick.py"
    argv = [mistake, config] if first else [config, mistake]
    assert_one_line(place, argv)


@settings(
    max_examples=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(mistake=st.one_of(of_fields, sweeps, no_field, no_flag(compare), stray))
def test_any_mistake_in_a_comparison_is_told_in_one_line(place, mistake):
    argv = ["run", "--configs=quick.py", "--out=out", mistake]
    assert_one_line(place, argv, compare)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(path=text.filter(lambda path: not os.path.isfile(path)), joined=st.booleans())
@example(path="x" * 5000, joined=True)
@example(path="a\0b", joined=False)
def test_any_file_that_is_none_is_reported_in_one_line(place, path, joined):
    assert_one_line(place, [f"--config={path}"] if joined else ["--config", path])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(content=st.one_of(text, st.binary(max_size=60)))
def test_any_file_that_is_no_configuration_is_reported_in_one_line(place, content):
    file = place.parent / "content.py"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert_one_line(place, [f"--config={file}"])
