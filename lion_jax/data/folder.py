"""A data set from a folder of images in class folders, decoded once into the cache."""

import functools
import hashlib
import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from lion_jax.data import class_folders, copies, mapped, pictures
from lion_jax.data.ahead import in_order
from lion_jax.data.class_folders import Listing, Part
from lion_jax.data.dataset import DataError, Dataset, ForbiddenError
from lion_jax.data.hold_out import hold_out
from lion_jax.data.progress import progress
from lion_jax.data.source import Place, Request
from lion_jax.files import cache_folder, expanded

NAME = "folder"
GREY = {"1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N"}
ORIENTATION = 0x0112  # EXIF's tag
EXCHANGED = (5, 6, 7, 8)  # its values by which width and height are exchanged
# Where Pillow keeps what a PNG says before its pixels, and an orientation may stand.
TURNING = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}
NAMED = 20  # unreadable files in a message
DARK = 64  # where no pixel of a set is as bright, its values were of fewer bits

_log = logging.getLogger(__name__)


def load(request: Request) -> Dataset:
    """Loads images that lie in class folders.

    They are decoded at the first load, in memory for some hundred images, and again
    when a name or a size in the folder has changed, or what is in a file of another
    time of modification.

    Args:
      request: `data_dir` is the folder, laid out as `class_folders.read` expects.

    Raises:
      DataError: If the folder is laid out otherwise, files cannot be read, images have
        several sizes and no `image_size` is asked for, or the cache's disk is full.
    """
    root, path = _root(request), _cached(request)
    listing = class_folders.read(root)
    for note in listing.notes:
        _log.info("%s", note)
    fingerprint = copies.fingerprint(listing, root)
    if listing.test is None:
        listing = _with_test(listing, str(root))
    with mapped.locked(path):
        try:
            is_same = functools.partial(copies.is_one, listing, root)
            dataset = mapped.read(path, fingerprint, is_same)
            if dataset is None and path.exists():
                how = "%s, or how it is read, has changed since it was decoded."
                _log.info(how, root)
        except ForbiddenError:
            raise
        except DataError as error:
            _log.warning("%s It is made again.", error)
            dataset = None
        if dataset is None:
            _decode(request, root, listing, path, fingerprint)
            dataset = mapped.read(path, fingerprint)
        header = mapped.header(path)
    assert dataset is not None
    _warn(root, len(dataset.test_labels), header)
    return dataset


def _warn(root: Path, tested: int, header: dict[str, Any]) -> None:
    """Warns of what was found in the pixels; caches of earlier versions do not say."""
    if shared := header.get("shared", 0):
        _log.warning(
            "%s: %d of %d test images are training images too, byte for byte, so they"
            " test what was learnt by heart; remove them from one of the splits.",
            root,
            shared,
            tested,
        )
    if (brightest := header.get("brightest", DARK)) < DARK:
        _log.warning(
            "%s: the brightest of all pixels is %d of 255; if the files hold fewer bits"
            " than they have room for, scale their values to the whole range.",
            root,
            brightest,
        )


def places(request: Request) -> list[Place]:
    """Returns the folder and its place in the cache."""
    root, path = _root(request), _cached(request)
    return [
        Place("verified cache", path, path.exists()),
        Place("folder of images", root, root.is_dir()),
    ]


def _root(request: Request) -> Path:
    if not request.data_dir:
        raise DataError(
            "data.name=folder needs the folder; give it as --config.data.data_dir=DIR,"
            " with images in DIR/train/CLASS/ and DIR/test/CLASS/, or in DIR/CLASS/."
        )
    return expanded(request.data_dir).resolve()


def _cached(request: Request) -> Path:
    chosen = request.cache_dir
    folder = expanded(chosen) if chosen else cache_folder()
    place = hashlib.sha256(os.fsencode(_root(request))).hexdigest()[:12]
    size = f"-{request.image_size}px" if request.image_size else ""
    return folder / f"{NAME}-{place}{size}"


def _with_test(listing: Listing, title: str) -> Listing:
    paths, labels = listing.train.paths, listing.train.labels
    train, test = (
        Part([paths[row] for row in rows], labels[rows])
        for rows in hold_out(labels, title)
    )
    return Listing(listing.class_names, train, test, listing.notes)


def _decode(
    request: Request, root: Path, listing: Listing, path: Path, fingerprint: str
) -> None:
    """Decodes all images into the cache."""
    parts = {"train": listing.train, "test": listing.test}
    paths = [path for part in parts.values() if part for path in part.paths]
    failures: dict[Path, str] = {}
    shape = _shape(request, root, paths, failures)
    try:
        with mapped.replacing(path) as folder:
            mapped.require_space(folder, len(paths) * int(np.prod(shape)))
            with progress(f"decoding {root}", len(paths)) as show:
                done, brightest = itertools.count(1), 0
                for name, part in parts.items():
                    assert part is not None
                    images = folder / f"{name}_images.npy"
                    exact = not request.image_size
                    with mapped.writing(images, (len(part.paths), *shape)) as write:
                        for image in _images(part.paths, shape, failures, exact):
                            write(image)
                            brightest = max(brightest, int(image.max()))
                            show(next(done))
                    np.save(folder / f"{name}_labels.npy", part.labels)
            _require_readable(root, failures, len(paths))
            mapped.finish(
                folder,
                fingerprint,
                name=NAME,
                source=f"the folder {root}, decoded into {path}",
                class_names=listing.class_names,
                about=copies.about(listing, root) | {"brightest": brightest},
            )
    except OSError as error:
        raise DataError(
            f"{path} cannot be written ({error.strerror}); give a folder on another"
            " disk as --config.data.cache_dir."
        ) from error


def _shape(
    request: Request, root: Path, paths: Sequence[Path], failures: dict[Path, str]
) -> tuple[int, int, int]:
    """Returns the shape of the set's images, from their files' headers."""
    sizes, grey = set(), True
    with progress(f"reading the sizes in {root}", len(paths)) as show:
        for done, path in enumerate(paths, 1):
            try:
                size, mode = _size_and_mode(path)
            except Exception as error:  # Pillow raises what its many parts raise
                failures[path] = pictures.reason(error)
            else:
                sizes.add(size)
                grey &= mode in GREY
            show(done)
    if not sizes:
        _require_readable(root, failures, len(paths))
    if len(sizes) > 1 and not request.image_size:
        small, *_, large = sorted(sizes, key=lambda size: (size[0] * size[1], size))
        raise DataError(
            f"data.data_dir={str(root)!r}: its images have {len(sizes)} sizes, from"
            f" {small[0]} x {small[1]} to {large[0]} x {large[1]} pixels; set"
            " --config.data.image_size=224, for instance, to cut and resize them."
        )
    width, height = sizes.pop()
    if request.image_size:
        width = height = request.image_size
    return height, width, 1 if grey else 3


def _size_and_mode(path: Path) -> tuple[tuple[int, int], str]:
    with Image.open(path) as image:
        if image.mode == "F":
            raise ValueError("its pixels are floats")
        # A PNG's EXIF may follow its pixels, and would cost decoding them.
        known = image.format != "PNG" or bool(TURNING & image.info.keys())
        turned = known and image.getexif().get(ORIENTATION) in EXCHANGED
        width, height = image.size
        if isinstance(image, TiffImageFile):  # new Pillow turns it itself
            stored = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
            turned &= (width, height) == stored
        return (height, width) if turned else (width, height), image.mode


def _images(
    paths: Sequence[Path],
    shape: tuple[int, int, int],
    failures: dict[Path, str],
    exact: bool,
) -> Iterator[np.ndarray]:
    """Decodes files in order; those that fail are named, and black."""

    def decode(path: Path) -> np.ndarray:
        try:
            if path not in failures:
                return pictures.read(path, shape, exact=exact)
        except Exception as error:  # Pillow raises what its many parts raise
            failures[path] = pictures.reason(error)
        return np.zeros(shape, np.uint8)

    yield from in_order(decode, paths)


def _require_readable(root: Path, failures: dict[Path, str], total: int) -> None:
    if failures:
        named = [f"{path.relative_to(root)} ({failures[path]})" for path in failures]
        named.sort()
        more = f" and {len(named) - NAMED} more" if named[NAMED:] else ""
        raise DataError(
            f"data.data_dir={str(root)!r}: {len(named)} of {total} images cannot be"
            f" read: {', '.join(named[:NAMED])}{more}; remove them, or save them anew"
            " as PNG or JPEG."
        )
