"""Commands about galleries: build, query, tune, merge."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from fairloss.cli.faces import additions, embed_files, read_files
from fairloss.cli.progress import bars
from fairloss.cli.source import FeatureFile
from fairloss.data import image_batches, read_features
from fairloss.training import (
    check_embedder,
    claim_gallery,
    load_backbone,
    read_embedder,
    write_json,
)

if TYPE_CHECKING:
    from fairloss.gallery import Gallery, Match, Tuning

Folder = Annotated[Path, typer.Option(help="Folder written by `gallery build`.")]
Kind = Annotated[
    str | None,
    typer.Option(help="flat, ivf, hnsw, ivf-pq or auto. Default: as it was, at first auto."),
]
Memory = Annotated[float | None, typer.Option(help="GB for indexes. Default: half of all.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]

gallery = typer.Typer(help="Search a gallery of faces.", no_args_is_help=True)


@gallery.command("build")
def build(
    output: Annotated[Path, typer.Option(help="Folder of the gallery.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder of identity/image files, or of arrays.")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="model.pt of a run folder.")] = None,
    features: FeatureFile = None,
    index: Kind = None,
    memory: Memory = None,
) -> None:
    """Add faces that are not in a gallery yet, from images or features, and index it.

    An interrupted run goes on. Examples:
    `fairloss gallery build --data faces --checkpoint runs/mine/model.pt --output gallery`,
    `fairloss gallery build --features features.npy --output gallery`
    """
    from fairloss.gallery import Gallery, fill

    source = additions(data, checkpoint, features)
    try:
        built = Gallery.load(output)
    except FileNotFoundError:
        built = Gallery(source.embedding_size)
    claim_gallery(output, source.embedder)
    known = set(built.names)
    missing = [name for name in source.names if name not in known]
    with bars() as progress:
        if missing:
            batches = source.batches(missing)
            fill(built, output, missing, batches, lambda done, all_: progress("add", done, all_))
        _reindex(built, index, memory, progress)
    built.save(output)
    typer.echo(
        f"{len(missing)} embeddings added, {len(built)} in all, {built.index} index: {output}"
    )


@gallery.command("query")
def query(
    images: Annotated[list[Path], typer.Argument(help="Probe images.")],
    gallery: Folder,
    checkpoint: Annotated[Path, typer.Option(help="model.pt of a run folder.")],
    k: Annotated[int, typer.Option("-k", help="Nearest faces to show.")] = 5,
    output: Annotated[
        Path | None, typer.Option(help="An .svg, .png or .pdf picture of them; needs --data.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder that the gallery's faces came from.")
    ] = None,
    device: Device = "auto",
) -> None:
    """The nearest faces of each probe image, with their cosine scores.

    Example: `fairloss gallery query me.jpg --gallery gallery --checkpoint runs/mine/model.pt`,
    with `--data faces --output nearest.png` for a picture.
    """
    from fairloss.gallery import Gallery

    if output is not None and data is None:
        raise ValueError("data: a picture needs --data, the folder that the faces came from")
    loaded = Gallery.load(gallery, device)
    flip = check_embedder(gallery, checkpoint)
    model, config = load_backbone(checkpoint)
    pixels = read_files(images, config)
    found = loaded.search(embed_files(model, pixels, flip), k)
    for image, matches in zip(images, found, strict=True):
        table = Table(title=str(image), title_justify="left")
        table.add_column("nearest")
        table.add_column("cosine", justify="right")
        for match in matches:
            table.add_row(match.name, f"{match.score:.4f}")
        Console().print(table)
    if output is not None and data is not None:
        _draw(images, pixels, found, data, output)
        typer.echo(f"wrote {output}")


@gallery.command("tune")
def tune(
    gallery: Folder,
    recall: Annotated[float, typer.Option(help="recall@1 to reach.")] = 0.99,
    probes: Annotated[
        Path | None,
        typer.Option(help="A .npy of `fairloss embed`. Default: 1,000 faces of the gallery."),
    ] = None,
    batch: Annotated[int, typer.Option(help="Probes of one search.")] = 1,
    index: Annotated[
        list[str] | None, typer.Option(help="Kinds to measure besides flat. Default: all.")
    ] = None,
    memory: Memory = None,
    output: Annotated[Path | None, typer.Option(help="Default: tune.json in the gallery.")] = None,
    device: Device = "auto",
) -> None:
    """Measure recall and time of every kind of index and keep the fastest that finds enough.

    Example: `fairloss gallery tune --gallery gallery --recall 0.99`
    """
    from fairloss.gallery import Gallery
    from fairloss.gallery.kinds import KINDS

    loaded = Gallery.load(gallery, device)
    with bars() as progress:
        tuning = loaded.tune(
            recall,
            probes=None if probes is None else read_features(probes).embeddings,
            batch=batch,
            kinds=index or KINDS,
            memory=_bytes(memory),
            progress=progress,
        )
    loaded.save(gallery)
    settings = {"recall": recall, "batch": batch, "count": len(loaded)}
    settings |= {"probes": tuning.probes, "held_out": probes is None, "threads": tuning.threads}
    points = {"points": [asdict(p) for p in tuning.points], "chosen": asdict(tuning.chosen)}
    write_json(output or gallery / "tune.json", settings | points)
    _show(tuning)


@gallery.command("merge")
def merge(
    galleries: Annotated[list[Path], typer.Argument(help="Folders of galleries.")],
    output: Annotated[Path, typer.Option(help="New folder of the gallery of all their faces.")],
    index: Kind = None,
    memory: Memory = None,
) -> None:
    """Put galleries of one network's embeddings together; faces of one name are all kept.

    Example: `fairloss gallery merge monday tuesday --output week`
    """
    from fairloss.gallery import Gallery
    from fairloss.gallery.storage import MANIFEST

    if (output / MANIFEST).is_file():
        raise ValueError(f"output: {output} already holds a gallery")
    embedders = {read_embedder(folder) for folder in galleries} - {None}
    if len(embedders) > 1:
        raise ValueError(
            "galleries: they hold embeddings of different checkpoints, or some with mirror images "
            "and some without, which cannot be compared"
        )
    merged = Gallery.load(galleries[0])
    for folder in galleries[1:]:
        merged.merge(Gallery.load(folder))
    for embedder in embedders:
        claim_gallery(output, embedder)
    with bars() as progress:
        _reindex(merged, index, memory, progress)
    merged.save(output)
    typer.echo(f"{len(merged)} embeddings, {merged.index} index: {output}")


def _reindex(built: Gallery, index: str | None, memory: float | None, progress: Any) -> None:
    built.reindex(
        index,
        memory=_bytes(memory),
        progress=lambda done, total: progress("index", done, total),
    )


def _bytes(gigabytes: float | None) -> int | None:
    return None if gigabytes is None else int(gigabytes * 1e9)


def _show(tuning: Tuning) -> None:
    table = Table(title=f"{tuning.probes} probes, {tuning.threads} threads", title_justify="left")
    for column in ("index", "parameter", "recall@1", "ms a probe", "index MB", "build s", ""):
        table.add_column(column, justify="left" if column == "index" else "right")
    for point in tuning.points:
        table.add_row(
            point.kind,
            str(point.parameter) if point.parameter else "",
            f"{point.recall:.4f}",
            f"{point.milliseconds:.3f}",
            f"{point.index_bytes / 1e6:.0f}",
            f"{point.build_seconds:.1f}",
            "chosen" if point == tuning.chosen else "",
        )
    Console().print(table)


def _draw(
    images: list[Path], probes: torch.Tensor, found: list[list[Match]], data: Path, output: Path
) -> None:
    from fairloss.report.nearest import Face, draw_nearest

    names = list(dict.fromkeys(match.name for matches in found for match in matches))
    _, channels, height, width = probes.shape
    parts = image_batches(data, names, (height, width), channels)
    pixels: dict[str, Any] = {}
    for part in parts:
        pixels |= zip(names[len(pixels) :], part.numpy(), strict=False)
    rows = [
        [Face(probe, "probe", image.name)]
        + [Face(pixels[match.name], f"{match.score:.3f}", match.name) for match in matches]
        for image, probe, matches in zip(images, np.asarray(probes), found, strict=True)
    ]
    draw_nearest(rows, output)
