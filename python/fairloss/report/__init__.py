"""One self-contained HTML page about a run folder."""

import os
from pathlib import Path

from fairloss.io.atomic import FormatError, write_text
from fairloss.io.output import check_output
from fairloss.report.run_view import read_run

__all__ = ["write_report"]


def write_report(run: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> Path:
    """Write one self-contained HTML page: figures, tables and images inside, no script, no network.

    The page depends on nothing but the files of the run and the build of `fairloss_ext`, so the
    same input gives the same bytes. A section whose file is missing in the run is left out.

    Args:
        run: folder of `fairloss demo` (it holds demo.json) or of `fairloss train` (it holds
            metrics.jsonl).
        output: file to write, by default report.html in the run folder. It appears whole or not
            at all.

    Returns:
        The path of the page.

    Raises:
        ValueError: `run` is neither kind of folder, or one of its files cannot be read.
        ImportError: jinja2, matplotlib or Pillow is missing.
    """
    folder = Path(run)
    path = folder / "report.html" if output is None else Path(output)
    check_output(path, folder=False)
    content = read_run(folder)
    try:
        import jinja2
        import matplotlib  # noqa: F401
        import PIL  # noqa: F401
    except ImportError as error:
        message = f'the report needs {error.name}: pip install "fairloss-ext[report]"'
        raise ImportError(message) from error
    from fairloss.report.page import render_page

    try:
        page = render_page(content)
    except (KeyError, IndexError, TypeError, AttributeError, jinja2.TemplateError) as error:
        raise FormatError(folder, f"a file of the run is malformed: {error!r}") from error
    write_text(path, page)
    return path
