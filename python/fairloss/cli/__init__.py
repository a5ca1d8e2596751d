"""The command `fairloss`."""

import sys


def main() -> None:
    """Entry point; says what to install where the command line's own packages are missing."""
    try:
        from fairloss.cli.app import run
    except ImportError as error:
        if error.name not in ("typer", "rich", "omegaconf", "PIL"):
            raise
        sys.exit(f'fairloss needs {error.name}: pip install "fairloss-ext[train]"')
    run()
