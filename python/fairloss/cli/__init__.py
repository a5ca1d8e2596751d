"""The command `fairloss`."""

import sys


def main() -> None:
    """Run the command line, or exit with what to install if one of its packages is missing."""
    try:
        from fairloss.cli.app import run
    except ImportError as error:
        if error.name not in ("typer", "rich", "yaml", "PIL"):
            raise
        sys.exit(f'fairloss needs {error.name}: pip install "fairloss-ext[train]"')
    run()
