"""The house: which module imports which, what the top names are, what README draws."""

import ast
import graphlib
import re
from pathlib import Path

import pytest

import lion_jax

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lion_jax"
# Each room (a folder, or a module outside of one) and the rooms that it may import.
SHARED = {"config", "cli", "environment", "files", "runtime"}
ROOMS = {
    "__init__": {"optimizer"},
    "distributed": {"optimizer"},
    "optimizer": set(),
    "models": set(),
    "data": {"files"},
    "config": set(),
    "cli": {"config"},
    "files": set(),
    "environment": {"files"},
    "xla_flags": set(),
    "runtime": {"files", "xla_flags"},
    "training": {"config", "data", "environment", "files", "models", "optimizer"},
    "compare": {"training", "data"} | SHARED,
    "train": {"training", "data", "models", "optimizer"} | SHARED,
    "evaluate": {"training", "data", "models", "optimizer"} | SHARED,
    "data.__main__": {"data"} | SHARED,
}


def room_of(module):
    """The room of a module such as `training.step`."""
    return module if module in ROOMS else module.partition(".")[0]


def modules():
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
        for path in PACKAGE.rglob("*.py")
    }


def imported_by(path, known):
    """Modules of the package named in any import of a file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        for alias in node.names:
            # `from a import b` names the module a.b, the package a.b, or a itself.
            whole = f"{node.module}.{alias.name}"
            for name in (whole, f"{whole}.__init__", node.module):
                if name.removeprefix("lion_jax.") in known:
                    found.add(name.removeprefix("lion_jax."))
                    break
            else:
                if f"{node.module}.__init__".removeprefix("lion_jax.") in known:
                    found.add(f"{node.module}.__init__".removeprefix("lion_jax."))
    return found


@pytest.fixture(scope="module")
def graph():
    """Every module of the package and the modules of the package that it imports."""
    known = modules()
    return {name: imported_by(path, known) for name, path in known.items()}


def test_rooms_import_only_the_rooms_that_they_may(graph):
    for module, imported in graph.items():
        room = room_of(module)
        others = {room_of(name) for name in imported} - {room}
        assert others <= ROOMS[room], module


def test_no_room_has_a_cycle(graph):
    order = graphlib.TopologicalSorter(graph)
    order.prepare()  # raises CycleError, which names the cycle


def test_the_top_level_names_are_the_optimizer():
    assert sorted(lion_jax.__all__) == [
        "LionState",
        "from_optax",
        "lion",
        "scale_by_lion",
        "to_optax",
        "with_error_bits",
        "with_stochastic_rounding",
    ]


def test_modules_of_the_optimizer_can_be_named():
    import lion_jax.distributed
    import lion_jax.optimizer.lion as algorithm

    assert algorithm.lion is lion_jax.lion
    assert callable(lion_jax.distributed.scale_by_distributed_lion)


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        (
            "from lion_jax import lion\nlion(1e-3)",
            ("flax", "orbax", "tensorflow_datasets", "matplotlib", "rich"),
        ),
        (
            "from lion_jax import evaluate, train",
            ("tensorflow_datasets", "matplotlib", "tensorboardX", "tensorflow"),
        ),
    ],
    ids=["optimizer alone", "commands"],
)
def test_no_library_is_imported_before_it_is_needed(command, code, heavy):
    script = command.folder / "alone.py"
    script.write_text(
        f"import sys\n{code}\nprint([name for name in {heavy} if name in sys.modules])"
    )
    ran = command.run("alone")
    assert ran.stdout.strip() == "[]", ran.stderr


def test_nothing_is_pickled_or_evaluated():
    """What is read from a disk is data: JSON and arrays, never code."""
    for name, path in modules().items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names}
                names.add(getattr(node, "module", None))
                assert not names & {"pickle", "cloudpickle", "dill", "shelve"}, name
            if isinstance(node, ast.Call):
                called = getattr(node.func, "id", getattr(node.func, "attr", ""))
                assert called not in {"eval", "exec", "unsafe_load"}, name
                for option in node.keywords:
                    if option.arg == "allow_pickle":
                        assert not ast.literal_eval(option.value), name


def test_readme_draws_every_file_of_the_package():
    readme = (ROOT / "README.md").read_text()
    for path in PACKAGE.rglob("*.py"):
        if path.name != "__init__.py":
            assert path.name in readme, path
    for folder in ("benchmarks/", "configs/", "notebooks/", "tests/", "results/"):
        assert folder in readme


def test_readmes_commands_are_the_makefiles():
    makefile = (ROOT / "Makefile").read_text()
    for target in ("train", "test"):
        assert f"make {target}" in (ROOT / "README.md").read_text()
        assert f"\n{target}:" in makefile
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_every_test_that_readme_names_is_there():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "README.md").read_text()))
    files = (ROOT / "tests").glob("test_*.py")
    defined = {
        name
        for file in files
        for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    assert len(named) > 20
    assert named <= defined


def test_readmes_python_runs():
    import jax.numpy as jnp

    readme = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    names = {"params": {"w": jnp.ones(3)}, "grads": {"w": jnp.ones(3)}}
    exec(code, names)
    assert names["params"]["w"][0] < 1
