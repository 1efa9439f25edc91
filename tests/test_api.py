"""The page of the Python API: it is that of the code, and its examples run."""

import contextlib
import doctest
import importlib
import io
import re
from pathlib import Path

import pytest
from module_files import module_at
from small_runs import build_once, small_dataset

from lion_jax import data
from lion_jax.compare import compiled
from lion_jax.training import experiment, preview, sharding

OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
IN_FULL = ("lion_jax", "lion_jax.distributed", "lion_jax.training", "lion_jax.compare")


@pytest.fixture(scope="module")
def maker():
    return module_at(Path(__file__).parents[1] / "tools" / "api_page.py")


@pytest.fixture(scope="module")
def page(maker):
    return maker.PAGE.read_text("utf-8")


def test_the_page_of_the_api_is_that_of_the_code(maker, page):
    assert maker.page(page) == page, "run python tools/api_page.py"
    for module in IN_FULL:
        names = importlib.import_module(module).__all__
        assert sorted(maker.MODULES[module]) == sorted(names)


def test_every_function_has_a_signature_and_an_example(maker):
    for module, names in maker.MODULES.items():
        for name in names:
            entry, *_ = maker.entries(module, name)
            if f"\n{name}(" in entry:
                assert "```pycon\n>>> " in entry or "Examples: See `" in entry, name
            else:
                assert f"\nclass {name}" in entry


def test_a_signature_is_that_of_the_function(maker):
    """In one line or several; with defaults, what is keyword-only, and the result."""
    node, _ = maker._definition(data.load)
    short = "load(name: str = 'fashion_mnist', data_dir: str = '', "
    shown = maker.signature("load", node)
    assert " ".join(shown.split()).replace("( ", "(").startswith(short)
    assert shown.endswith(") -> Dataset")
    made = maker.ast.parse("def f(a, *b: int, c: str = 'x', **d) -> None: ...").body[0]
    assert maker.signature("f", made) == "f(a, *b: int, c: str = 'x', **d) -> None"
    made = maker.ast.parse("def f(self, a: int = 1, *, b): ...").body[0]
    assert maker.signature("f", made) == "f(a: int = 1, *, b)"


@pytest.mark.slow
@pytest.mark.standard_promotion("optax.adamw raises floats to integer powers")
def test_the_examples_of_the_page_are_a_session(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    load, small = data.load, small_dataset()
    # Runs give all arguments: they train on a few images.
    monkeypatch.setattr(data, "load", lambda *a: small if a[1:] else load(*a))
    monkeypatch.setattr(sharding, "count_devices", lambda: 1)
    for module in experiment, preview, compiled:
        monkeypatch.setattr(module, "Program", build_once)
    names, parser, checker = {}, doctest.DocTestParser(), doctest.OutputChecker()
    blocks = re.findall(r"```pycon\n(.*?)```", page, re.DOTALL)
    examples = [example for block in blocks for example in parser.get_examples(block)]
    for example in examples:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(example.source, "docs/api.md", "single"), names)
        if example.want:
            said = out.getvalue()[-len(example.want) :]  # runs report before
            assert checker.check_output(example.want, said, OPTIONS), (
                example.source,
                out.getvalue(),
            )
    assert names["result"].test_accuracy is not None
    assert len(examples) > 60
