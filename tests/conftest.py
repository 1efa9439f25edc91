"""Set-up of all tests: checked array shapes, eight emulated devices, one compile cache.

The jaxtyping hook makes every shape in a signature of lion_jax an assertion.
"""

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

DEVICES = 8


def pytest_configure() -> None:
    """Sets JAX up before the first test module imports it."""
    compiled = Path(__file__).parents[1] / ".pytest_cache" / "compiled"
    compiled.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(compiled)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.3"
    from jaxtyping import install_import_hook

    install_import_hook("lion_jax", "beartype.beartype")
    import jax

    jax.config.update("jax_num_cpu_devices", DEVICES)


@dataclasses.dataclass(frozen=True)
class Command:
    """Runs `python -m MODULE ARGUMENTS` in an empty folder with an empty home."""

    folder: Path
    home: Path

    def start(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=self.folder,
            env=os.environ | {"HOME": str(self.home), "XDG_CACHE_HOME": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        process = self.start(module, *arguments)
        out, err = process.communicate(timeout=300)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """A runner of commands in a folder and a home of its own."""
    made = Command(folder=tmp_path / "folder", home=tmp_path / "home")
    made.folder.mkdir()
    made.home.mkdir()
    return made


@pytest.fixture(scope="module")
def quick_compilation() -> Iterator[None]:
    """Leaves out LLVM's optimisations, a third of the time; XLA's own passes stay."""
    import jax

    name = "jax_disable_most_optimizations"
    before = jax.config.read(name)
    jax.config.update(name, True)
    yield
    jax.config.update(name, before)


@pytest.fixture
def small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gives every run in this process a few hundred images only."""
    import small_runs

    from lion_jax import data

    small = small_runs.small_dataset()
    monkeypatch.setattr(data, "load", lambda *_: small)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed run; not to be written to."""
    import small_runs

    from lion_jax import data

    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        small = small_runs.small_dataset()
        patch.setattr(data, "load", lambda *_: small)
        assert small_runs.run(small_runs.small_config(), folder)[0] == 0
    return folder
