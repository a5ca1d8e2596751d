"""The command `fairloss doctor`."""

import typer


def doctor() -> None:
    """Report what was built, what is missing, and how to fix it.

    Example: `fairloss doctor`
    """
    from fairloss.doctor import diagnose, render

    typer.echo(render(diagnose()))
