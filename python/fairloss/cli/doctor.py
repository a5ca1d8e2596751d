"""The command `fairloss doctor`."""

from pathlib import Path
from typing import Annotated

import typer

from fairloss.cli._console import print_line


def doctor(
    data: Annotated[
        Path | None,
        typer.Option(help="Check a set instead: files, arrays, a .rec or a list file."),
    ] = None,
    image_size: Annotated[
        tuple[int, int], typer.Option(help="Height and width of training, for --data.")
    ] = (112, 112),
    channels: Annotated[int, typer.Option(help="1 (gray) or 3 (RGB), for --data.")] = 3,
) -> None:
    """Report what was built, what is missing, and how to fix it.

    With --data, report what training would read from a folder and what it would leave out:
    unreadable images, dead links, other files, empty identities. The exit code is then 1 if
    anything would be left out, or if training would stop.

    Examples: `fairloss doctor`, `fairloss doctor --data faces`
    """
    from fairloss.doctor import diagnose, diagnose_data, is_complete, render

    if data is None:
        _print(render(diagnose()))
        return
    from fairloss.cli._progress import progress_bars
    from fairloss.data.survey import survey_images
    from fairloss.progress import labeled

    with progress_bars() as progress:
        survey = survey_images(data, image_size, channels, labeled(progress, "read images"))
    findings = diagnose_data(survey)
    _print(render(findings))
    if not is_complete(findings):
        raise typer.Exit(1)


def _print(text: str) -> None:
    for line in text.split("\n"):
        print_line(line)
