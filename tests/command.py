"""The command `fairloss` in this process."""

from __future__ import annotations

import contextlib
import io
import sys
from types import SimpleNamespace

from fairloss.cli import main


def execute(output, errors, *arguments):
    """Run the command in this process with these streams and return its exit code."""
    argv, sys.argv = sys.argv, ["fairloss", *map(str, arguments)]
    code = 0
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            main()
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        sys.argv = argv
    return code


def fairloss(*arguments):
    """Run the command in this process and return its exit code, output and errors."""
    output, errors = io.StringIO(), io.StringIO()
    code = execute(output, errors, *arguments)
    return SimpleNamespace(returncode=code, stdout=output.getvalue(), stderr=errors.getvalue())


def succeed(*arguments):
    """Run the command, which must succeed."""
    done = fairloss(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def refuse(message, *arguments):
    """Run the command, which must print one line with `message` and exit with 2."""
    done = fairloss(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
