"""The commands of `fairloss`; each fails with one line that says what to change."""

import sys
import warnings

import typer

from fairloss.cli import (
    collect,
    data,
    demo,
    doctor,
    embed,
    evaluate,
    fit_policy,
    gallery,
    report,
    search_loss,
    train,
)
from fairloss.cli._console import escape_unencodable, print_message
from fairloss.training.settings import expand_home

app = typer.Typer(
    help="Fair Loss for long-tailed face recognition: train, evaluate, search.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
for command in (
    demo.demo,
    train.train,
    collect.collect,
    fit_policy.fit_policy,
    search_loss.search_loss,
    embed.embed,
    report.report,
    doctor.doctor,
):
    app.command()(command)
for commands in (data.app, evaluate.app, gallery.app):
    app.add_typer(commands)


def run() -> None:
    """Run the command of `sys.argv`; an error that a user can fix prints one line and exits 2."""
    escape_unencodable()
    warnings.showwarning = _print_warning  # type: ignore[assignment]
    try:
        app(args=[_expand_home(argument) for argument in sys.argv[1:]])
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell reports SIGINT
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print_message("error", "bold red", " ".join(str(error).split("\n")))
        sys.exit(2)


def _expand_home(argument: str) -> str:
    """Expand a leading ~/ of a path, which shells leave alone in --option=~/file."""
    option, equals, value = argument.partition("=")
    if equals and option.startswith("--"):
        return f"{option}={expand_home(value)}"
    return expand_home(argument)


def _print_warning(message: Warning | str, *_: object) -> None:
    print_message("warning", "yellow", message)
