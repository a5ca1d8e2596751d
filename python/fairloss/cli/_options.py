"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

_MODEL = "model.pt of a run folder, or a state dict of insightface"
RunCheckpoint = Annotated[Path, typer.Option(help=f"{_MODEL}.")]
Checkpoint = Annotated[Path | None, typer.Option(help=f"{_MODEL}.")]
FeatureFile = Annotated[
    Path | None, typer.Option(help="A .npy of `fairloss embed`, in place of images.")
]

Images = Annotated[Path | None, typer.Option(help="Folder of the named images, or of arrays.")]
Checkpoints = Annotated[
    list[Path] | None,
    typer.Option("--checkpoint", help=f"{_MODEL}; of several seeds with --against."),
]
FeatureFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--features",
        help="A .npy of `fairloss embed`, in place of images; of several seeds with --against.",
    ),
]
Against = Annotated[
    list[Path] | None,
    typer.Option(help="Another checkpoint or .npy, or several: report the difference to it."),
]
AgainstFeatures = Annotated[
    list[Path] | None,
    typer.Option("--against", help="Another .npy, or several: report the difference to it."),
]
Replicates = Annotated[
    int, typer.Option(help="Of a bootstrap, added to the report as a check of the intervals.")
]
Seed = Annotated[int, typer.Option(help="Of the bootstrap.")]
ReportFile = Annotated[Path, typer.Option("--output", help="The JSON report.")]

GalleryFolder = Annotated[
    Path, typer.Option("--gallery", help="Folder written by `gallery build`.")
]
IndexKind = Annotated[
    str | None,
    typer.Option(help="flat, ivf, hnsw, ivf-pq or auto. Default: as it was, at first auto."),
]
IndexMemory = Annotated[float | None, typer.Option(help="GB for indexes. Default: half of all.")]
SearchDevice = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
