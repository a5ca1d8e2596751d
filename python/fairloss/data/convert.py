"""Conversion of a set of labeled images to a folder of files, of arrays or of records."""

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
from pathlib import Path
from typing import Any

import numpy as np

from fairloss.checks import check_choice, expect
from fairloss.data.arrays import holds_arrays
from fairloss.data.decode import decode_batches, decode_bytes, pillow, warn_left_out
from fairloss.data.encoded_images import EncodedImages
from fairloss.data.images import open_images
from fairloss.data.labeled_images import LabeledImages
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
from fairloss.io.atomic import FormatError
from fairloss.io.json import read_json, write_json
from fairloss.io.output import locked_beside
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
    """The state of a conversion that may have been interrupted.

    Attributes:
        done: number of the images that were written or left out.
        sizes: of the files that grow.
        left_out: reasons by the position of the image in the order of writing.
    """

    done: int = 0
    sizes: dict[str, int] = field(default_factory=dict)
    left_out: dict[int, str] = field(default_factory=dict)


def convert_images(
    images: LabeledImages,
    output: StrPath,
    kind: str,
    positions: Ints | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Written:
    """Write images of a set, those of an identity together, else in their order.

    `output` appears when all of it is complete. An interrupted call resumes when it is repeated,
    from the folder `.<output>.partial` beside it, and the result has the same bytes.

    Args:
        images: the set.
        output: a new folder, or one that the same call has completed.
        kind: "folder", `output/identity/image`; "rec", insightface's `train.rec`; or "arrays".
            Encoded images are copied as they are to folders and records; pixels become PNG.
        positions: (n,) of the images to write; all by default.
        progress: called as progress(done, total).

    Returns:
        What was written.

    Warns:
        UnreadableImage: once for all images that cannot be decoded, or for a folder or records
            have no known format, which are left out; identities without others are left out too.

    Raises:
        ValueError: the contents of `output` are others, or no image can be read.
        FormatError: a file of the set is damaged or was changed.
    """
    check_choice("to", kind, tuple(WRITERS))
    target = Path(output).resolve()
    with locked_beside(target, folder=True):
        return _convert(images, target, kind, _order(images, positions), progress)
