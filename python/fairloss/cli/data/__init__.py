"""The commands of `fairloss data`."""

import typer

from fairloss.cli.data import align, check, convert, cut, glyphs, histogram, megaface, orl

app = typer.Typer(
    name="data", help="Fetch, make, align, check, convert and cut data sets.", no_args_is_help=True
)
for command in (
    orl.orl,
    align.align,
    convert.convert,
    check.check,
    histogram.histogram,
    cut.cut,
    megaface.megaface,
    glyphs.glyphs,
):
    app.command()(command)
