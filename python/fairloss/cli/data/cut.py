"""The command `fairloss data cut`."""

from typing import Annotated

import typer

from fairloss.checks import check_integer, check_number, expect
from fairloss.cli._console import print_line
from fairloss.cli._progress import progress_bars
from fairloss.cli.data._source import NewSet, Source
from fairloss.io.output import locked_beside
from fairloss.progress import labeled


def cut(
    source: Source,
    output: NewSet,
    largest: Annotated[int, typer.Option(help="Images of the most frequent identity.")],
    smallest: Annotated[
        int | None, typer.Option(help="Images of the rarest identity; default 1.")
    ] = None,
    imbalance: Annotated[
        float | None, typer.Option(help="largest / smallest, in place of --smallest.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
) -> None:
    """Cut a set to a long tail: the numbers of images fall exponentially, dealt at random.

    Identities with fewer than --largest images are left out, so that rarity is independent of what
    the set has. The form stays, but a list becomes files. An interrupted run resumes. Example:
    `fairloss data cut faces --largest 100 --imbalance 50 --output tail`
    """
    from fairloss.data.convert import convert_images, open_source, source_kind
    from fairloss.data.long_tail import long_tailed_positions

    with locked_beside(output, folder=True), progress_bars() as bars:
        check_integer("largest", largest)
        fewest = _smallest(largest, smallest, imbalance)
        images = open_source(source)
        positions = long_tailed_positions(images.labels, largest, fewest, seed)
        progress = labeled(bars, "cut")
        conversion = convert_images(
            images, output, source_kind(images), positions.numpy(), progress
        )
    written = conversion.written
    identities = len(images.labels[written].unique())
    few = int((images.counts < largest).sum())
    left_out = f", without {few} that have fewer than {largest} images" if few else ""
    print_line(f"{len(written)} images of {identities} identities{left_out}: {output}")


def _smallest(largest: int, smallest: int | None, imbalance: float | None) -> int:
    expect(
        smallest is None or imbalance is None,
        "smallest",
        "either --smallest or --imbalance",
        "both",
    )
    if imbalance is None:
        return 1 if smallest is None else smallest
    check_number("imbalance", imbalance, 1, largest)
    return round(largest / imbalance)
