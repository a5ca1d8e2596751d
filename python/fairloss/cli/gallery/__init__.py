"""The commands of `fairloss gallery`."""

import typer

from fairloss.cli.gallery import build, merge, query, tune

app = typer.Typer(name="gallery", help="Search a gallery of faces.", no_args_is_help=True)
for command in (build.build, query.query, tune.tune, merge.merge):
    app.command()(command)
