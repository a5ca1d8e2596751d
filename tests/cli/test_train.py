from __future__ import annotations

from cli_cases import SMALL
from command import succeed


def test_a_configuration_file_comes_first(data, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(f"data: {data}\noutput: {tmp_path / 'run'}\nepochs: 5\n", encoding="utf-8")
    succeed("train", path, *SMALL, "epochs=1")
    assert "epochs: 1" in (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")
