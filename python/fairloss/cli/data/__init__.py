"""The commands of `fairloss data`."""

import typer

from fairloss.cli.data import align, glyphs, megaface, orl

app = typer.Typer(name="data", help="Fetch, align and make data sets.", no_args_is_help=True)
for command in (orl.orl, align.align, megaface.megaface, glyphs.glyphs):
    app.command()(command)
