"""Builds the distributions, checks them, and installs the wheel into new environments.

    python tools/package_check.py

needs a package index. It prints how many packages and megabytes an installation
brings, and fails if the optimizer brings more than three packages besides those of
Optax, if two builds differ, if the optimizer's doctests fail with its libraries alone,
or if a command does not run once the packages that it asks for are installed.
"""

import os
import shlex
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
MORE_THAN_OPTAX = 3
DOCTESTS = """
import doctest, importlib, pkgutil
import lion_jax, lion_jax.optimizer as room
flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
names = [module.name for module in pkgutil.iter_modules(room.__path__)]
modules = [importlib.import_module(f"{room.__name__}.{name}") for name in names]
results = [doctest.testmod(module, optionflags=flags) for module in modules]
failed, tried = map(sum, zip(*results))
print(f"doctests with these packages alone: {tried} examples, {failed} failed")
raise SystemExit(failed > 0 or tried < 20)
"""
QUICK = "--config.model.name=resnet_nano --config.model.zero_init_residual=false"
QUICK += " --config.epochs=1"


class Environment:
    """A new environment, and an empty folder in which its commands run."""

    def __init__(self, folder: Path):
        """Makes both in a folder that is not there yet."""
        venv.create(folder, with_pip=True)
        self.bin = folder / "bin"
        self.home = folder / "home"
        self.home.mkdir()
        self.start = self._folders()

    def run(self, *words: str, status: int = 0) -> str:
        """Runs Python; returns its errors.

        Raises:
          SystemExit: If it ends with another status than expected.
        """
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        ran = subprocess.run(
            [self.bin / "python", *words],
            cwd=self.home,
            env=environ | {"HOME": str(self.home), "PATH": path},
            stderr=subprocess.PIPE,
            text=True,
        )
        if ran.returncode != status:
            raise SystemExit(f"{shlex.join(words)} exits with {ran.returncode}: {ran}")
        return ran.stderr

    def install(self, *words: str, title: str) -> int:
        """Installs packages, prints what that brought and returns how many."""
        self.run("-m", "pip", "install", "--quiet", *words)
        packages = self._folders() - self.start
        used = sum(x.stat().st_size for x in self._site().rglob("*") if x.is_file())
        print(f"{title:<30} {len(packages):3} packages {used / 1e6:6.0f} MB")
        return len(packages)

    def _site(self) -> Path:
        return next(self.bin.parent.glob("lib/python*/site-packages"))

    def _folders(self) -> set[str]:
        return {path.name for path in self._site().glob("*.dist-info")}


def build(folder: Path) -> tuple[Path, Path]:
    """Builds the wheel and the source distribution, without a network; returns both."""
    epoch = ["git", "log", "-1", "--format=%ct"]
    time = subprocess.run(epoch, cwd=ROOT, capture_output=True, text=True).stdout
    environ = os.environ | {"SOURCE_DATE_EPOCH": time.strip() or "1700000000"}
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, env=environ, check=True, capture_output=True)
    (wheel,), (sdist,) = folder.glob("lion_jax-*.whl"), folder.glob("lion_jax-*.tar.gz")
    return wheel, sdist


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in DIST.glob("lion_jax-*"):
            file.unlink()
        wheel, _ = files = build(DIST)
        for file, again in zip(files, build(folder / "again"), strict=True):
            assert file.read_bytes() == again.read_bytes(), f"{file.name} differs"
            print(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB, twice the same")
        checker = Environment(folder / "checker")
        checker.run("-m", "pip", "install", "--quiet", "twine")
        checker.run("-m", "twine", "check", "--strict", *map(str, files))

        theirs = Environment(folder / "optax").install("optax", title="optax")
        ours = Environment(folder / "ours")
        more = ours.install(str(wheel), title="lion-jax") - theirs
        assert more <= MORE_THAN_OPTAX, f"{more} packages more than optax"
        ours.run("-c", DOCTESTS)
        refusal = ours.run("-m", "lion_jax.train", status=2)
        print(refusal.strip())
        remedy = shlex.split(refusal.rpartition("; run ")[2].strip().rstrip("."))
        ours.install(*remedy[4:], title=remedy[-1])
        command = "-m lion_jax.train --config quickstart"
        print(f"python {command}, one epoch of the smallest model:")
        ours.run(*command.split(), *QUICK.split())


if __name__ == "__main__":
    main()
