"""Names as text: those of files may hold control characters, or bytes that are not UTF-8."""

import re

# Control characters, the two line separators of Unicode, and surrogates: Python's stand-ins for
# the bytes of a file name that are not UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return a text in one line that every UTF-8 file takes, escaped as `repr` does: \n, \x1b."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def printable_lines(text: str) -> str:
    """Return a text with its line breaks, and all else as `printable` returns it."""
    return "\n".join(map(printable, text.split("\n")))
