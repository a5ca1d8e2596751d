"""Commands about images: data orl, data align, data megaface, embed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from fairloss.cli.progress import bars
from fairloss.data import open_aligned, read_devkit_list, read_landmarks
from fairloss.data.features import stem
from fairloss.data.images import list_identified
from fairloss.data.npy import check_npy
from fairloss.io.atomic import read_text, write_atomic
from fairloss.training import embed_to_devkit, embed_to_npy

data = typer.Typer(help="Fetch, align and make data sets.", no_args_is_help=True)
Landmarks = Annotated[
    Path | None, typer.Option(help="`name x1 y1 .. x5 y5 score` lines, as IJB's name_5pts_score.")
]


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


@data.command("align")
def data_align(
    data: Annotated[Path, typer.Option(help="Folder the landmarks' names are relative to.")],
    landmarks: Annotated[Path, typer.Option(help="`name x1 y1 .. x5 y5 score` lines.")],
    output: Annotated[Path, typer.Option(help="Folder of the aligned images, in PNG.")],
) -> None:
    """Turn, scale and move faces so that five landmarks lie on the common 112 x 112 template.

    Images that are already there are kept, so an interrupted run goes on. Example:
    `fairloss data align --data raw --landmarks points.txt --output aligned`
    """
    listed = read_landmarks(landmarks)
    with bars() as progress:
        for row, name in enumerate(listed.names):
            target = output / f"{stem(name)}.png"
            if not target.is_file():
                face = open_aligned(data / name, listed.points[row])
                write_atomic(target, lambda path, face=face: face.save(path, "PNG"))  # type: ignore[misc]
            progress("align", row + 1, len(listed.names))
    typer.echo(f"{len(listed.names)} aligned images: {output}")


@data.command("megaface")
def data_megaface(
    output: Annotated[Path, typer.Argument(help="Folder for features and lists.")],
    people: Annotated[int, typer.Option(help="Probe identities.")] = 80,
    probes: Annotated[int, typer.Option(help="Probe images.")] = 3530,
    distractors: Annotated[int, typer.Option(help="Gallery images.")] = 1_000_000,
    dimension: Annotated[int, typer.Option(help="Of the features.")] = 512,
) -> None:
    """A made-up MegaFace challenge of features whose answer is known (2 GB at full size).

    Example: `fairloss data megaface planted --distractors 10000`
    """
    from fairloss.data import planted_megaface, write_planted

    plan = planted_megaface(people, probes, distractors, dimension)
    write_planted(output, plan)
    typer.echo(
        f"{output}: rank-1 must be {plan.recall():.6f}, TAR@FAR=1e-6 {plan.tar(1e-6):.6f} "
        f"among {distractors} distractors"
    )


def embed(
    data: Annotated[
        Path, typer.Option(help="Folder of identity/image files, arrays, or the list's images.")
    ],
    checkpoint: Annotated[Path, typer.Option(help="model.pt of a run folder.")],
    output: Annotated[
        Path,
        typer.Option(help="A .npy file, with names in .json beside it; or a folder."),
    ],
    names: Annotated[
        Path | None, typer.Option(help="Images to embed: a name a line, or a MegaFace .json list.")
    ] = None,
    landmarks: Landmarks = None,
    suffix: Annotated[
        str | None, typer.Option(help="Write MegaFace files `image + suffix`, such as _fair.bin.")
    ] = None,
    flip: Annotated[bool, typer.Option(help="Add the features of the mirror image.")] = True,
) -> None:
    """Write features of images: (N, D) float32, not normalised, or one MegaFace file an image.

    Rows follow the list, and with --landmarks (IJB) each image is aligned first. An interrupted run
    goes on. Examples: `fairloss embed --data faces --checkpoint runs/mine/model.pt --output f.npy`,
    `... --names templatelists/facescrub_features_list.json --suffix _fair.bin --output features`
    """
    if suffix is None:
        check_npy(output)
    listed, points, people = _listed(data, names, landmarks)
    with bars() as progress:

        def embedded(done: int, total: int) -> None:
            progress("embed", done, total)

        if suffix is not None:
            if points is not None:
                raise ValueError("landmarks: align first, MegaFace files are written as they come")
            embed_to_devkit(checkpoint, data, listed, output, suffix, flip=flip, progress=embedded)
        else:
            embed_to_npy(
                checkpoint,
                data,
                listed,
                output,
                identities=people,
                points=points,
                flip=flip,
                progress=embedded,
            )
    typer.echo(f"features of {len(listed)} images: {output}")


def _listed(
    data: Path, names: Path | None, landmarks: Path | None
) -> tuple[list[str], npt.NDArray[np.float32] | None, list[str] | None]:
    """Names, landmarks and people, as far as there are any."""
    if names is not None and landmarks is not None:
        raise ValueError("names: give either --names or --landmarks")
    if landmarks is not None:
        found = read_landmarks(landmarks)
        return found.names, found.points, None
    if names is None:
        listed, people = list_identified(data)
        return listed, None, people
    if names.suffix == ".json" or ".json_" in names.name:
        kit = read_devkit_list(names)
        return kit.paths, None, kit.identities
    lines = [line.strip() for line in read_text(names).splitlines() if line.strip()]
    return lines, None, None
