"""Progress bars, one line for each label."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars

from fairloss.cli._console import console
from fairloss.io.text import printable
from fairloss.progress import Progress, no_progress
from fairloss.ranks import rank_number


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Yield a callback that draws a bar for each label on the error stream, not the output.

    Of several ranks the first one draws.
    """
    if rank_number() != 0:
        yield no_progress
        return
    columns = (
        TextColumn("{task.description:24}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console(stderr=True)) as display:
        tasks: dict[str, TaskID] = {}

        def progress(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = display.add_task(printable(label), total=total)
            display.update(tasks[label], completed=done, total=total)

        yield progress
