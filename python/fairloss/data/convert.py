"""Writing a set of labeled images as a folder of files, as records or as arrays."""

from __future__ import annotations

import hashlib
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from fairloss.checks import check_choice, expect
from fairloss.data.arrays import holds_arrays, map_arrays
from fairloss.data.decode import decode_batches, decode_bytes, pillow, warn_left_out
from fairloss.data.encoded_images import EncodedImages
from fairloss.data.images import open_images
from fairloss.data.labeled_images import LabeledImages
from fairloss.data.record_images import RecordImages
from fairloss.data.set_writers import (
    ArrayWriter,
    FolderWriter,
    Image,
    RecordWriter,
    SetWriter,
    Written,
    names_in_identity,
)
from fairloss.data.suffixes import content_suffix
from fairloss.data.text_files import StrPath
from fairloss.io.atomic import FormatError, report_failure, report_malformed
from fairloss.io.json import read_json, write_json
from fairloss.typing import Ints

WRITERS: dict[str, type[SetWriter]] = {
    "folder": FolderWriter,
    "rec": RecordWriter,
    "arrays": ArrayWriter,
}
MANIFEST = ".conversion.json"  # hidden, so that readers of folders of images leave it alone
PROGRESS = "progress.json"


@dataclass
class Conversion:
    """The work of a conversion so far, or in all.

    Attributes:
        order: (n,) positions of the images in the set, in the order of writing.
        done: number of images that were written or left out.
        sizes: of the files that grow.
        left_out: why an image was left out, by its number in `order`.
    """

    order: Ints
    done: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    left_out: dict[int, str] = field(default_factory=dict)

    @property
    def written(self) -> Ints:
        """Positions of the images that were written, in order."""
        return np.delete(self.order[: self.done], list(self.left_out))


def open_source(
    path: StrPath, image_size: tuple[int, int] = (112, 112), channels: int = 3
) -> LabeledImages:
    """Open a set without decoding it; a folder of arrays has an image size of its own."""
    if holds_arrays(path):
        return map_arrays(path)
    return open_images(path, image_size, channels, memory_limit=0)


def source_kind(images: LabeledImages) -> str:
    """Return the key of `WRITERS` that writes a set as it is stored; of a list, "folder"."""
    if isinstance(images, RecordImages):
        return "rec"
    return "folder" if isinstance(images, EncodedImages) else "arrays"


def convert_images(
    images: LabeledImages,
    output: StrPath,
    kind: str,
    positions: Ints | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Conversion:
    """Write images of a set, those of an identity together, else in their order.

    `output` appears when all of it is complete. An interrupted call resumes when it is repeated,
    from the folder `.<output>.partial` beside it, and the result has the same bytes. Where another
    process may write the same output, the caller holds `fairloss.io.output.locked_beside`.

    Args:
        images: the set.
        output: a new folder, or one that the same call has completed.
        kind: "folder", `output/identity/image`; "rec", insightface's `train.rec`; or "arrays".
            Encoded images are copied as they are to folders and records; pixels become PNG.
        positions: (n,) of the images to write; all by default.
        progress: called as progress(done, total).

    Warns:
        UnreadableImage: once for all images that cannot be decoded (arrays) or have no known format
            (folders and records). They are left out, and so is an identity without others.

    Raises:
        ValueError: the contents of `output` are others, or no image can be read.
        FormatError: a file of the set is damaged or was changed.
    """
    check_choice("to", kind, tuple(WRITERS))
    target = Path(output).resolve()
    given = np.arange(len(images)) if positions is None else positions
    order = given[np.argsort(images.labels.numpy()[given], kind="stable")]
    conversion = _convert(images, target, kind, order, progress)
    if kind != "arrays" and not images.mirror:
        warnings.warn("mirror: false is not kept, as arrays alone have it", stacklevel=2)
    reasons = [f"{images.names[order[n]]} ({why})" for n, why in conversion.left_out.items()]
    warn_left_out("unreadable images left out", reasons)
    return conversion


def _convert(
    images: LabeledImages,
    target: Path,
    kind: str,
    order: Ints,
    progress: Callable[[int, int], object] | None,
) -> Conversion:
    plan = _plan(images, kind, order)
    work = target.with_name(f".{target.name}.partial")
    complete = work / "complete"
    if target.exists() and any(target.iterdir()):
        conversion = _load(target / MANIFEST, plan, order, f"output {target}")
        shutil.rmtree(work, ignore_errors=True)
        return conversion
    if (work / PROGRESS).is_file():
        conversion = _load(work / PROGRESS, plan, order, f"output, in part in {work}")
    else:
        WRITERS[kind].check(images.identities)
        shutil.rmtree(work, ignore_errors=True)
        conversion = Conversion(order)
        _save(work / PROGRESS, plan, conversion)
    shape = (images.channels, *images.image_size)
    names = _names(images, order)
    with report_failure(target), WRITERS[kind](complete, shape, conversion.sizes) as writer:
        for _ in _write(images, names, writer, conversion):
            _save(work / PROGRESS, plan, conversion)
            if progress is not None:
                progress(conversion.done, len(order))
        _check_written(images, conversion, work)
        writer.finish(_written(images, names, conversion))
    with report_failure(target):
        _save(complete / MANIFEST, plan, conversion)
        os.replace(complete, target)
    shutil.rmtree(work)
    return conversion


def _plan(images: LabeledImages, kind: str, order: Ints) -> dict[str, Any]:
    """Return all that the result depends on."""
    digest = hashlib.sha256(images.version())
    digest.update(order.tobytes() + images.labels.numpy().tobytes())
    for names in (images.identities, images.names):
        digest.update("\0".join(names).encode("utf-8", "surrogateescape"))
    shape = [images.channels, *images.image_size] if WRITERS[kind].decoded else None
    return {"kind": kind, "shape": shape, "source": digest.hexdigest()}


def _save(path: Path, plan: dict[str, Any], conversion: Conversion) -> None:
    state = {"done": conversion.done, "sizes": conversion.sizes}
    write_json(path, plan | state | {"left_out": list(conversion.left_out.items())})


def _load(path: Path, plan: dict[str, Any], order: Ints, name: str) -> Conversion:
    """Return the state in a file; ValueError if it is of another conversion."""
    expect(path.is_file(), name, "a new folder", "a folder of other files")
    state = read_json(path, done=int, sizes=dict, left_out=list)
    other = [key for key in plan if state.get(key) != plan[key]]
    expect(not other, name, "the same conversion or a new folder", f"another {', '.join(other)}")
    with report_malformed(path):
        return Conversion(order, state["done"], state["sizes"], dict(state["left_out"]))


def _write(
    images: LabeledImages, names: list[str], writer: SetWriter, conversion: Conversion
) -> Iterator[None]:
    """Write the images that are left; yield when the state is that on the disk."""
    order, labels = conversion.order, images.labels.numpy()
    written = conversion.written
    number, label = len(written), len(np.unique(labels[written])) - 1
    before = labels[written[-1]] if number else None
    read = partial(_pixels if writer.decoded else _encoded, images)
    readers = [partial(read, position) for position in order[conversion.done :].tolist()]
    for contents in decode_batches(readers):
        for content in contents:
            if isinstance(content, FormatError):  # of a file, which is not the fault of one image
                raise content
            if isinstance(content, Exception):
                conversion.left_out[conversion.done] = str(content)
            else:
                source = labels[order[conversion.done]]
                label, before = label + (source != before), source
                identity, name = images.identities[source], names[conversion.done]
                writer.write(Image(number, label, identity, name, content))
                number += 1
            conversion.done += 1
        conversion.sizes = writer.flush()
        yield


def _encoded(images: LabeledImages, position: int) -> bytes:
    """Return an image as it is stored, if its format is one that Pillow has, or pixels as PNG."""
    if isinstance(images, EncodedImages):
        content = images.read_encoded(position)
        content_suffix(content)
        return content
    pixels = images.images([position])[0].permute(1, 2, 0).numpy()
    buffer = BytesIO()
    pillow().fromarray(pixels[:, :, 0] if images.channels == 1 else pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _pixels(images: LabeledImages, position: int) -> bytes:
    """Return the pixels of an image, as the bytes of (channels, H, W)."""
    if isinstance(images, EncodedImages):
        content, options = images.read_encoded(position), (images.channels, images.decoder)
        image = decode_bytes(content, images.image_size, *options)
    else:
        image = images.images([position])[0]
    return image.contiguous().numpy().tobytes()


def _names(images: LabeledImages, order: Ints) -> list[str]:
    """Return the name of each image in its identity."""
    labels = images.labels.numpy()[order].tolist()
    names: list[str] = []
    for _, group in groupby(zip(labels, order.tolist(), strict=True), key=itemgetter(0)):
        names += names_in_identity([images.names[position] for _, position in group])
    return names


def _written(images: LabeledImages, names: list[str], conversion: Conversion) -> Written:
    remaining, labels = np.unique(images.labels.numpy()[conversion.written], return_inverse=True)
    left = [name for number, name in enumerate(names) if number not in conversion.left_out]
    identities = [images.identities[label] for label in remaining.tolist()]
    return Written(labels, left, identities, images.mirror)


def _check_written(images: LabeledImages, conversion: Conversion, work: Path) -> None:
    """Raise ValueError, and remove what is there, if no image can be read."""
    if not len(conversion.written):
        number, reason = next(iter(conversion.left_out.items()))
        shutil.rmtree(work)
        name = images.names[conversion.order[number]]
        got = f"{conversion.done}, none of them readable, as {name!r} ({reason})"
        expect(False, "images", "one that can be read", got)
