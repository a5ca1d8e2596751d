"""Commands that use what was trained: gallery, report, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from fairloss.cli.progress import bars
from fairloss.cli.source import folder_embeddings
from fairloss.data import FaceImages
from fairloss.models import embed as embed_faces
from fairloss.training import check_embedder, load_backbone, record_embedder

Checkpoint = Annotated[Path, typer.Option(help="model.pt of a run folder.")]
Data = Annotated[Path, typer.Option(help="Folder of identity/image files, or of arrays.")]

gallery = typer.Typer(help="Search a gallery of faces.", no_args_is_help=True)


@gallery.command("build")
def gallery_build(
    data: Data,
    checkpoint: Checkpoint,
    output: Annotated[Path, typer.Option(help="Folder of the gallery.")],
) -> None:
    """Embed a folder of faces and index it.

    Example: `fairloss gallery build --data faces --checkpoint runs/mine/model.pt --output gallery`
    """
    from fairloss.gallery import Gallery

    with bars() as progress:
        faces, embeddings = folder_embeddings(data, checkpoint, progress)
    built = Gallery(embeddings.shape[1])
    built.add(faces.names, embeddings)
    built.save(output)
    record_embedder(output, checkpoint, flip=faces.mirror)
    typer.echo(f"{len(built)} embeddings of {faces.num_classes} identities: {output}")


@gallery.command("query")
def gallery_query(
    images: Annotated[list[Path], typer.Argument(help="Probe images.")],
    gallery: Annotated[Path, typer.Option(help="Folder written by `gallery build`.")],
    checkpoint: Checkpoint,
    k: Annotated[int, typer.Option("-k", help="Nearest faces to show.")] = 5,
) -> None:
    """The nearest faces of each probe image, with their cosine scores.

    Example: `fairloss gallery query me.jpg --gallery gallery --checkpoint runs/mine/model.pt`
    """
    from fairloss.gallery import Gallery

    loaded = Gallery.load(gallery)
    flip = check_embedder(gallery, checkpoint)
    found = loaded.search(_embed_files(images, checkpoint, flip), k)
    for image, matches in zip(images, found, strict=True):
        table = Table(title=str(image), title_justify="left")
        table.add_column("nearest")
        table.add_column("cosine", justify="right")
        for match in matches:
            table.add_row(match.name, f"{match.score:.4f}")
        Console().print(table)


def report(
    run: Annotated[Path, typer.Argument(help="Run folder of `train` or `demo`.")],
    output: Annotated[Path | None, typer.Option(help="Default: report.html in the run.")] = None,
) -> None:
    """Write one self-contained HTML page about a run.

    Example: `fairloss report runs/mine`
    """
    from fairloss.report import write_report

    typer.echo(f"wrote {write_report(run, output)}")


def doctor() -> None:
    """What was built, what is missing, and how to mend it.

    Example: `fairloss doctor`
    """
    from fairloss.doctor import diagnose, render

    typer.echo(render(diagnose()))


def _embed_files(
    images: list[Path], checkpoint: Path, flip: bool
) -> np.ndarray[Any, np.dtype[np.float32]]:
    import torch

    from fairloss.data.decode import decode_image

    model, config = load_backbone(checkpoint)
    height, width = config.image_size

    def decode(path: Path) -> torch.Tensor:
        if not path.is_file():
            raise FileNotFoundError(f"images: {path} does not exist")
        try:
            return decode_image(path, (height, width), config.channels)
        except Exception as error:
            raise ValueError(f"images: {path} cannot be read: {error}") from error

    pixels = torch.stack([decode(path) for path in images])
    names = [str(path) for path in images]
    probes = FaceImages(pixels, torch.zeros(len(images), dtype=torch.int64), ["probe"], names)
    return embed_faces(model, probes, flip=flip).cpu().numpy()
