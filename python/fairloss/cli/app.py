"""The commands of `fairloss`; each fails with one line that says what to change."""

import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer

from fairloss.cli import (
    collect,
    compare,
    data,
    demo,
    doctor,
    embed,
    evaluate,
    export,
    fit_policy,
    gallery,
    plan,
    report,
    search_loss,
    train,
)
from fairloss.cli._console import escape_unencodable, print_message
from fairloss.cli._ranks import command_on_ranks
from fairloss.ranks import RankError
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
    compare.compare,
    embed.embed,
    export.export,
    report.report,
    plan.plan,
    doctor.doctor,
):
    app.command()(command)
for commands in (data.app, evaluate.app, gallery.app):
    app.add_typer(commands)

# In several processes these train or embed together.
DIVIDED = (
    *(train.train, collect.collect),
    *(embed.embed, evaluate.pairs.pairs, evaluate.rfw.rfw),
)

SECONDS_TO_REPORT = 30.0  # of another rank, which may still be at its imports; its exit ends this


def path(value: str | Path) -> Path:
    """Return a path with a leading ~/ expanded, which shells leave alone in --option=~/file.

    Defaults come as Path.
    """
    return Path(expand_home(str(value)))


def _prepare(commands: typer.Typer) -> None:
    """Prepare every command for several processes, and its options of type Path for `~/`.

    These are read by `path`; texts stay as they are.
    """
    for command in commands.registered_commands:
        hints: dict[str, Any] = get_type_hints(command.callback, include_extras=True)
        if command.callback is not None:
            command.callback = command_on_ranks(command.callback, DIVIDED)
        for hint in hints.values():
            kind, *options = get_args(hint) or (hint,)
            if kind is Path or Path in get_args(kind):
                for option in options:
                    option.parser = path
    for group in commands.registered_groups:
        if group.typer_instance is not None:
            _prepare(group.typer_instance)


_prepare(app)


def run() -> None:
    """Run the command of `sys.argv`; an error that a user can fix prints one line and exits 2.

    Of several ranks the one that has the error prints it.
    """
    escape_unencodable()
    warnings.showwarning = _print_warning  # type: ignore[assignment]
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell reports SIGINT
    except RankError:
        if "TORCHELASTIC_RUN_ID" in os.environ:
            time.sleep(SECONDS_TO_REPORT)  # torchrun ends all ranks, reported or not, as one exits
        sys.exit(2)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        print_message("error", "bold red", " ".join(str(error).split("\n")))
        sys.exit(2)


def _print_warning(message: Warning | str, *_: object) -> None:
    print_message("warning", "yellow", message)
