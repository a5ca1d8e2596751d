"""The commands of `fairloss`, and how they fail: one line that says what to change."""

from __future__ import annotations

import sys
import warnings

import typer
from rich.console import Console

from fairloss.cli import challenges, glyphs, images, runs, tools
from fairloss.cli.evaluate import evaluate
from fairloss.cli.gallery import gallery

app = typer.Typer(
    help="Fair Loss for long-tailed face recognition: train, evaluate, search.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command("demo")(runs.demo)
app.command("train")(runs.train)
app.command("collect")(runs.collect)
app.command("fit-policy")(runs.fit_policy)
app.command("search-loss")(runs.search_loss)
app.command("embed")(images.embed)
app.command("report")(tools.report)
app.command("doctor")(tools.doctor)
images.data.command("glyphs")(glyphs.glyphs)
app.add_typer(images.data, name="data")
evaluate.command("ijb")(challenges.ijb)
evaluate.command("megaface")(challenges.megaface)
evaluate.command("plot")(challenges.plot)
app.add_typer(evaluate, name="evaluate")
app.add_typer(gallery, name="gallery")


def run() -> None:
    """Run a command; what the user can mend is a message, not a traceback."""
    warnings.showwarning = _show_warning  # type: ignore[assignment]
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell reports SIGINT
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        Console(stderr=True, highlight=False).print(f"[bold red]error[/]: {_escaped(str(error))}")
        sys.exit(2)


def _show_warning(message: Warning | str, *_: object) -> None:
    Console(stderr=True, highlight=False).print(f"[yellow]warning[/]: {_escaped(str(message))}")


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
