"""The command `fairloss data glyphs`."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from fairloss.cli._progress import progress_bars
from fairloss.cli._tables import print_table
from fairloss.io.atomic import report_malformed
from fairloss.io.json import read_json


def glyphs(
    output: Annotated[Path, typer.Argument(help="New folder for the sets.")],
    fonts: Annotated[
        str, typer.Option(help="lite (72 MB to fetch), full (439 MB), or a folder of fonts.")
    ] = "lite",
    size: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 32,
    classes: Annotated[
        int | None, typer.Option(help="Characters to train on; default: all that qualify.")
    ] = None,
    validation: Annotated[int, typer.Option(help="Other characters, held out.")] = 0,
    test: Annotated[int, typer.Option(help="Yet other characters, held out.")] = 0,
    held_out_typefaces: Annotated[
        int, typer.Option(help="Typefaces held out, some brush and some pixel ones among them.")
    ] = 0,
    largest: Annotated[
        int | None,
        typer.Option(help="Cut to a Pareto shape from this many images; default: natural counts."),
    ] = None,
    smallest: Annotated[int, typer.Option(help="Fewest images of a training class.")] = 2,
    all_faces: Annotated[
        bool, typer.Option("--all-faces", help="Every face instead of one a design.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of everything drawn at random.")] = 0,
    jobs: Annotated[
        int | None, typer.Option(help="Processes that draw; default: one a core.")
    ] = None,
) -> None:
    """Draw Han characters in real typefaces: thousands of classes with a long tail.

    Class = character, sample = typeface. The fonts are free software, fetched once from Debian's
    packages. Example, 300 classes of 16 to 2 images:

    `fairloss data glyphs glyphs300 --classes 300 --validation 200 --test 500
    --held-out-typefaces 4 --largest 16`, then
    `fairloss train data=glyphs300/train output=runs/glyphs image_size=[32,32] channels=1`
    """
    from fairloss.glyphs import GlyphOptions, make_glyphs
    from fairloss.glyphs.build import MANIFEST

    options = GlyphOptions(
        fonts=fonts,
        size=size,
        classes=classes,
        validation=validation,
        test=test,
        held_out_typefaces=held_out_typefaces,
        largest=largest,
        smallest=smallest,
        all_faces=all_faces,
        seed=seed,
    )
    with progress_bars() as progress:
        folder = make_glyphs(output, options, jobs=jobs or os.cpu_count() or 1, progress=progress)
    manifest = read_json(folder / MANIFEST, designs=int, typefaces=list, sets=dict)
    with report_malformed(folder / MANIFEST):
        rows = [_set_row(output / name, counts) for name, counts in manifest["sets"].items()]
    print_table(
        f"{manifest['designs']} designs, {len(manifest['typefaces'])} faces",
        ("set", "characters", "images", "fewest", "median", "most"),
        rows,
    )


def _set_row(folder: Path, counts: dict[str, Any]) -> list[str]:
    quantiles = [round(counts["images_of_a_character"][q]) for q in ("0", "0.5", "1")]
    return [str(value) for value in (folder, counts["characters"], counts["images"], *quantiles)]
