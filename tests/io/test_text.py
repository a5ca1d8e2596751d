from __future__ import annotations

import os
import re
import unicodedata

import pytest

from fairloss.io.text import printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb\r\t", r"a\nb\r\t"),
        ("\x1b[31mred\x07\x7f\x9b", r"\x1b[31mred\x07\x7f\x9b"),
        ("a\u2028b\x85c", r"a\u2028b\x85c"),
        (os.fsdecode(b"Jos\xe9"), r"Jos\udce9"),
    ],
)
def test_what_a_terminal_would_obey_or_utf8_lacks_is_escaped(text, shown):
    assert printable(text) == shown


def test_all_other_characters_are_kept():
    everything = "".join(map(chr, range(0x11000)))
    escaped = {"Cc", "Cs", "Zl", "Zp"}
    expected = [c for c in everything if unicodedata.category(c) not in escaped]
    shown = re.sub(r"\\(x..|u....|[nrt])", "", printable(everything.replace("\\", "")))
    assert shown == "".join(expected).replace("\\", "")
    shown.encode()


def test_lines_stay_lines():
    assert printable_lines("one\ntw\x1bo\n") == "one\ntw\\x1bo\n"
