"""From a run folder to report.html."""

from __future__ import annotations

import os
from pathlib import Path

from fairloss.io.atomic import write_atomic
from fairloss.report.run_folder import read_run


def write_report(run: str | os.PathLike[str], output: str | os.PathLike[str] | None = None) -> Path:
    """Write one self-contained HTML page: figures, tables and images inside, no script, no network.

    The page depends on nothing but the files of the run and the build of `fairloss_ext`, so the
    same input gives the same bytes. What has no file in the run has no section on the page.

    Args:
        run: folder of `fairloss demo` (it holds demo.json) or of `fairloss train` (it holds
            metrics.jsonl).
        output: file to write, by default report.html in the run folder. It appears whole or not
            at all.

    Returns:
        The path of the page.

    Raises:
        ValueError: `run` is neither kind of folder, or one of its files cannot be read.
        ImportError: matplotlib or Pillow is missing.
    """
    folder = Path(run)
    content = read_run(folder)
    try:
        import matplotlib  # noqa: F401
        import PIL  # noqa: F401
    except ImportError as error:
        raise ImportError(
            'the report needs matplotlib: pip install "fairloss-ext[report]"'
        ) from error
    from fairloss.report.sections import report_page

    path = folder / "report.html" if output is None else Path(output)
    page = report_page(content)
    write_atomic(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    return path
