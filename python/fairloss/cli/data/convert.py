"""The command `fairloss data convert`."""

from typing import Annotated

import typer

from fairloss.cli._console import print_line
from fairloss.cli._progress import progress_bars
from fairloss.cli.data._source import NewSet, Source
from fairloss.io.output import locked_beside
from fairloss.progress import labeled


def convert(
    source: Source,
    output: NewSet,
    to: Annotated[
        str, typer.Option(help="folder (identity/image files), rec (insightface's) or arrays.")
    ],
    image_size: Annotated[
        tuple[int, int], typer.Option(help="Height and width of arrays made from image files.")
    ] = (112, 112),
    channels: Annotated[int, typer.Option(help="1 (gray) or 3 (RGB), likewise.")] = 3,
) -> None:
    """Write a set of images in another form.

    Encoded images are copied as they are between files and records; pixels of arrays become PNG.
    An interrupted run resumes. Example: `fairloss data convert faces_emore/train.rec --to folder
    --output faces`
    """
    from fairloss.data.convert import convert_images, open_source

    with locked_beside(output, folder=True), progress_bars() as bars:
        images = open_source(source, image_size, channels)
        conversion = convert_images(images, output, to, progress=labeled(bars, "convert"))
    written = conversion.written
    identities = len(images.labels[written].unique())
    print_line(f"{len(written)} images of {identities} identities: {output}")
