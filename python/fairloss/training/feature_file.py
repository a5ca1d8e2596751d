"""Feature files of a list of images, written so that an interrupted run resumes."""

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from torch import Tensor, distributed, nn

from fairloss.data import image_batches, write_manifest, write_vector
from fairloss.data.features import remove_manifest
from fairloss.data.images import may_mirror
from fairloss.data.npy import check_npy
from fairloss.io.atomic import report_failure, write_atomic, write_text
from fairloss.io.output import locked_beside, locked_output
from fairloss.models import embed_shares, rank_share
from fairloss.ranks import on_first_rank
from fairloss.training.backbone import load_backbone, load_identified
from fairloss.training.config import TrainConfig
from fairloss.typing import Float32s, Floats

T = TypeVar("T")
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
    process_group: "distributed.ProcessGroup | None" = None,
) -> None:
    """Write (N, D) float32 features of `root/name` to `output` (.npy) and their manifest.

    `root` is a folder of files or of arrays. Rows follow `names`: for IJB, the order of its image
    list. `output` appears when it is complete; an interrupted run with the same images, checkpoint
    and options resumes, with any number of ranks.

    Args:
        checkpoint: a run's model.pt.
        root: folder of the images, or of arrays.
        names: N images in it.
        output: path of the .npy; the manifest is beside it.
        identities: N names of identities, for the manifest.
        points: (N, 5, 2) landmarks to align by.
        flip: add the features of the mirror image, where `FaceImages.mirror` allows it.
        progress: called as progress(done, total).
        process_group: of ranks that each embed a share of the images; the first one writes.

    Raises:
        ValueError: naming an image that cannot be read.
    """
    check_npy(output)
    with _of_first_rank(locked_beside(output, folder=False), process_group):
        model, config, digest = load_identified(checkpoint)
        flip = flip and may_mirror(root)
        record = {"flip": flip, "checkpoint_sha256": digest}
        job = _job(digest, names, points, flip)
        _embed(model, config, root, names, output, job, points, progress, process_group)
        _on_first(lambda: write_manifest(output, names, identities, **record), process_group)


def _on_first(function: Callable[[], T], group: "distributed.ProcessGroup | None") -> T:
    return function() if group is None else on_first_rank(function, group)


@contextmanager
def _of_first_rank(
    context: AbstractContextManager[None], group: "distributed.ProcessGroup | None"
) -> Iterator[None]:
    """Enter a context on the first rank alone; its error is raised on all."""
    with ExitStack() as stack:
        _on_first(lambda: stack.enter_context(context), group)
        yield


def _embed(
    model: nn.Module,
    config: TrainConfig,
    root: Path,
    names: Sequence[str],
    output: Path,
    job: dict[str, Any],
    points: Floats | None,
    progress: Callable[[int, int], object] | None,
    group: "distributed.ProcessGroup | None",
) -> None:
    """Write the rows of `embed_to_npy` that an interrupted run of the same job has not written."""
    size = config.model.embedding_size
    partial = output.with_name(f".{output.name}.partial")
    state = output.with_name(f".{output.name}.partial.json")

    def begin() -> tuple[int, int]:
        done = _done(state, job) if partial.is_file() else 0
        return done, _start(partial, (len(names), size), done)

    done, start = _on_first(begin, group)
    height, width = config.image_size
    share = done + rank_share(len(names) - done, BATCH, group)
    left = None if points is None else points[share]
    mine = [names[row] for row in share]
    batches = image_batches(root, mine, (height, width), config.channels, BATCH, left)

    def write(embeddings: Tensor) -> None:
        _write_rows(partial, start + 4 * size * done, embeddings.cpu().numpy())
        write_text(state, json.dumps(job | {"done": done + len(embeddings)}))

    for embeddings in embed_shares(model, batches, flip=job["flip"], process_group=group):
        _on_first(functools.partial(write, embeddings), group)
        done += len(embeddings)
        if progress is not None:
            progress(done, len(names))

    def complete() -> None:
        remove_manifest(output)
        os.replace(partial, output)
        state.unlink()

    _on_first(complete, group)


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
    process_group: "distributed.ProcessGroup | None" = None,
) -> None:
    """Write one MegaFace feature file an image, `output/name + suffix`, of unit length.

    Unit length, because the kit's program compares by Euclidean distance. Files that exist are
    not written again, so that an interrupted run resumes; take another suffix for another
    checkpoint. `process_group` is as of `embed_to_npy`.
    """
    with _of_first_rank(locked_output(output), process_group):
        model, config = load_backbone(checkpoint)
        flip = flip and may_mirror(root)
        missing = _on_first(
            lambda: [name for name in names if not (output / f"{name}{suffix}").is_file()],
            process_group,
        )
        mine = [missing[row] for row in rank_share(len(missing), BATCH, process_group)]
        height, width = config.image_size
        batches = image_batches(root, mine, (height, width), config.channels, BATCH)
        paths = [output / f"{name}{suffix}" for name in missing]
        done = 0
        for embeddings in embed_shares(model, batches, flip=flip, process_group=process_group):
            written = paths[done : done + len(embeddings)]
            _on_first(functools.partial(_write_units, written, embeddings), process_group)
            done += len(embeddings)
            if progress is not None:
                progress(len(names) - len(missing) + done, len(names))


def _write_units(paths: Sequence[Path], embeddings: Tensor) -> None:
    """Write a file of each embedding, of unit length."""
    unit = embeddings / embeddings.norm(dim=1, keepdim=True)
    for path, vector in zip(paths, unit.cpu().numpy(), strict=True):
        write_atomic(path, functools.partial(write_vector, vector=vector))


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
