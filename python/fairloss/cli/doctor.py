"""The command `fairloss doctor`."""

from fairloss.cli._console import print_line


def doctor() -> None:
    """Report what was built, what is missing, and how to fix it.

    Example: `fairloss doctor`
    """
    from fairloss.doctor import diagnose, render

    for line in render(diagnose()).splitlines():
        print_line(line)
