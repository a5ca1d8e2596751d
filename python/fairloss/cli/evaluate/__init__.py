"""The commands of `fairloss evaluate`."""

import typer

from fairloss.cli.evaluate import groups, ijb, megaface, pairs, plot, rfw, ytf

app = typer.Typer(
    name="evaluate", help="Published protocols, with intervals.", no_args_is_help=True
)
for command in (
    pairs.pairs,
    rfw.rfw,
    groups.groups,
    ytf.ytf,
    ijb.ijb,
    megaface.megaface,
    plot.plot,
):
    app.command()(command)
