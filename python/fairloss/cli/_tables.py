"""Tables on the terminal."""

from collections.abc import Iterable, Sequence
from typing import Literal

from rich.console import Console
from rich.table import Table


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    justify: Literal["left", "right"] = "right",
) -> None:
    """Print rows under a title; `justify` is for all columns but the first."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify=justify if number else "left")
    for row in rows:
        table.add_row(*row)
    Console().print(table)
