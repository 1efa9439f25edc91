"""Set-up of all tests: checked array shapes, eight emulated devices, one compile cache.

The jaxtyping hook makes every shape in a signature of lion_jax an assertion. Ranks are
never promoted, dtypes only in tests with the marker `standard_promotion`.
"""

import ctypes
import dataclasses
import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import compilation
import pytest

DEVICES = 8
# Of processes and of training.
SLOW_FIXTURES = {"command", "kill", "small_data", "two_epochs", "whole"}
CPU_SECONDS = 3  # of a test that is not marked slow, with its processes
WORKER_BYTES = 2.5e9
MARKERS = (
    "slow: trains, compiles whole models, starts processes or tries hundreds of cases;"
    " not in `make quick`",
    "standard_promotion(reason): JAX promotes dtypes in this test",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick",
        action="store_true",
        help="leave out tests marked slow; fail others that take long",
    )


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Marks as slow what trains or starts processes; `--quick` leaves that out."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & SLOW_FIXTURES:
            item.add_marker("slow")
    if config.getoption("quick"):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """With `--quick`, a test that takes long and is not marked slow fails."""
    before = sum(os.times()[:4])  # this process and those that it waited for
    yield
    seconds = sum(os.times()[:4]) - before
    if item.config.getoption("quick") and seconds > CPU_SECONDS:
        pytest.fail(
            f"took {seconds:.1f} s of CPU time, more than {CPU_SECONDS} s: make it"
            " faster, or mark it slow"
        )


def pytest_configure(config: pytest.Config) -> None:
    """Sets JAX up before the first test module imports it."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    compiled = Path(__file__).parents[1] / ".pytest_cache" / "compiled"
    compiled.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Empty: what JAX finds. benchmarks/gpu_campaign.py runs the optimizer's tests so.
    platforms = os.environ.get("LION_JAX_TEST_PLATFORMS", "cpu")
    os.environ["JAX_PLATFORMS"] = platforms
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # workers share a GPU
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(compiled)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
    os.environ[compilation.LIGHT.upper()] = str(platforms == "cpu").lower()
    from jaxtyping import install_import_hook

    install_import_hook("lion_jax", "beartype.beartype")
    import jax

    jax.config.update("jax_num_cpu_devices", DEVICES)
    compilation.write_whole_programs()
    compilation.use_the_older_generator()


@pytest.fixture(scope="session", autouse=True)
def memory_of_the_worker() -> Iterator[None]:
    """Fails the last test of a process whose memory has grown too large."""
    yield
    from lion_jax import environment

    peak = environment.peak_memory()["peak_host_bytes"]
    assert peak is None or peak < WORKER_BYTES, f"this process grew to {peak:,} bytes"


def resident_bytes() -> int:
    """Returns the memory that this process holds; 0 where it is not known."""
    pages = Path("/proc/self/statm")
    if not pages.exists():
        return 0
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module", autouse=True)
def returned_memory() -> Iterator[None]:
    """Returns freed memory to the OS: after compilations, a third of what is held."""
    yield
    if resident_bytes() > WORKER_BYTES / 2:
        import jax

        jax.clear_caches()  # of compiled programs; costly, since many are used again
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only glibc has it
    if trim is not None:
        trim(0)


@pytest.fixture(autouse=True)
def dtype_promotion(request: pytest.FixtureRequest) -> Iterator[None]:
    """Promotes dtypes only where a test states why."""
    import jax

    marker = request.node.get_closest_marker("standard_promotion")
    if marker:
        (reason,) = marker.args
        assert reason
    with jax.numpy_dtype_promotion("standard" if marker else "strict"):
        yield


@dataclasses.dataclass(frozen=True)
class Command:
    """Runs `python -m MODULE ARGUMENTS` in an empty folder with an empty home."""

    folder: Path
    home: Path

    def start(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        path = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        environ = {"HOME": str(self.home), "XDG_CACHE_HOME": ""}
        environ |= {"PYTHONPATH": os.pathsep.join(path)}  # for small_models
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=self.folder,
            env=os.environ | environ,
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


@pytest.fixture
def terminal() -> Iterator[None]:
    """Hears Ctrl-C as in a terminal, which background processes of scripts ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def full_compilation() -> Iterator[None]:
    """Compiles as users do; elsewhere LLVM's optimizations are left out.

    They take a third of the time, and jax 0.10's generator of code another (see
    compilation.py). XLA's own passes are the same without them.
    """
    import jax

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(compilation.LIGHT.upper(), "false")  # for processes
        jax.config.update(compilation.LIGHT, False)
        yield
    jax.config.update(compilation.LIGHT, True)


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

    folder = tmp_path_factory.mktemp("whole") / "run"
    return small_runs.undisturbed(small_runs.small_config(), folder)


@pytest.fixture(scope="session")
def ended_early(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs of three; not to be written to."""
    import small_runs

    folder = tmp_path_factory.mktemp("ended_early") / "run"
    return small_runs.ended_after_two_epochs(folder)


@pytest.fixture
def two_epochs(ended_early: Path, tmp_path: Path) -> Path:
    """A run that was ended after two of three epochs, each of them saved."""
    return shutil.copytree(ended_early, tmp_path / "run")


@pytest.fixture(scope="session")
def kill() -> Iterator[Callable[..., None]]:
    """Ends a run by SIGKILL at the n-th call of a function of the package."""
    import kills

    with kills.server() as kill:
        yield kill
