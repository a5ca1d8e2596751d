"""The command `fairloss data check`."""

from typing import Annotated

import typer

from fairloss.cli._console import print_line
from fairloss.cli._progress import progress_bars
from fairloss.cli._tables import print_table
from fairloss.cli.data._source import ReportFile, Source
from fairloss.io.output import check_output
from fairloss.progress import labeled


def check(
    source: Source,
    image_size: Annotated[tuple[int, int], typer.Option(help="Height and width of training.")] = (
        112,
        112,
    ),
    channels: Annotated[int, typer.Option(help="1 (gray) or 3 (RGB).")] = 3,
    output: ReportFile = None,
) -> None:
    """Decode all images, and report what is wrong with the set.

    Unreadable images, dead links, identities without images, gaps between labels, images with the
    same bytes in one identity or in several, other sizes. The exit code is 1 if training would
    leave something out or stop. Example: `fairloss data check faces --output check.json`
    """
    from fairloss.data.survey import survey_images
    from fairloss.doctor import diagnose_data, is_complete
    from fairloss.io.json import write_json

    if output is not None:
        check_output(output, folder=False)
    with progress_bars() as progress:
        survey = survey_images(source, image_size, channels, labeled(progress, "read images"))
    findings = diagnose_data(survey)
    rows = ((finding.name, finding.status, finding.detail) for finding in findings)
    print_table(str(source), ("", "status", "detail"), rows, "left")
    if output is not None:
        write_json(output, {"source": str(source), **survey.record()})
        print_line(f"wrote {output}")
    if not is_complete(findings):
        raise typer.Exit(1)
