from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from command import refuse, succeed
from synthetic import write_folder

from fairloss.data.convert import MANIFEST, PROGRESS, WRITERS

OPTIONS = ("--image-size", 16, 16, "--channels", 1)


def tree(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_files_become_records_arrays_and_files_again(tmp_path):
    faces = write_folder(tmp_path / "faces", [2, 3], size=16)
    done = succeed("data", "convert", faces, "--to", "rec", "--output", tmp_path / "rec")
    assert f"5 images of 2 identities: {tmp_path / 'rec'}" in done.stdout
    source = tmp_path / "rec" / "train.rec"
    for kind in ("arrays", "folder"):
        output = ("--output", tmp_path / kind, *OPTIONS)
        succeed("data", "convert", source, "--to", kind, *output)
    files = tree(tmp_path / "folder")
    del files[MANIFEST]
    assert files == tree(faces)
    refuse("to: expected one of", "data", "convert", faces, "--to", "x", "--output", tmp_path / "y")
    other = ("--to", "folder", "--output", tmp_path / "arrays")
    refuse("expected the same conversion", "data", "convert", faces, *other)


@pytest.mark.slow
@pytest.mark.parametrize("kind", WRITERS)
def test_a_conversion_that_is_killed_resumes_to_the_same_bytes(tmp_path, kind):
    faces = write_folder(tmp_path / "faces", [40] * 60, size=16)
    for number in (3, 1007):
        next(faces.glob(f"*/{number:03d}.png")).write_bytes(b"no image")
    command = [sys.executable, "-c", "from fairloss.cli import main; main()", "data", "convert"]
    command += [faces, "--to", kind, *map(str, OPTIONS)]
    subprocess.run([*command, "--output", tmp_path / "whole"], check=True)
    output, generator, kills = tmp_path / "output", random.Random(0), 0
    state = tmp_path / ".output.partial" / PROGRESS
    before = -1
    while kills < 5:
        running = subprocess.Popen([*command, "--output", output], start_new_session=True)
        while running.poll() is None and (not state.is_file() or progress_of(state) == before):
            time.sleep(0.002)
        time.sleep(generator.uniform(0, 0.03))
        if running.poll() is None:
            os.kill(running.pid, signal.SIGKILL)
            kills += 1
        if running.wait() == 0:
            break
        assert not output.exists() or tree(output) == tree(tmp_path / "whole")
        before = progress_of(state) if state.is_file() else -1
    assert kills >= 3
    subprocess.run([*command, "--output", output], check=True)
    assert tree(output) == tree(tmp_path / "whole")
    assert not state.parent.exists()


def progress_of(state):
    try:
        return json.loads(state.read_text(encoding="utf-8"))["done"]
    except FileNotFoundError:  # at the end
        return -1
