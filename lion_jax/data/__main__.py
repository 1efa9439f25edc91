"""The data command: `python -m lion_jax.data prepare` and `... where`."""

import argparse
from pathlib import Path

from lion_jax import cli, data
from lion_jax.data import cache, debian
from lion_jax.files import cache_folder

USAGE = """\
prepare gets a data set from the nearest source, verifies and caches it;
where says which sources of it are there, in the order in which they are tried."""


def main(argv: list[str]) -> int:
    """Runs the command; returns its exit status."""
    parser = cli.ArgumentParser(
        prog="python -m lion_jax.data",
        description=USAGE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("prepare", "where"))
    parser.add_argument("--name", default="fashion_mnist", help="name in TFDS")
    parser.add_argument("--data_dir", default="", help="TFDS's folder")
    parser.add_argument("--cache_dir", default="", help="folder of the cache")
    arguments = parser.parse_args(argv)
    if arguments.command == "where":
        _where(arguments.name, arguments.data_dir, arguments.cache_dir)
    else:
        _prepare(arguments.name, arguments.data_dir, arguments.cache_dir)
    return 0


def _prepare(name: str, data_dir: str, cache_dir: str) -> None:
    dataset = data.load(name, data_dir, cache_dir)
    train, test = len(dataset.train_labels), len(dataset.test_labels)
    shape = "x".join(map(str, dataset.train_images.shape[1:]))
    print(f"{dataset.name} {dataset.version}, from {dataset.source}")
    print(f"{train} training and {test} test images of {shape} bytes")
    print(f"{dataset.num_classes} classes: {', '.join(dataset.class_names)}")
    print(f"sha256 of the arrays: {dataset.sha256()}")


def _where(name: str, data_dir: str, cache_dir: str) -> None:
    from lion_jax.data import tfds_source

    if name == data.SAMPLE:
        _say("embedded sample", data.SAMPLE_PATH, data.SAMPLE_PATH.exists())
        return
    folder = Path(cache_dir).expanduser() if cache_dir else cache_folder()
    path = cache.path_of(name, folder, data_dir)
    _say("verified cache", path, path.exists())
    prepared, found = tfds_source.prepared_folder(name, data_dir)
    _say("prepared TFDS folder", prepared, found)
    print("untried TFDS download")
    if name == "fashion_mnist":
        _say("Debian's copy", debian.FOLDER, debian.is_installed())


def _say(source: str, path: Path, found: bool) -> None:
    print(f"{'found' if found else 'absent':<7} {source:<21} {path}")


if __name__ == "__main__":
    cli.run(main, (data.DataError,))
