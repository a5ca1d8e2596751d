from __future__ import annotations

import os

import pytest
import torch

from fairloss.data import read_groups, read_landmarks, read_noise_list, read_pairs
from fairloss.data.text_files import read_lines
from fairloss.io.atomic import FormatError

NAME = os.fsdecode(b"Jos\xe9")


def test_lists_name_files_that_are_not_utf8(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"Jos\xe9/1.jpg\r\n\n \xe6\x95\xb0/1.jpg\n")
    assert read_lines(path) == [f"{NAME}/1.jpg", "数/1.jpg"]
    path.write_bytes(b"1\t1\nJos\xe9\t1\t2\nJos\xe9\t1\tAnn\t3\n")
    named = read_pairs(path, "lfw")
    first = f"{NAME}/{NAME}_0001.jpg"
    assert (named.first, named.second[0]) == ([first, first], f"{NAME}/{NAME}_0002.jpg")
    path.write_bytes(b"Jos\xe9.jpg 1 2 3 4 5 6 7 8 9 10 0.9\n")
    assert read_landmarks(path).names == [f"{NAME}.jpg"]


def test_a_line_ends_at_a_line_break_alone(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes("a\u2028b\nc\x1cd\r\ne\x85f\n".encode())
    assert read_lines(path) == ["a\u2028b", "c\x1cd", "e\x85f"]


def test_tables_have_quoted_line_breaks_and_any_names(tmp_path):
    path = tmp_path / "table.csv"
    path.write_bytes(b'identity,note,group\nJos\xe9,"two\nlines",old\nAnn,,new\n')
    names, groups = read_groups(path, [NAME, "Ann"])
    assert names == ["new", "old"]
    assert torch.equal(groups, torch.tensor([1, 0]))


@pytest.mark.parametrize("content", ["a/1.jpg\n".encode("utf-16"), b"\x89PNG\r\n\x1a\n\0\0\0\r"])
def test_what_is_no_list_is_named(tmp_path, content):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(FormatError, match=r"list\.txt: not a text file"):
        read_lines(tmp_path / "list.txt")


def test_a_damaged_name_of_noise_is_refused(tmp_path):
    (tmp_path / "noises.txt").write_bytes(b"Ann_\xb1.jpg\n")
    with pytest.raises(FormatError, match=r"noises\.txt: not a text file"):
        read_noise_list(tmp_path / "noises.txt")
