"""Commands about galleries: build, query, tune, merge."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fairloss.cli.faces import additions, embed_files, features_embedder, read_files
from fairloss.cli.gallery_folder import (
    check_kind,
    check_size,
    load_gallery,
    load_or_start,
    save_gallery,
)
from fairloss.cli.nearest import check_picture, draw_found
from fairloss.cli.progress import bars
from fairloss.cli.source import FeatureFile
from fairloss.data import read_features
from fairloss.gallery import check_embedder, check_same_embedder, claim_gallery, read_embedder
from fairloss.training import load_backbone, write_json

if TYPE_CHECKING:
    from fairloss.gallery import Gallery, Tuning

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
    from fairloss.gallery import fill

    check_kind(index)
    source = additions(data, checkpoint, features)
    built = load_or_start(output, source.embedding_size)
    claim_gallery(output, source.embedder, empty=not len(built))
    known = set(built.names)
    missing = [name for name in source.names if name not in known]
    there = len(source.names) - len(missing)
    if there:
        typer.echo(f"{there} already there, by name")
    with bars() as progress:
        if missing:
            batches = source.batches(missing)
            fill(built, output, missing, batches, lambda done, all_: progress("add", done, all_))
        _reindex(built, index, memory, progress)
    save_gallery(built, output)
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
    if output is not None:
        check_picture(output, data)
    loaded = load_gallery(gallery, device)
    flip = check_embedder(gallery, checkpoint)
    model, config = load_backbone(checkpoint)
    check_size(gallery, loaded, config.model.embedding_size)
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
        draw_found(images, pixels, found, data, output)
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
    from fairloss.gallery.kinds import KINDS

    loaded = load_gallery(gallery, device)
    features = None if probes is None else read_features(probes)
    if features is not None:
        check_same_embedder(gallery, features_embedder(features))
    with bars() as progress:
        tuning = loaded.tune(
            recall,
            probes=None if features is None else features.embeddings,
            batch=batch,
            kinds=index or KINDS,
            memory=_bytes(memory),
            progress=progress,
        )
    save_gallery(loaded, gallery)
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
    from fairloss.gallery.storage import MANIFEST

    check_kind(index)
    if (output / MANIFEST).is_file():
        raise ValueError(f"output: {output} already holds a gallery")
    loaded = [load_gallery(folder) for folder in galleries]
    held = zip(galleries, loaded, strict=True)
    embedders = {read_embedder(folder) for folder, part in held if len(part)}
    if len(embedders) > 1:
        raise ValueError(
            "galleries: they hold embeddings of different checkpoints, or some with mirror images "
            "and some without, or some do not say whose they are, which cannot be compared"
        )
    merged = loaded[0]
    for part in loaded[1:]:
        merged.merge(part)
    claim_gallery(output, next(iter(embedders), None), empty=True)
    with bars() as progress:
        _reindex(merged, index, memory, progress)
    save_gallery(merged, output)
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
