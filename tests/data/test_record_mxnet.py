"""RecordIO files that mxnet itself writes and reads, in an environment of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from record_cases import MAGIC, jpeg

from fairloss.data import RecordImages, write_records

pytestmark = pytest.mark.slow
SIZE = (16, 16)
PACKAGES = ("mxnet==1.9.1", "numpy==1.23.5", "setuptools<80")  # numpy: mxnet uses names it removed
PAYLOADS = [
    jpeg(0),
    MAGIC,
    MAGIC + b"1234" + MAGIC + b"xyz",
    b"1234" + MAGIC * 3,
    b"12" + MAGIC + b"34567",
    jpeg(9) + bytes(-len(jpeg(9)) % 4) + MAGIC,
    bytes(range(256)),
]

# Reads [[path, [[labels, payload in hex], ...]], ...]: writes each file with a record 0.
WRITER = """
import json, sys
from mxnet import recordio as r
for path, items in json.load(sys.stdin):
    out = r.MXIndexedRecordIO(path[:-3] + "idx", path, "w")
    end = len(items) + 1
    out.write_idx(0, r.pack(r.IRHeader(0, [float(end), float(end)], 0, 0), b""))
    for key, (label, payload) in enumerate(items, 1):
        out.write_idx(key, r.pack(r.IRHeader(0, label, key, 0), bytes.fromhex(payload)))
    out.close()
"""
READER = """
import json, sys
from mxnet import recordio as r
file = r.MXIndexedRecordIO(sys.argv[1][:-3] + "idx", sys.argv[1], "r")
items = []
for key in file.keys:
    header, payload = r.unpack(file.read_idx(key))
    label = header.label.tolist() if header.flag else header.label
    items.append([key, header.id, label, payload.hex()])
print(json.dumps(items))
"""


@pytest.fixture(scope="module")
def mxnet(tmp_path_factory) -> Path:
    """The interpreter of an environment with mxnet; the test is skipped where it has no wheel."""
    folder = tmp_path_factory.mktemp("mxnet")
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "-q", "--only-binary", ":all:", *PACKAGES]
    for command in ([sys.executable, "-m", "venv", folder], install):
        done = subprocess.run(command, capture_output=True, encoding="utf-8")
        if done.returncode:
            pytest.skip(f"mxnet cannot be installed: {done.stderr[-300:]}")
    yield python
    shutil.rmtree(folder)


def run(python: Path, *arguments: str | Path, stdin: str = "") -> str:
    done = subprocess.run(
        [python, "-c", *arguments], input=stdin, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_files_of_mxnet_are_read(mxnet, tmp_path):
    """Labels as a number, and as several numbers, of which the first is the identity."""
    for name, label in (("one", lambda n: float(n)), ("several", lambda n: [float(n), 0.5, n / 3])):
        path = tmp_path / f"{name}.rec"
        items = [[label(number // 2), payload.hex()] for number, payload in enumerate(PAYLOADS)]
        run(mxnet, WRITER, stdin=json.dumps([[str(path), items]]))
        assert path.read_bytes().count(MAGIC) > len(PAYLOADS) + 1
        for _ in range(2):
            images = RecordImages(path, SIZE)
            assert [images.read_encoded(i) for i in range(len(images))] == PAYLOADS
            assert images.labels.tolist() == [number // 2 for number in range(len(PAYLOADS))]
            path.with_suffix(".idx").unlink(missing_ok=True)


def test_mxnet_reads_what_the_writer_writes(mxnet, tmp_path):
    path = tmp_path / "a.rec"
    write_records(path, [(number // 2, payload) for number, payload in enumerate(PAYLOADS)])
    head, *items = json.loads(run(mxnet, READER, path))
    count = len(PAYLOADS)
    assert head == [0, 0, [count + 1, count + 5], ""]
    assert items[:count] == [
        [number + 1, number + 1, number // 2, payload.hex()]
        for number, payload in enumerate(PAYLOADS)
    ]
    ranges = [[1, 3], [3, 5], [5, 7], [7, 8]]
    assert items[count:] == [[8 + n, 8 + n, pair, ""] for n, pair in enumerate(ranges)]
