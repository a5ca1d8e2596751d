"""The command `fairloss embed`."""

from pathlib import Path
from typing import Annotated

import typer

from fairloss.checks import expect
from fairloss.cli._console import print_line
from fairloss.cli._options import RunCheckpoint
from fairloss.cli._progress import progress_bars
from fairloss.data import read_devkit_list, read_landmarks
from fairloss.data.images import list_identified
from fairloss.data.npy import check_npy
from fairloss.data.text_files import read_lines
from fairloss.io.output import check_output
from fairloss.progress import labeled
from fairloss.ranks import default_group, rank_number
from fairloss.training import embed_to_devkit, embed_to_npy
from fairloss.typing import Float32s


def embed(
    data: Annotated[
        Path, typer.Option(help="Folder of identity/image files, arrays, or the list's images.")
    ],
    checkpoint: RunCheckpoint,
    output: Annotated[
        Path,
        typer.Option(help="A .npy file, with names in .json beside it; or a folder."),
    ],
    names: Annotated[
        Path | None, typer.Option(help="Images to embed: a name a line, or a MegaFace .json list.")
    ] = None,
    landmarks: Annotated[
        Path | None,
        typer.Option(help="`name x1 y1 .. x5 y5 score` lines, as IJB's name_5pts_score."),
    ] = None,
    suffix: Annotated[
        str | None, typer.Option(help="Write MegaFace files `image + suffix`, such as _fair.bin.")
    ] = None,
    flip: Annotated[bool, typer.Option(help="Add the features of the mirror image.")] = True,
) -> None:
    """Write features of images: (N, D) float32, not normalized, or one MegaFace file an image.

    Rows follow the list, and with --landmarks (IJB) each image is aligned first. An interrupted run
    resumes. The processes of torchrun divide the images.

    Examples: `fairloss embed --data faces --checkpoint runs/mine/model.pt --output f.npy`,
    `... --names templatelists/facescrub_features_list.json --suffix _fair.bin --output features`
    """
    if suffix is None:
        check_npy(output)
    check_output(output, folder=suffix is not None)
    expect(
        suffix is None or landmarks is None,
        "landmarks",
        "none with --suffix, which writes files of the images as they are",
        landmarks,
    )
    listed, points, identities = _read_list(data, names, landmarks)
    group = default_group()
    with progress_bars() as bars:
        progress = labeled(bars, "embed")
        if suffix is not None:
            embed_to_devkit(
                checkpoint,
                data,
                listed,
                output,
                suffix,
                flip=flip,
                progress=progress,
                process_group=group,
            )
        else:
            embed_to_npy(
                checkpoint,
                data,
                listed,
                output,
                identities=identities,
                points=points,
                flip=flip,
                progress=progress,
                process_group=group,
            )
    if rank_number() == 0:
        print_line(f"features of {len(listed)} images: {output}")


def _read_list(
    data: Path, names: Path | None, landmarks: Path | None
) -> tuple[list[str], Float32s | None, list[str] | None]:
    """Return N names, and the (N, 5, 2) landmarks and N identities if they are known."""
    if landmarks is not None:
        expect(names is None, "names", "either --names or --landmarks", "both")
        marked = read_landmarks(landmarks)
        return marked.names, marked.points, None
    if names is None:
        listed, identities = list_identified(data)
        return listed, None, identities
    if names.suffix == ".json" or ".json_" in names.name:
        kit = read_devkit_list(names)
        return kit.paths, None, kit.identities
    return read_lines(names), None, None
