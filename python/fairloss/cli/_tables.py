"""Tables on the terminal."""

from collections.abc import Iterable, Sequence
from typing import Literal

from rich.table import Table

from fairloss.cli._console import console


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    justify: Literal["left", "right"] = "right",
) -> None:
    """Print rows under a title; `justify` is for all columns but the first.

    A terminal that is too narrow folds the cells; nothing is cut off.
    """
    table = Table()
    for number, column in enumerate(columns):
        table.add_column(column, justify=justify if number else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    screen = console()
    screen.print(title, style="italic", soft_wrap=True)
    screen.print(table)
