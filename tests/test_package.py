"""The distributions: built twice alike, complete, and working where nothing else is."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from module_files import module_at
from test_types import assert_known

import lion_jax
from lion_jax import recipes, startup

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(path.name for path in (ROOT / "configs").glob("*.py"))
CAN_BUILD = all(map(importlib.util.find_spec, ("hatchling", "hatch_fancy_pypi_readme")))

build = module_at(ROOT / "tools" / "package_check.py").build
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    if not CAN_BUILD:
        pytest.skip("hatchling is not installed: run pip install -e '.[test]'")
    return build(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Runs Python in an environment with the wheel, in an empty folder and home."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place / "env")
    python = place / "env" / "bin" / "python"
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "--python", python, "install"]
    subprocess.run([*command, *options, built[0]], check=True)
    home = place / "home"
    home.mkdir()
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environ["HOME"] = str(home)

    def run(*arguments, libraries=True):
        """Runs it with the libraries of this environment, or with none."""
        (folder,) = (place / "env" / "lib").glob("python*/site-packages")
        paths = [path for path in sys.path if path.endswith("-packages")]
        (folder / "libraries.pth").write_text("\n".join(paths if libraries else []))
        command = [python, *arguments]
        return subprocess.run(
            command, cwd=home, env=environ, capture_output=True, text=True
        )

    run.python, run.environ = python, environ
    return run


def test_two_builds_are_equal_to_the_byte(built, tmp_path):
    for first, second in zip(built, build(tmp_path), strict=True):
        assert first.read_bytes() == second.read_bytes(), first.name


def test_the_wheel_holds_all_that_it_needs(built):
    names = zipfile.ZipFile(built[0]).namelist()
    folders = {name.partition("/")[0] for name in names}
    version = lion_jax.__version__
    assert folders == {"lion_jax", f"lion_jax-{version}.dist-info"}
    shipped = [name for name in names if name.startswith("lion_jax/configs/")]
    assert sorted(name.rpartition("/")[2] for name in shipped) == CONFIGS
    assert {"lion_jax/py.typed", "lion_jax/data/fashion_mnist_sample.npz"} <= {*names}
    assert len(names) == len({*names})


def test_the_description_leads_nowhere_that_an_index_does_not_have(built):
    archive = zipfile.ZipFile(built[0])
    (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
    metadata = archive.read(name).decode()
    assert len(metadata) > 8000
    targets = re.findall(r"\]\(([^)]*)\)", metadata)
    assert [target for target in targets if not target.startswith("https://")] == []
    assert "docs/optimizer.md" in metadata


def test_the_source_distribution_holds_the_tests_and_what_they_read(built):
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    git = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    if (ROOT / ".git").exists():
        listed = subprocess.run(git, cwd=ROOT, capture_output=True, text=True)
        there = {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}
        assert there <= names
    assert {"tests/conftest.py", "configs/quickstart.py", ".ci/run"} <= names


def test_the_wheel_alone_has_the_configurations_and_the_sample(installed):
    listed = installed("-m", "lion_jax.train", "--config", "list")
    assert listed.returncode == 0, listed.stderr
    lines = dict(line.split(maxsplit=1) for line in listed.stdout.splitlines())
    assert [f"{name}.py" for name in lines] == CONFIGS
    assert lines["quickstart"].startswith("ResNet-50 with Lion on the embedded sample")
    code = (
        "import json, lion_jax\n"
        "from lion_jax import cli, data, recipes\n"
        "names = {'quickstart', 'configs/resnet50_lion.py', *recipes.files()}\n"
        "loaded = [cli.load_config(name).name for name in sorted(names)]\n"
        "images = len(data.load(data.SAMPLE).train_images)\n"
        "print(json.dumps([lion_jax.__version__, lion_jax.__file__, loaded, images]))"
    )
    ran = installed("-c", code)
    version, file, loaded, images = json.loads(ran.stdout)
    assert version == lion_jax.__version__
    assert not file.startswith(str(ROOT))
    assert len(loaded) == len(CONFIGS) + 1
    assert images == 5000


def test_the_wheel_is_typed(installed, tmp_path):
    assert installed("-c", "import lion_jax").returncode == 0
    assert_known(tmp_path, installed.python, installed.environ)


def test_commands_without_their_packages_name_what_to_install(installed):
    for command in ("train", "evaluate", "predict", "export", "data", "compare"):
        ran = installed("-m", f"lion_jax.{command}", "--help", libraries=False)
        assert ran.returncode == startup.CALLER_MISTAKE
        (line,) = ran.stderr.splitlines()
        assert line.startswith(
            "error: the commands of lion_jax need absl-py and 13 more"
        )
        assert line.endswith("; run python -m pip install 'lion-jax[train]'.")
    # What that installs is there, the commands run.
    assert installed("-m", "lion_jax.train", "--help").returncode == 0
    assert len(startup.missing_packages()) == 0


def test_the_version_is_the_same_wherever_it_stands():
    texts = [path.read_text() for path in (ROOT / "README.md", ROOT / "docs/index.md")]
    named = {v for text in texts for v in re.findall(r"lion_jax-([\d.]+)-py3", text)}
    cited = re.search(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.M)
    assert cited
    assert {cited[1], *named} == {lion_jax.__version__}


def test_a_name_is_a_configuration_and_a_file_of_that_name_comes_first(tmp_path):
    from lion_jax import cli

    assert cli.load_config("resnet50_lion").name == "resnet50_lion"
    assert [path.stem for path in recipes.find("sample_vit_*")] == [
        *("sample_vit_ti8_adamw", "sample_vit_ti8_lion")
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        text = (ROOT / "configs" / "quickstart.py").read_text()
        Path("resnet50_lion").write_text(text)
        assert cli.load_config("resnet50_lion").name == "quickstart"
