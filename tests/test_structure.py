"""Import rules, public names, and what the documentation states about the files."""

import ast
import graphlib
import re
import sys
from pathlib import Path

import pytest

import lion_jax

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lion_jax"
# Each room (a folder, or a module outside of one) and the rooms that it may import.
SHARED = {"config", "cli", "flags", "suggestions", "environment", "files", "runtime"}
SHARED |= {"identity", "interruption", "recipes", "references", "cluster"}
ROOMS = {
    "__init__": {"optimizer", "startup"},
    "__main__": {"recipes"},
    "distributed": {"optimizer"},
    "optimizer": set(),
    "models": set(),
    "data": {"files", "config", "references"},
    "config": set(),
    "references": {"config"},
    "cluster": {"config", "interruption", "startup"},
    "cli": {"cluster", "config", "interruption", "recipes", "references", "startup"},
    "flags": {"config", "suggestions", "options", "arguments"},
    "arguments": {"config"},
    "options": {"config"},
    "suggestions": {"config"},
    "recipes": set(),
    "files": set(),
    "plots": {"files"},
    "environment": {"files"},
    "identity": {"config", "references"},
    "interruption": set(),
    "startup": set(),
    "xla_flags": set(),
    "runtime": {"files", "xla_flags"},
    "training": {
        *("cluster", "config", "data", "environment", "files", "identity"),
        *("interruption", "models", "optimizer", "plots", "references"),
    },
    "compare": {"training", "data", "plots"} | SHARED,
    "train": {"training", "data", "models", "optimizer"} | SHARED,
    "model_flags": {"training", "data"} | SHARED,
    "evaluate": {"training", "model_flags"} | SHARED,
    "predict": {"training", "data", "model_flags"} | SHARED,
    "export": {"training", "model_flags"} | SHARED,
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


def test_architecture_says_which_rooms_may_be_imported():
    page = (ROOT / "docs" / "architecture.md").read_text()
    table = page.partition("## Who may import whom")[2].partition("```\n")[2]
    rows = re.split(r"(\w+) +-> ", table.partition("```")[0])[1:]
    said = dict(zip(rows[::2], map(str.strip, rows[1::2]), strict=True))
    assert said.pop("commands") == "everything but each other"
    for room, others in said.items():
        found = {*re.findall(r"\w+", re.sub("nothing of ours|and the .*", "", others))}
        assert found == ROOMS[room] - (SHARED if "the shared" in others else set()), (
            room
        )
    shared = page.partition("The shared modules are")[2].partition(".")[0]
    assert {*re.findall(r"`(\w+)`", shared)} == SHARED


def test_the_optimizer_needs_four_libraries():
    found = set()
    for path in (PACKAGE / "optimizer").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, "names", ())]
            if isinstance(node, ast.ImportFrom):
                names = [node.module]
            if isinstance(node, ast.Import | ast.ImportFrom):
                found |= {name.partition(".")[0] for name in names}
    libraries = found - sys.stdlib_module_names - {"lion_jax"}
    assert libraries == {"jax", "jaxtyping", "numpy", "optax"}


def test_no_room_has_a_cycle(graph):
    order = graphlib.TopologicalSorter(graph)
    order.prepare()  # raises CycleError, which names the cycle


def test_the_top_level_names_are_the_optimizer():
    names = "LionState averaged from_optax lion scale_by_lion to_optax"
    names += " with_ema with_error_bits with_stochastic_rounding"
    assert sorted(lion_jax.__all__) == names.split()


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


def drawn_files(text):
    """Paths in the tree of a Markdown page, whose levels are indented by two spaces."""
    (tree,) = re.findall(r"```\n(lion_jax/\n.*?)```", text, re.DOTALL)
    folders, files = [], set()
    for line in tree.splitlines():
        name = line.split()[0]
        level = (len(line) - len(line.lstrip())) // 2
        folders[level:] = [name.rstrip("/")]
        if not name.endswith("/"):
            files.add("/".join(folders))
        elif level == 0:
            files.add(name)
    return files


def test_architecture_draws_every_file_of_the_package():
    drawn = drawn_files((ROOT / "docs" / "architecture.md").read_text())
    there = {path.relative_to(ROOT).as_posix() for path in PACKAGE.rglob("*.py")}
    empty = {name for name in there if name.endswith("/__init__.py")}
    folders = {name for name in drawn if name.endswith("/")}
    assert drawn - folders == there - empty | {"lion_jax/__init__.py"}
    listed = {
        "benchmarks",
        "configs",
        "docs",
        "launch",
        "notebooks",
        "results",
        "tests",
    }
    listed |= {"tools"}
    assert folders == {f"{name}/" for name in {"lion_jax"} | listed}


def pages():
    """README, CONTRIBUTING and so on, and the pages of docs/."""
    return [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def test_readme_is_short_and_gives_the_makefiles_commands():
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) <= 200
    makefile = (ROOT / "Makefile").read_text()
    for target in ("train", "test"):
        assert f"make {target}" in readme
        assert f"\n{target}:" in makefile
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_every_test_that_the_documentation_names_is_there():
    named = {
        name
        for page in pages()
        for name in re.findall(r"`(test_\w+)`", page.read_text())
    }
    files = (ROOT / "tests").glob("test_*.py")
    defined = {
        name
        for file in files
        for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    assert len(named) > 20
    assert named <= defined


@pytest.mark.slow
def test_every_link_of_the_documentation_leads_to_a_file():
    for page in pages():
        for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_sections_that_are_named_are_there():
    """As in: benchmarks/LOG.md, "Flags of XLA:CPU"; also over two lines."""
    reference = re.compile(r'((?:\w+/)*(?:\w+(?=\.md)|README))(?:\.md)?, "(.+?)"')
    named = 0
    for folder in ("lion_jax", "configs", "benchmarks", "tests", "docs"):
        for file in (ROOT / folder).rglob("*.[pm][yd]"):
            text = re.sub(r"\n(# )? *", " ", file.read_text())
            for page, title in reference.findall(text):
                there = (ROOT / f"{page}.md").read_text()
                heading = rf"^#+ {re.escape(title)}$"
                assert re.search(heading, there, re.M), f"{file}: {title}"
                named += 1
    assert named > 5


def test_readmes_python_runs():
    import jax.numpy as jnp

    readme = (ROOT / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    names = {"params": {"w": jnp.ones(3)}, "grads": {"w": jnp.ones(3)}}
    exec(code, names)
    assert names["params"]["w"][0] < 1
