"""Commands that use what was trained: data, embed, evaluate, gallery, report, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from fairloss.cli.progress import bars
from fairloss.data import FaceImages, read_images
from fairloss.models import embed as embed_faces
from fairloss.training import (
    Progress,
    check_embedder,
    load_backbone,
    record_embedder,
    write_json,
    write_whole,
)

Checkpoint = Annotated[Path, typer.Option(help="model.pt of a run folder.")]
Data = Annotated[Path, typer.Option(help="Folder of identity/image files, or of arrays.")]

data = typer.Typer(help="Fetch data sets.", no_args_is_help=True)
evaluate = typer.Typer(help="Published protocols, with intervals.", no_args_is_help=True)
gallery = typer.Typer(help="Search a gallery of faces.", no_args_is_help=True)


@data.command("orl")
def data_orl(
    output: Annotated[Path, typer.Argument(help="New folder for the images.")],
) -> None:
    """The ORL/AT&T faces as identity/image files: 40 people, 10 photographs each (4.5 MB).

    From AT&T Laboratories Cambridge, free for research with acknowledgement. Example:
    `fairloss data orl faces`
    """
    from fairloss.data import export_orl

    typer.echo(f"wrote {export_orl(output)}")


@evaluate.command("pairs")
def evaluate_pairs(
    data: Data,
    checkpoint: Checkpoint,
    output: Annotated[
        Path | None, typer.Option(help="JSON report; default pairs.json beside the checkpoint.")
    ] = None,
    replicates: Annotated[int, typer.Option(help="Of the identity-clustered bootstrap.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the folds and the bootstrap.")] = 0,
) -> None:
    """Verification over all pairs of the images: AUC, EER, TAR at fixed FAR, 95% intervals.

    Example: `fairloss evaluate pairs --data faces --checkpoint runs/mine/model.pt`
    """
    from fairloss.evaluation import evaluate_pairs as evaluate_all

    with bars() as progress:
        faces, embeddings = _embeddings(data, checkpoint, progress)
    most = int(faces.counts.max())
    if faces.num_classes < 2 or most < 2:
        raise ValueError(
            f"data: {data} has {faces.num_classes} identities with {most} images at most; pairs "
            "need two identities, one of them with two images"
        )
    report = evaluate_all(embeddings, faces.labels.numpy(), replicates=replicates, seed=seed)
    path = output or checkpoint.parent / "pairs.json"
    write_json(path, report)
    Console().print(_pairs_table(report))
    typer.echo(f"wrote {path}")


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
        faces, embeddings = _embeddings(data, checkpoint, progress)
    built = Gallery(embeddings.shape[1])
    built.add(faces.names, embeddings)
    built.save(output)
    record_embedder(output, checkpoint)
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
    check_embedder(gallery, checkpoint)
    found = loaded.search(_embed_files(images, checkpoint), k)
    for image, matches in zip(images, found, strict=True):
        table = Table(title=str(image), title_justify="left")
        table.add_column("nearest")
        table.add_column("cosine", justify="right")
        for match in matches:
            table.add_row(match.name, f"{match.score:.4f}")
        Console().print(table)


def embed(
    data: Data,
    checkpoint: Checkpoint,
    output: Annotated[Path, typer.Option(help="A .npy file; names go to .json beside it.")],
) -> None:
    """Write (N, D) float32 embeddings of a folder of faces, image plus mirror.

    Example: `fairloss embed --data faces --checkpoint runs/mine/model.pt --output faces.npy`
    """
    if output.suffix != ".npy":
        raise ValueError(f"output: got {output}, expected a name that ends in .npy")
    with bars() as progress:
        faces, embeddings = _embeddings(data, checkpoint, progress)

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, embeddings)

    write_whole(output, write)
    manifest = {"names": faces.names, "identities": faces.identities}
    labels = faces.labels.tolist()
    write_json(output.with_suffix(".json"), manifest | {"labels": labels, "flip": faces.mirror})
    typer.echo(f"{len(faces)} embeddings of size {embeddings.shape[1]}: {output}")


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


def _embeddings(
    folder: Path, checkpoint: Path, progress: Progress
) -> tuple[FaceImages, np.ndarray[Any, np.dtype[np.float32]]]:
    model, config = load_backbone(checkpoint)
    height, width = config.image_size
    faces = read_images(
        folder,
        (height, width),
        config.channels,
        progress=lambda done, total: progress("read images", done, total),
    )
    found = embed_faces(model, faces, progress=lambda done, total: progress("embed", done, total))
    return faces, found.numpy()


def _embed_files(images: list[Path], checkpoint: Path) -> np.ndarray[Any, np.dtype[np.float32]]:
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
    return embed_faces(model, probes).numpy()


def _pairs_table(report: dict[str, Any]) -> Table:
    title = f"{report['genuine']} genuine and {report['impostor']} impostor pairs"
    table = Table(title=title, title_justify="left")
    for column in ("metric", "value", "95% interval"):
        table.add_column(column)
    rows = {"AUC": report["auc"], "EER": report["eer"]}
    rows |= {f"TAR@FAR={float(far):g}": value for far, value in report["tar"].items()}
    for name, value in rows.items():
        if isinstance(value, str):
            table.add_row(name, value, "")
        else:
            table.add_row(
                name, f"{value['value']:.4f}", f"{value['low']:.4f} to {value['high']:.4f}"
            )
    folds = report["fold_accuracy"]
    accuracy = folds if isinstance(folds, str) else f"{folds['mean']:.4f}"
    table.add_row("balanced fold accuracy", accuracy, "")
    return table
