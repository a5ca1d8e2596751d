from __future__ import annotations

import os
import signal

from cli_cases import SMALL
from command import fairloss, succeed

from fairloss.io.run_folder import RunFolder


def test_a_configuration_file_comes_first(data, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(f"data: {data}\noutput: {tmp_path / 'run'}\nepochs: 5\n", encoding="utf-8")
    succeed("train", path, *SMALL, "epochs=1")
    assert "epochs: 1" in (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")


def test_an_interrupted_run_exits_with_the_signal_and_resumes(data, tmp_path, monkeypatch):
    settings = [f"data={data}", f"output={tmp_path / 'run'}", *SMALL, "epochs=1", "log_every=1"]
    original = RunFolder.log

    def log_and_end(self, event, **values):
        original(self, event, **values)
        if event == "step":
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunFolder, "log", log_and_end)
    assert fairloss("train", *settings).returncode == 143
    monkeypatch.undo()
    assert "resumes after step 1\n" in succeed("train", *settings).stderr
    done = succeed("train", *settings)
    assert f"{tmp_path / 'run'} is finished\n" in done.stderr
    assert done.stdout == f"backbone: {tmp_path / 'run' / 'model.pt'}\n"
