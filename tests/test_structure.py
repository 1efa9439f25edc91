"""The house: which module imports which, what the top names are, what README draws."""

import ast
import re
from pathlib import Path

import pytest

import lion_jax

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lion_jax"
# Every module of the package and the modules of the package that it imports.
IMPORTS = {
    "__init__": {"bf16", "lion"},
    "lion": {"momentum", "variants"},
    "momentum": {"float_bits", "int8"},
    "distributed": {"lion", "momentum", "variants"},
    "bf16": {"float_bits"},
    "int8": {"float_bits"},
    "float_bits": set(),
    "variants": set(),
    "images": set(),
    "sharding": set(),
    "early_stopping": set(),
    "environment": set(),
    "files": set(),
    "logs": {"config", "files"},
    "profiling": set(),
    "runtime": {"data.cache", "xla_flags"},
    "xla_flags": set(),
    "config": set(),
    "models.__init__": {"models.resnet", "models.vit"},
    "models.attention": set(),
    "models.conv": set(),
    "models.norm": set(),
    "models.pool": set(),
    "models.remat": set(),
    "models.resnet": {"models.conv", "models.norm", "models.pool", "models.remat"},
    "models.vit": {"models.attention", "models.conv", "models.remat"},
    "data.__init__": {"data.cache", "data.dataset", "data.tfds_source"},
    "data.__main__": {"cli", "data.__init__", "data.cache", "data.debian"}
    | {"data.tfds_source"},
    "data.cache": {"data.dataset"},
    "data.dataset": set(),
    "data.debian": set(),
    "data.tfds_source": {"data.dataset", "data.debian"},
    "cli": {"config"},
    "optimizers": {"config", "lion"},
    "history": {"early_stopping"},
    "step": {"images"},
    "manifest": {"files"},
    "records": {"config", "files"},
    "stats": set(),
    "comparison": {"history", "records", "stats"},
    "figures": {"comparison", "files", "history", "records"},
    "markdown": set(),
    "tuning": {"comparison", "markdown", "records"},
    "report": {"comparison", "figures", "files", "markdown", "records", "stats"}
    | {"tuning"},
    "checkpoint": {"manifest", "step"},
    "program": {"config", "data.__init__", "images", "models.__init__"}
    | {"optimizers", "sharding", "step"},
    "evaluate": {"checkpoint", "cli", "config", "data.__init__", "logs"}
    | {"program", "runtime", "sharding"},
    "trial": {"checkpoint", "config", "environment", "history", "logs"}
    | {"program", "step"},
    "campaign": {"cli", "config", "data.__init__", "environment", "logs"}
    | {"program", "records", "sharding", "trial"},
    "compare": {"campaign", "checkpoint", "cli", "config", "data.__init__"}
    | {"logs", "records", "report", "runtime"},
    "train": {"checkpoint", "cli", "config", "data.__init__", "environment"}
    | {"logs", "profiling", "program", "runtime", "sharding", "trial"},
}


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


def test_the_import_graph_is_as_stated():
    known = modules()
    graph = {name: imported_by(path, known) for name, path in known.items()}
    assert graph == IMPORTS


def test_the_top_level_names_are_the_optimizer():
    assert sorted(lion_jax.__all__) == [
        "LionState",
        "lion",
        "scale_by_lion",
        "with_error_bits",
        "with_stochastic_rounding",
    ]


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
