"""`fairloss train` and `collect` in the processes of torchrun."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest
import torch
from command import succeed
from synthetic import write_folder

from fairloss.experience import Experience
from fairloss.training import RunFolder, load_backbone

pytestmark = pytest.mark.slow
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "fairloss")
SETTINGS = ("image_size=[32,32]", "channels=1", "batch_size=8", "device=cpu", "log_every=1")


def start(*arguments):
    return start_command("train", *arguments, *SETTINGS)


def start_command(*arguments):
    command = [sys.executable, *TORCHRUN, *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, encoding="utf-8", **pipes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("data=missing", "missing': expected folder/identity"),
        ("epochs=0", "error: epochs: expected"),
        ("head.name=Softmax", "error: head.name: expected one that divides its classes"),
        ("sampler=per_class images_per_class=2", "error: batch_size: expected at most 6, 2 images"),
    ],
)
def test_an_error_is_reported_once_and_ends_all_ranks(tmp_path, changes, message):
    images = write_folder(tmp_path / "images", [4, 3, 2], size=32)
    ranks = start(f"data={images}", f"output={tmp_path / 'run'}", *changes.split())
    output, errors = ranks.communicate(timeout=200)
    assert ranks.returncode != 0
    assert errors.count("error: ") == 1, errors
    assert message in errors
    assert errors.count("Traceback") <= 1  # of torchrun itself
    assert output == ""


def test_sigterm_ends_all_ranks_after_a_checkpoint_and_they_resume(tmp_path):
    images = write_folder(tmp_path / "images", [6, 5, 4, 3], size=32)
    arguments = f"data={images}", f"output={tmp_path / 'run'}", "epochs=40"
    ranks = start(*arguments)
    folder = RunFolder(tmp_path / "run")
    while not any(line["event"] == "step" for line in folder.metrics()):
        assert ranks.poll() is None
        time.sleep(0.1)
    ranks.send_signal(signal.SIGTERM)
    ranks.communicate(timeout=200)
    steps = max(line["step"] for line in folder.metrics() if line["event"] == "step")
    assert steps < 120
    newest = max(path.name for path in folder.path.glob("checkpoint-*"))
    assert newest.endswith(f"-{steps:08d}")
    ranks = start(*arguments)
    output, errors = ranks.communicate(timeout=400)
    assert ranks.returncode == 0, errors
    assert output.splitlines() == [f"backbone: {tmp_path / 'run' / 'model.pt'}"]
    assert errors.count("resumes after step") == 1
    steps = [line["step"] for line in folder.metrics() if line["event"] == "step"]
    assert steps == [*range(1, 121)]
    weight = torch.load(folder / "head.pt", weights_only=True)["weight"]
    assert weight.shape[0] == 4


def test_a_log_that_cannot_be_written_ends_all_ranks(tmp_path):
    images = write_folder(tmp_path / "images", [6, 5, 4, 3], size=32)
    ranks = start(f"data={images}", f"output={tmp_path / 'run'}", "epochs=4000")
    folder = RunFolder(tmp_path / "run")
    while not any(line["event"] == "step" for line in folder.metrics()):
        assert ranks.poll() is None
        time.sleep(0.1)
    started = time.perf_counter()
    folder.path.rename(tmp_path / "moved")
    output, errors = ranks.communicate(timeout=200)
    print(f"ranks end after {time.perf_counter() - started:.1f} s")
    assert ranks.returncode != 0
    assert errors.count("error: ") == 1, errors
    assert "error: output: no such file or directory while writing" in errors
    assert errors.count("Traceback") <= 1  # of torchrun itself
    assert output == ""


def test_two_ranks_collect_and_report_an_error_once(tmp_path):
    images = write_folder(tmp_path / "images", [6, 5, 4, 3], size=32)
    pretrained, output = tmp_path / "run", tmp_path / "collection"
    succeed("train", f"data={images}", f"output={pretrained}", "epochs=1", *SETTINGS)
    arguments = f"run={pretrained}", f"output={output}", "min_cell=1", "device=cpu"
    ranks = start_command("collect", *arguments, "workers=2")
    _, errors = ranks.communicate(timeout=200)
    assert ranks.returncode != 0
    assert errors.count("error: ") == 1, errors
    assert "error: workers: expected 1 on several ranks" in errors
    assert not output.exists()
    ranks = start_command("collect", *arguments, "epochs=2", "layout=branches", "branches=2")
    shown, errors = ranks.communicate(timeout=400)
    assert ranks.returncode == 0, errors
    assert shown.count("transitions in") == shown.count("\n") == 1
    assert len(Experience.load(output / "experience.npz")) > 4
    model, _ = load_backbone(output / "chain-0" / "model" / "model.pt")  # batch normalization
    state = torch.load(output / "chain-0" / "checkpoint-0002" / "state.pt", weights_only=True)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state["model"][name])
