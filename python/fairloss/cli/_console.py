"""Text on the terminal: all of it is shown as it is, and none is parsed as markup or emoji codes.

The modules with an underscore are the only ones of the commands that use rich.
"""

import io
import sys
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.text import Text

from fairloss.io.text import printable, printable_lines

_UNLIMITED = 100_000  # columns: the reader of a pipe or a file breaks lines as it likes


class _LiteralConsole(Console):
    """A console whose strings, those in tables included, are text without markup."""

    def render_str(self, text: str, *args: Any, **options: Any) -> Text:
        return super().render_str(printable(text), *args, **options)


def console(stderr: bool = False) -> Console:
    """Return the console of the output or of the error stream."""
    created = _LiteralConsole(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not created.is_terminal:
        created.width = _UNLIMITED
    return created


def print_line(text: str) -> None:
    """Print a line on the output."""
    console().print(text, soft_wrap=True)


def print_note(text: str) -> None:
    """Print a line on the error stream."""
    console(stderr=True).print(text, soft_wrap=True)


def print_message(label: str, style: str, message: object) -> None:
    """Print `label: message` on the error stream, the label in a style."""
    text = Text.assemble((label, style), f": {printable_lines(str(message))}")
    console(stderr=True).print(text, soft_wrap=True)


def status(text: str) -> Status:
    """Return a context in which the error stream, if it is a terminal, shows a text."""
    return console(stderr=True).status(Text(printable(text)))


def escape_unencodable() -> None:
    """Let both streams write escapes for the characters that their encoding does not have."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
