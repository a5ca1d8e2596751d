"""The command `fairloss gallery build`."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer

from fairloss.cli._console import print_line
from fairloss.cli._options import Checkpoint, FeatureFile, IndexKind, IndexMemory
from fairloss.cli._progress import progress_bars
from fairloss.cli.gallery._folder import (
    check_index,
    features_embedder,
    load_or_create,
    rebuild_index,
    save_gallery,
)
from fairloss.data import image_batches, read_features
from fairloss.data.images import list_identified, may_mirror
from fairloss.gallery import Embedder, claim_gallery, fill
from fairloss.io.atomic import FormatError
from fairloss.io.output import locked_output
from fairloss.models import embed_batches
from fairloss.progress import labeled
from fairloss.training.backbone import load_identified
from fairloss.typing import Floats

BATCH = 256


def build(
    output: Annotated[Path, typer.Option(help="Folder of the gallery.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of identity/image files, or of arrays.")
    ] = None,
    checkpoint: Checkpoint = None,
    features: FeatureFile = None,
    index: IndexKind = None,
    memory: IndexMemory = None,
) -> None:
    """Add faces that are not in a gallery yet, from images or features, and index it.

    An interrupted run resumes. Examples:
    `fairloss gallery build --data faces --checkpoint runs/mine/model.pt --output gallery`,
    `fairloss gallery build --features features.npy --output gallery`
    """
    check_index(index)
    with locked_output(output):
        faces = _read_faces(data, checkpoint, features)
        gallery = load_or_create(output, faces.embedding_size)
        claim_gallery(output, faces.embedder, empty=not len(gallery))
        present = set(gallery.names)
        missing = [name for name in faces.names if name not in present]
        if len(missing) < len(faces.names):
            print_line(f"{len(faces.names) - len(missing)} already there, by name")
        with progress_bars() as progress:
            if missing:
                fill(gallery, output, missing, faces.batches(missing), labeled(progress, "add"))
            rebuild_index(gallery, index, memory, progress)
        save_gallery(gallery, output)
    print_line(
        f"{len(missing)} embeddings added, {len(gallery)} in all, {gallery.index} index: {output}"
    )


class _Faces(NamedTuple):
    """Faces that a gallery may lack."""

    names: list[str]
    embedding_size: int
    embedder: Embedder | None  # the network of the embeddings; None if it is not recorded
    batches: Callable[[Sequence[str]], Iterator[Floats]]  # (n, D) embeddings of some names in order


def _read_faces(data: Path | None, checkpoint: Path | None, features: Path | None) -> _Faces:
    if features is not None and data is None and checkpoint is None:
        return _stored_faces(features)
    if features is None and data is not None and checkpoint is not None:
        return _computed_faces(data, checkpoint)
    raise ValueError(
        "features: expected either --features, or --data and --checkpoint, got "
        f"{'neither' if features is None else 'both'}"
    )


def _stored_faces(path: Path) -> _Faces:
    file = read_features(path)
    row = {name: number for number, name in enumerate(file.names)}

    def batches(names: Sequence[str]) -> Iterator[Floats]:
        for start in range(0, len(names), BATCH):
            part = names[start : start + BATCH]
            rows = file.embeddings[[row[name] for name in part]]
            usable = np.isfinite(rows).all(axis=1) & rows.any(axis=1)
            if not usable.all():
                name = part[int(usable.argmin())]
                raise FormatError(path, f"the features of {name!r} are all zero or not finite")
            yield rows

    return _Faces(file.names, file.embeddings.shape[1], features_embedder(file), batches)


def _computed_faces(data: Path, checkpoint: Path) -> _Faces:
    model, config, digest = load_identified(checkpoint)
    height, width = config.image_size
    names, _ = list_identified(data)
    embedder = Embedder(digest, flip=may_mirror(data))

    def batches(names: Sequence[str]) -> Iterator[Floats]:
        pixels = image_batches(data, names, (height, width), config.channels, BATCH)
        for embeddings in embed_batches(model, pixels, flip=embedder.flip):
            yield embeddings.cpu().numpy()

    return _Faces(names, config.model.embedding_size, embedder, batches)
