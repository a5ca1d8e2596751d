"""The command `fairloss` in this process."""

from __future__ import annotations

import contextlib
import io
import sys
from types import SimpleNamespace

from fairloss.cli import main


def fairloss(*arguments):
    """Run the command in this process: exit code, output and error."""
    output, errors = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, ["fairloss", *map(str, arguments)]
    code = 0
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            main()
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.argv = argv
    return SimpleNamespace(returncode=code, stdout=output.getvalue(), stderr=errors.getvalue())
