"""The command `fairloss gallery query`."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor

from fairloss.checks import check_file
from fairloss.cli._console import print_line
from fairloss.cli._options import GalleryFolder, RunCheckpoint, SearchDevice
from fairloss.cli._tables import print_table
from fairloss.cli.gallery._folder import check_size, load_gallery
from fairloss.data import image_batches
from fairloss.data.decode import decode_image
from fairloss.data.images import find_images
from fairloss.gallery import Match, check_embedder
from fairloss.io.output import check_output
from fairloss.models import embed_batches
from fairloss.training import TrainConfig, load_backbone
from fairloss.typing import Bytes

BATCH = 256


def query(
    images: Annotated[list[Path], typer.Argument(help="Probe images.")],
    gallery: GalleryFolder,
    checkpoint: RunCheckpoint,
    k: Annotated[int, typer.Option("-k", help="Nearest faces to show.")] = 5,
    output: Annotated[
        Path | None, typer.Option(help="An .svg, .png or .pdf picture of them; needs --data.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder that the gallery's faces came from.")
    ] = None,
    device: SearchDevice = "auto",
) -> None:
    """Print the nearest faces of each probe image, with their cosine scores.

    Example: `fairloss gallery query me.jpg --gallery gallery --checkpoint runs/mine/model.pt`,
    with `--data faces --output nearest.png` for a picture.
    """
    if output is not None:
        _check_picture(output, data)
    loaded = load_gallery(gallery, device)
    flip = check_embedder(gallery, checkpoint)
    model, config = load_backbone(checkpoint)
    check_size(gallery, loaded, config.model.embedding_size)
    pixels = torch.stack([_read_image(path, config) for path in images])
    embeddings = torch.cat(list(embed_batches(model, pixels.split(BATCH), flip=flip)))
    nearest = loaded.search(embeddings.cpu().numpy(), k)
    for image, matches in zip(images, nearest, strict=True):
        rows = [(match.name, f"{match.score:.4f}") for match in matches]
        print_table(str(image), ("nearest", "cosine"), rows)
    if output is not None and data is not None:
        _draw_matches(images, pixels, nearest, data, output)
        print_line(f"wrote {output}")


def _read_image(path: Path, config: TrainConfig) -> Tensor:
    """Return (channels, H, W) uint8; an error names an image that is missing or unreadable."""
    check_file("images", path)
    height, width = config.image_size
    try:
        return decode_image(path, (height, width), config.channels)
    except Exception as error:
        raise ValueError(f"images: {path} cannot be read: {error}") from error


def _check_picture(output: Path, data: Path | None) -> None:
    """Raise ValueError unless the picture can be written and `data` is given."""
    from fairloss.report.drawing import picture_kind

    if data is None:
        raise ValueError("data: expected --data with --output, the folder of the faces, got none")
    picture_kind(output)
    check_output(output, folder=False)


def _draw_matches(
    images: list[Path], probes: Tensor, nearest: list[list[Match]], data: Path, output: Path
) -> None:
    """Draw a row for each of the (Q, channels, H, W) probes: the probe and its matches."""
    from fairloss.report.nearest import Face, draw_nearest

    names = list(dict.fromkeys(match.name for matches in nearest for match in matches))
    pixels = _read_faces(data, names, *probes.shape[1:])
    rows = [
        [Face(probe, "probe", image.name)]
        + [Face(pixels[match.name], f"{match.score:.3f}", match.name) for match in matches]
        for image, probe, matches in zip(images, np.asarray(probes), nearest, strict=True)
    ]
    draw_nearest(rows, output)


def _read_faces(
    data: Path, names: Sequence[str], channels: int, height: int, width: int
) -> dict[str, Bytes]:
    """Return (channels, H, W) images by name; blank, with a warning, if the image is missing."""
    present = find_images(data, names)
    if len(present) < len(names):
        warnings.warn(
            f"data: {len(names) - len(present)} of {len(names)} faces are not in {data}, and blank",
            stacklevel=2,
        )
    pixels = {name: np.full((channels, height, width), 255, dtype=np.uint8) for name in names}
    parts = image_batches(data, present, (height, width), channels)
    return pixels | dict(
        zip(present, (image.numpy() for part in parts for image in part), strict=True)
    )
