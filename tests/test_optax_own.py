"""Optax's own tests of Lion, as its wheel ships them, with ours in its place."""

import importlib
import inspect
import os
import sys
import types
import unittest
import warnings

import jax
import optax
import pytest
from optax._src import alias, transform

from lion_jax import lion, scale_by_lion

pytestmark = pytest.mark.usefixtures("full_compilation")

MODULES = (
    "optax._src.alias_test",
    "optax._src.transform_test",
    "optax._src.sharding_test",
    "optax.contrib._common_test",
)
OURS = [
    (module, function.__name__, inspect.unwrap(function))  # without the tests' hook
    for module, function in (
        (optax, lion),
        (alias, lion),
        (optax, scale_by_lion),
        (transform, scale_by_lion),
    )
]


def cases_of(suite):
    for entry in suite:
        if isinstance(entry, unittest.TestSuite):
            yield from cases_of(entry)
        elif "lion" in entry.id().lower():
            yield entry


def collected():
    """The cases whose name or parameters name Lion, made with our functions."""
    # alias_test imports it for tests of L-BFGS.
    absent = types.ModuleType("sklearn")
    absent.datasets = absent.linear_model = None
    with pytest.MonkeyPatch.context() as patch:
        for place in OURS:
            patch.setattr(*place)
        for module in MODULES:
            patch.delitem(sys.modules, module, raising=False)
        # alias_test replaces it: later processes would have other flags than this one.
        patch.setenv("XLA_FLAGS", os.environ.get("XLA_FLAGS", ""))
        patch.setitem(sys.modules, "sklearn", absent)
        loader = unittest.TestLoader()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Optax's modules warn of is theirs
            modules = [importlib.import_module(name) for name in MODULES]
        return [
            case
            for module in modules
            for case in cases_of(loader.loadTestsFromModule(module))
        ]


CASES = {case.id().rpartition("_test.")[2]: case for case in collected()}


def test_optax_still_ships_tests_of_lion():
    assert len(CASES) >= 30
    assert sum("lion_modes_variants" in name for name in CASES) == 1


@pytest.mark.slow
@pytest.mark.standard_promotion("Optax's own tests promote dtypes")
@pytest.mark.parametrize("name", CASES, ids=lambda name: name.partition(" ")[0])
def test_optaxs_own_test_passes(name, monkeypatch):
    for place in OURS:
        monkeypatch.setattr(*place)
    result = unittest.TestResult()
    with warnings.catch_warnings(), jax.numpy_rank_promotion("allow"):
        warnings.simplefilter("ignore")
        CASES[name].run(result)
    problems = [text for _, text in result.errors + result.failures]
    assert not problems, problems[0]
