"""Suffixes of image files, and names of images compared with or without them."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import PurePosixPath

from fairloss.data.decode import EncodedImage, pillow
from fairloss.data.text_files import StrPath, check_format

# Where Pillow is not installed, as beside features alone.
COMMON = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
# First bytes of what nearly all sets of faces hold.
SIGNATURES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png"}


def image_suffixes() -> frozenset[str]:
    """Return the lower-case suffixes of all files that Pillow, with its plugins, may open."""
    try:
        image = pillow()
    except ImportError:
        return COMMON
    # Pillow lists formats that it does not decode itself, such as HDF5
    other = {"BUFR", "GRIB", "HDF5", "MPEG", "WMF"}
    readable = image.OPEN.keys() - other
    extensions = image.registered_extensions()
    return frozenset(suffix for suffix, format in extensions.items() if format in readable)


def content_suffix(content: bytes) -> str:
    """Return the usual suffix of an encoded image, by its first bytes.

    Raises:
        Exception: any that Pillow raises where it knows no such format.
    """
    for start, suffix in SIGNATURES.items():
        if content.startswith(start):
            return suffix
    image = pillow()
    with image.open(EncodedImage(content)) as opened:
        formats: dict[str, str] = image.registered_extensions()
        return next(suffix for suffix, name in formats.items() if name == opened.format)


def suffix_format(suffix: str) -> str | None:
    """Return the name of the format of a suffix in any case, as Pillow has it."""
    formats: dict[str, str] = pillow().registered_extensions()
    return formats.get(suffix.lower())


def without_suffix(name: str) -> str:
    """Return a name with forward slashes and without the suffix of an image, if it has one."""
    return _stem(name, image_suffixes())


def match_names(asked: Sequence[str], available: Sequence[str], source: StrPath) -> list[int]:
    """Return the position of each image among the available names.

    A name that is there as it is comes first, then the one that is equal without the suffix of an
    image (.jpg, .png). Backslashes count as slashes.

    Args:
        asked: names of images, each as often as needed.
        available: names to find them in.
        source: file, folder or kind of file with the available names, for errors.

    Raises:
        FormatError: an image is not among them, or two of them differ from it in the suffix alone.
    """
    rows = find_names(asked, available, source)
    missing = [name for name, row in zip(asked, rows, strict=True) if row is None]
    named = f"; names are like {available[0]!r}" if available else ""
    first = f"the first {next(iter(missing), None)!r}{named}"
    got = f"none for {len(missing)} of {len(asked)} images, {first}"
    check_format(not missing, source, f"expected an entry for each image, got {got}")
    return [row for row in rows if row is not None]


def find_names(asked: Sequence[str], available: Sequence[str], source: StrPath) -> list[int | None]:
    """Return what `match_names` does, with None for an image that is not there."""
    rows: list[int | None] = [None] * len(asked)
    keys: tuple[Callable[[str], str], ...] = (
        str,
        _normal,
        partial(_stem, suffixes=image_suffixes()),
    )
    for key in keys:
        left = [number for number, row in enumerate(rows) if row is None]
        if not left:
            break
        rows_of: dict[str, list[int]] = {}
        for row, name in enumerate(available):
            rows_of.setdefault(key(name), []).append(row)
        for number in left:
            equal = rows_of.get(key(asked[number]), [])
            if len(equal) > 1:
                both = " and ".join(repr(available[row]) for row in equal[:2])
                check_format(False, source, f"expected one image {asked[number]!r}, got {both}")
            rows[number] = next(iter(equal), None)
    return rows


def _normal(name: str) -> str:
    return str(PurePosixPath(name.replace("\\", "/")))


def _stem(name: str, suffixes: frozenset[str]) -> str:
    path = _normal(name)
    stem, dot, suffix = path.rpartition(".")
    named = stem and not stem.endswith("/")  # no hidden file without a suffix
    return stem if named and f"{dot}{suffix}".lower() in suffixes else path
