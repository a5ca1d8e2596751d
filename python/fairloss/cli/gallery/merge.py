"""The command `fairloss gallery merge`."""

from pathlib import Path
from typing import Annotated

import typer

from fairloss.checks import expect
from fairloss.cli._console import print_line
from fairloss.cli._options import IndexKind, IndexMemory
from fairloss.cli._progress import progress_bars
from fairloss.cli.gallery._folder import check_index, load_gallery, rebuild_index, save_gallery
from fairloss.gallery import Embedder, Gallery, claim_gallery, read_embedder
from fairloss.gallery.storage import MANIFEST
from fairloss.io.output import locked_output


def merge(
    galleries: Annotated[list[Path], typer.Argument(help="Folders of galleries.")],
    output: Annotated[Path, typer.Option(help="New folder of the gallery of all their faces.")],
    index: IndexKind = None,
    memory: IndexMemory = None,
) -> None:
    """Merge galleries of one network's embeddings; faces of one name are all kept.

    Example: `fairloss gallery merge monday tuesday --output week`
    """
    check_index(index)
    expect(not (output / MANIFEST).is_file(), "output", "a folder without a gallery", output)
    with locked_output(output):
        merged, embedder = _load(galleries)
        with progress_bars() as progress:
            claim_gallery(output, embedder, empty=True)
            rebuild_index(merged, index, memory, progress)
        save_gallery(merged, output)
    print_line(f"{len(merged)} embeddings, {merged.index} index: {output}")


def _load(galleries: list[Path]) -> tuple[Gallery, Embedder | None]:
    """Return a gallery of all faces, in memory, and their network if it is known."""
    loaded = [load_gallery(folder) for folder in galleries]
    parts = zip(galleries, loaded, strict=True)
    embedders = {read_embedder(folder) for folder, part in parts if len(part)}
    expect(
        len(embedders) < 2,
        "galleries",
        "embeddings of one checkpoint, all with mirror images or all without",
        f"{len(embedders)} origins, one of them unknown"
        if None in embedders
        else f"{len(embedders)} origins",
    )
    merged = loaded[0]
    for part in loaded[1:]:
        merged.merge(part)
    return merged, next(iter(embedders), None)
