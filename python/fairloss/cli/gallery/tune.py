"""The command `fairloss gallery tune`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fairloss.cli._options import GalleryFolder, IndexMemory, SearchDevice
from fairloss.cli._progress import progress_bars
from fairloss.cli._tables import print_table
from fairloss.cli.gallery._folder import as_bytes, features_embedder, load_gallery, save_gallery
from fairloss.data import read_features
from fairloss.gallery import Tuning, check_same_embedder
from fairloss.gallery.kinds import KINDS
from fairloss.io.json import write_json
from fairloss.io.output import check_output, locked_output


def tune(
    gallery: GalleryFolder,
    recall: Annotated[float, typer.Option(help="recall@1 to reach.")] = 0.99,
    probes: Annotated[
        Path | None,
        typer.Option(help="A .npy of `fairloss embed`. Default: 1,000 faces of the gallery."),
    ] = None,
    batch: Annotated[int, typer.Option(help="Probes of one search.")] = 1,
    index: Annotated[
        list[str] | None, typer.Option(help="Kinds to measure besides flat. Default: all.")
    ] = None,
    memory: IndexMemory = None,
    output: Annotated[Path | None, typer.Option(help="Default: tune.json in the gallery.")] = None,
    device: SearchDevice = "auto",
) -> None:
    """Measure recall and time of every kind of index, and keep the fastest with enough recall.

    Example: `fairloss gallery tune --gallery gallery --recall 0.99`
    """
    path = output or gallery / "tune.json"
    check_output(path, folder=False)
    features = None if probes is None else read_features(probes)
    if features is not None:
        check_same_embedder(gallery, features_embedder(features))
    with locked_output(gallery, "gallery"):
        loaded = load_gallery(gallery, device)
        with progress_bars() as progress:
            tuning = loaded.tune(
                recall,
                probes=None if features is None else features.embeddings,
                batch=batch,
                kinds=index or KINDS,
                memory=as_bytes(memory),
                progress=progress,
            )
        save_gallery(loaded, gallery)
    report = {
        "recall": recall,
        "batch": batch,
        "count": len(loaded),
        "probes": tuning.probes,
        "held_out": probes is None,
        "threads": tuning.threads,
        "points": [asdict(point) for point in tuning.points],
        "chosen": asdict(tuning.chosen),
    }
    write_json(path, report)
    _print_points(tuning)


def _print_points(tuning: Tuning) -> None:
    print_table(
        f"{tuning.probes} probes, {tuning.threads} threads",
        ("index", "parameter", "recall@1", "ms a probe", "index MB", "build s", ""),
        [
            (
                point.kind,
                str(point.parameter) if point.parameter else "",
                f"{point.recall:.4f}",
                f"{point.milliseconds:.3f}",
                f"{point.index_bytes / 1e6:.0f}",
                f"{point.build_seconds:.1f}",
                "chosen" if point == tuning.chosen else "",
            )
            for point in tuning.points
        ],
    )
