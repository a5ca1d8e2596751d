"""Outputs: a full disk, links, folders that cannot be written, and two runs in one folder."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from command import refuse
from gallery_cases import embeddings, numbered
from synthetic import faces
from training_runs import COUNTS, config, same

from fairloss.data import write_features
from fairloss.data.npy import write_npy
from fairloss.gallery import Gallery
from fairloss.io.atomic import write_atomic, write_text
from fairloss.io.output import check_output, locked_output
from fairloss.io.run_folder import RunFolder
from fairloss.io.state import read_state, write_state
from fairloss.training import train

resource = pytest.importorskip("resource")


@contextmanager
def small_files():
    """Let no file grow beyond 4,000 bytes, as on a full disk but with EFBIG.

    Not a fixture: pytest writes its own output between the phases of a test.
    """
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def indexed_gallery(folder: Path) -> None:
    gallery = Gallery(64, index="hnsw", device="cpu")
    gallery.add(numbered(300), embeddings(300, 64))
    gallery.reindex()
    gallery.save(folder)


WRITERS = {
    "text": lambda path: write_text(path, "x" * 9000),
    "state": lambda path: write_state(path, {"weight": torch.zeros(90000)}),
    "array": lambda path: write_npy(path, np.zeros(90000)),
    "gallery": lambda path: indexed_gallery(path.parent),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_file_that_does_not_fit_gives_one_line_and_leaves_nothing(tmp_path, write):
    path = tmp_path / "file"
    path.write_text("old", encoding="utf-8")
    message = r"^output: file too large while writing .*\w+$"
    with pytest.raises(OSError, match=message) as error, small_files():
        write(path)
    assert error.value.errno == errno.EFBIG
    assert path.read_text(encoding="utf-8") == "old"
    assert {each.name for each in tmp_path.iterdir()} <= {"file", ".lock"}


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="output: no space left on device while writing .*head.pt"):
        write_state(tmp_path / "head.pt", {})
    assert not list(tmp_path.iterdir())


def test_an_error_about_an_input_is_not_one_about_the_output(tmp_path):
    with pytest.raises(FileNotFoundError, match="elsewhere") as error:
        write_atomic(tmp_path / "file", lambda _: Path("elsewhere/image.png").read_bytes())
    assert "while writing" not in str(error.value)


def test_a_run_on_a_full_disk_resumes_after_space_is_made(tmp_path, monkeypatch):
    whole = train(config(tmp_path / "whole", epochs=2), faces(COUNTS))
    original, left = os.fsync, [5]

    def full(file):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="no space left on device while writing .*run"):
            train(config(tmp_path / "run", epochs=2), faces(COUNTS))
    run = train(config(tmp_path / "run", epochs=2), faces(COUNTS))
    assert same(whole, run)
    assert not list(run.glob(".*.tmp"))


def test_the_file_that_a_link_names_is_written(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "file")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "elsewhere" / "file").read_text(encoding="utf-8") == "new"


def test_a_device_is_written_in_place():
    write_text(Path(os.devnull), "gone")
    assert Path(os.devnull).is_char_device()
    if Path("/dev/full").exists():
        with pytest.raises(
            OSError, match="output: no space left on device while writing /dev/full"
        ):
            write_text(Path("/dev/full"), "x")


@pytest.mark.parametrize("folder", [True, False])
@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("", "the path of a"),
        ("a\0b", "the path of a"),
        ("n" * 300, "name too long"),
        ("file/below", "is a file"),
    ],
)
def test_an_impossible_output_is_refused_before_the_work(tmp_path, output, message, folder):
    (tmp_path / "file").touch()
    path = output and f"{tmp_path}/{output}"
    with pytest.raises(ValueError, match=rf"^output: expected .*{message}"):
        check_output(path, folder=folder)


def test_an_output_of_the_other_kind_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="output: expected a folder, got .*file"):
        check_output(tmp_path / "file", folder=True)
    with pytest.raises(ValueError, match="output: expected a file, got"):
        check_output(tmp_path, folder=False)
    check_output(tmp_path / "new" / "file", folder=False)
    assert not (tmp_path / "new").exists()


def test_a_read_only_folder_is_refused_before_images_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(ValueError, match=r"output: .*can be written, got .*run, as .* read-only"):
        train(config(tmp_path / "run", data="nowhere"))
    missing = tmp_path / "missing.npy"
    refuse("output: ", "evaluate", "pairs", "--features", missing, "--output", tmp_path / "p.json")
    refuse("output: ", "gallery", "build", "--features", missing, "--output", tmp_path / "gallery")
    refuse("output: ", "report", tmp_path / "run", "--output", tmp_path / "r.html")


def test_a_second_run_in_one_folder_is_refused(tmp_path):
    write_features(tmp_path / "f.npy", numbered(3), embeddings(3))
    with locked_output(tmp_path):
        with pytest.raises(ValueError, match=rf"no other run writes.*\(process {os.getpid()}\)"):
            train(config(tmp_path, epochs=1), faces(COUNTS))
        features = tmp_path / "f.npy"
        refuse("no other run", "gallery", "build", "--features", features, "--output", tmp_path)
    train(config(tmp_path, epochs=1), faces(COUNTS))


@pytest.mark.slow
def test_the_lock_of_a_killed_run_is_free_while_its_workers_end(tmp_path):
    program = (
        "import os, sys, signal, time, pathlib; from fairloss.io.output import locked_output\n"
        "with locked_output(pathlib.Path(sys.argv[1])):\n"
        "    worker = os.fork()\n"
        "    time.sleep(0 if worker else 60)\n"
        "    print(worker, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        worker = int(process.stdout.readline())
        try:
            assert process.wait(60) == -signal.SIGKILL
            with locked_output(tmp_path):
                pass
        finally:
            os.kill(worker, signal.SIGKILL)


def test_damaged_files_of_tensors_are_named_in_one_line(tmp_path):
    path = tmp_path / "checkpoint-0001.pt"
    path.write_bytes(b"PK damaged")
    with pytest.raises(ValueError, match=r"checkpoint-0001.pt: [^\n]*$"):
        read_state(path)
    with pytest.raises(ValueError, match=r"checkpoint-0001.pt: damaged [^\n]*remove it"):
        RunFolder(tmp_path).load_checkpoint()
    torch.save([1], path)
    with pytest.raises(ValueError, match="named tensors"):
        read_state(path)


def test_temporaries_of_dead_runs_are_removed_and_other_hidden_files_are_not(tmp_path):
    (tmp_path / ".notes.tmp").touch()
    (tmp_path / ".head.pt.12-345.tmp").touch()
    with locked_output(tmp_path):
        pass
    assert (tmp_path / ".notes.tmp").exists()
    assert not (tmp_path / ".head.pt.12-345.tmp").exists()
