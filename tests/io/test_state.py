"""Files of tensors carry a checksum: any changed or missing byte is found."""

from __future__ import annotations

import hashlib
import random
import zipfile

import pytest
import torch

from fairloss.io.atomic import FormatError
from fairloss.io.state import read_state, write_state

STATE = {"weight": torch.arange(5.0), "step": 3, "losses": [1.5, 0.25]}


@pytest.fixture
def path(tmp_path):
    write_state(tmp_path / "x.pt", STATE)
    return tmp_path / "x.pt"


def test_the_comment_of_the_archive_is_the_digest_of_all_before_it(path):
    content = path.read_bytes()
    comment = hashlib.sha256(content[:-64]).hexdigest().encode()
    assert zipfile.ZipFile(path).comment == content[-64:] == comment
    assert torch.equal(torch.load(path, weights_only=True)["weight"], STATE["weight"])
    assert read_state(path)["losses"] == STATE["losses"]


def changed_bits(content):
    """The whole of the end, where the checksum begins to be read, and a sample of the rest."""
    size = len(content)
    offsets = random.Random(0).sample(range(size - 90), 40)
    for offset in [*range(4), *offsets, *range(size - 90, size, 3)]:
        yield content[:offset] + bytes([content[offset] ^ 1 << offset % 8]) + content[offset + 1 :]


def test_a_file_with_a_changed_or_without_its_last_bytes_is_refused(path):
    content = path.read_bytes()
    cut = [content[:-size] for size in (1, 63, 64, 65, 86, 87, 500, len(content))]
    for damaged in [*changed_bits(content), *cut, content + b"\0"]:
        path.write_bytes(damaged)
        with pytest.raises(FormatError, match="x.pt: cannot be read, or damaged: "):
            read_state(path)


@pytest.mark.parametrize("archive", [True, False])
def test_files_without_a_checksum_are_read(path, archive):
    torch.save(STATE, path, _use_new_zipfile_serialization=archive)
    assert read_state(path)["step"] == 3
