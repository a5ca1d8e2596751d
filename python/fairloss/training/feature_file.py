"""Feature files of a list of images, written so that an interrupted run resumes."""

import functools
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from fairloss.data import image_batches, write_manifest, write_vector
from fairloss.data.features import remove_manifest
from fairloss.data.images import may_mirror
from fairloss.data.npy import check_npy
from fairloss.io.atomic import report_failure, write_atomic, write_text
from fairloss.io.output import locked_beside, locked_output
from fairloss.models import embed_batches
from fairloss.training.backbone import load_backbone, load_identified
from fairloss.training.config import TrainConfig
from fairloss.typing import Float32s, Floats

BATCH = 256


def embed_to_npy(
    checkpoint: Path,
    root: Path,
    names: Sequence[str],
    output: Path,
    *,
    identities: Sequence[str] | None = None,
    points: Floats | None = None,
    flip: bool = True,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Write (N, D) float32 features of `root/name` to `output` (.npy) and their manifest.

    `root` is a folder of files or of arrays. Rows follow `names`: for IJB, the order of its image
    list. `output` appears when it is complete; an interrupted run with the same images, checkpoint
    and options resumes.

    Args:
        checkpoint: a run's model.pt.
        root: folder of the images, or of arrays.
        names: N images in it.
        output: path of the .npy; the manifest is beside it.
        identities: N names of identities, for the manifest.
        points: (N, 5, 2) landmarks to align by.
        flip: add the features of the mirror image, where `FaceImages.mirror` allows it.
        progress: called as progress(done, total).

    Raises:
        ValueError: naming an image that cannot be read.
    """
    check_npy(output)
    with locked_beside(output, folder=False):
        model, config, digest = load_identified(checkpoint)
        flip = flip and may_mirror(root)
        record = {"flip": flip, "checkpoint_sha256": digest}
        job = _job(digest, names, points, flip)
        _embed(model, config, root, names, output, job, points, progress)
        write_manifest(output, names, identities, **record)


def _embed(
    model: nn.Module,
    config: TrainConfig,
    root: Path,
    names: Sequence[str],
    output: Path,
    job: dict[str, Any],
    points: Floats | None,
    progress: Callable[[int, int], object] | None,
) -> None:
    """Write the rows of `embed_to_npy` that an interrupted run of the same job has not written."""
    size = config.model.embedding_size
    partial = output.with_name(f".{output.name}.partial")
    state = output.with_name(f".{output.name}.partial.json")
    done = _done(state, job) if partial.is_file() else 0
    start = _start(partial, (len(names), size), done)
    height, width = config.image_size
    left = None if points is None else points[done:]
    batches = image_batches(root, names[done:], (height, width), config.channels, BATCH, left)
    for embeddings in embed_batches(model, batches, flip=job["flip"]):
        _write_rows(partial, start + 4 * size * done, embeddings.cpu().numpy())
        done += len(embeddings)
        write_text(state, json.dumps(job | {"done": done}))
        if progress is not None:
            progress(done, len(names))
    remove_manifest(output)
    os.replace(partial, output)
    state.unlink()


def _start(partial: Path, shape: tuple[int, int], done: int) -> int:
    """Return where the rows of a file begin, which is begun anew unless some are done."""
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with report_failure(partial), partial.open("rb+" if done else "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        return file.tell()


def _write_rows(partial: Path, offset: int, rows: Float32s) -> None:
    """Write rows at an offset: a full disk is an error, where a memory map would be killed."""
    with report_failure(partial), partial.open("rb+") as file:
        file.seek(offset)
        file.write(np.ascontiguousarray(rows, dtype="<f4").data)
        file.flush()
        os.fsync(file.fileno())


def embed_to_devkit(
    checkpoint: Path,
    root: Path,
    names: Sequence[str],
    output: Path,
    suffix: str,
    *,
    flip: bool = True,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Write one MegaFace feature file an image, `output/name + suffix`, of unit length.

    Unit length, because the kit's program compares by Euclidean distance. Files that exist are
    not written again, so that an interrupted run resumes; take another suffix for another
    checkpoint.
    """
    with locked_output(output):
        model, config = load_backbone(checkpoint)
        flip = flip and may_mirror(root)
        missing = [name for name in names if not (output / f"{name}{suffix}").is_file()]
        height, width = config.image_size
        batches = image_batches(root, missing, (height, width), config.channels, BATCH)
        done = 0
        for embeddings in embed_batches(model, batches, flip=flip):
            unit = embeddings / embeddings.norm(dim=1, keepdim=True)
            for name, vector in zip(missing[done:], unit.cpu().numpy(), strict=False):
                write = functools.partial(write_vector, vector=vector)
                write_atomic(output / f"{name}{suffix}", write)
            done += len(embeddings)
            if progress is not None:
                progress(len(names) - len(missing) + done, len(names))


def _job(
    checkpoint: str, names: Sequence[str], points: Floats | None, flip: bool
) -> dict[str, Any]:
    """Return what must be equal for a run to resume."""
    listed = hashlib.sha256(json.dumps(list(names)).encode())
    if points is not None:
        listed.update(np.ascontiguousarray(points, dtype=np.float32).tobytes())
    return {"checkpoint": checkpoint, "images": listed.hexdigest(), "flip": flip}


def _done(state: Path, job: dict[str, Any]) -> int:
    """Return the rows of an interrupted run of the same job; 0 if it was another."""
    try:
        record = json.loads(state.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return 0
    done = record.pop("done", 0) if isinstance(record, dict) else 0
    return done if record == job and isinstance(done, int) else 0
