"""Suffixes of image files, and names without them."""

from pathlib import PurePosixPath

from fairloss.data.decode import pillow

# Where Pillow is not installed, as beside features alone.
COMMON = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)


def image_suffixes() -> frozenset[str]:
    """Return the lower-case suffixes of all files that Pillow, with its plugins, may open."""
    try:
        image = pillow()
    except ImportError:
        return COMMON
    extensions = image.registered_extensions()
    return frozenset(suffix for suffix, format in extensions.items() if format in image.OPEN)


def without_suffix(name: str) -> str:
    """Return a name with forward slashes and without the suffix of an image, if it has one."""
    path = PurePosixPath(name.replace("\\", "/"))
    return str(path.with_suffix("") if path.suffix.lower() in image_suffixes() else path)
