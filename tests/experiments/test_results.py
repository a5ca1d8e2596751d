"""Results that exist."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from fairloss.experiments import CompareConfig, results
from fairloss.io.digest import sha256
from fairloss.io.json import write_json


def write_results(config, files):
    entries = {"train_steps": 1, "cost_steps": 1.0, "seconds": 1.0, "metrics": {}, "files": files}
    entries |= {"test": {"folder": None}, "machine": {"threads": 1}}
    for run in config.runs:
        result = run._asdict() | entries | {"settings": asdict(config.training(run))}
        write_json(config.result_path(run), result)


def test_a_file_that_runs_share_is_read_once_a_call(tmp_path, monkeypatch):
    margins = tmp_path / "margins.json"
    margins.write_text("{}", encoding="utf-8")
    arms = {name: {"head.name": "PerClass", "head.margins": str(margins)} for name in ("a", "b")}
    config = CompareConfig(str(tmp_path / "o"), {"data": "faces"}, arms, seeds=2)
    write_results(config, {"head.margins": sha256(margins)})
    reads = []
    monkeypatch.setattr(results, "sha256", lambda file: reads.append(file) or sha256(file))
    for calls in (1, 2):
        assert len(results.read_results(config)) == 4
        assert reads == [margins] * calls


def test_the_weights_that_a_run_starts_from_are_recorded(tmp_path):
    paths = [tmp_path / name for name in ("model.pt", "head.pt", "alone.pt")]
    for path in paths:
        path.write_text(path.name, encoding="utf-8")
    arms = {"run": {"init": str(tmp_path)}, "backbone": {"init_backbone": str(paths[2])}}
    config = CompareConfig(str(tmp_path / "o"), {"data": "faces"}, arms, seeds=1)
    run, backbone = (results.digests(config.training(each)) for each in config.runs)
    assert run == {f"init/{path.name}": sha256(path) for path in paths[:2]}
    assert backbone == {"init_backbone": sha256(paths[2])}


def test_a_run_with_a_result_does_not_need_its_files(tmp_path):
    backbone = tmp_path / "model.pt"
    backbone.write_text("weights", encoding="utf-8")
    arms = {"a": {"init_backbone": str(backbone)}}
    config = CompareConfig(str(tmp_path / "o"), {"data": "faces"}, arms, seeds=1)
    write_results(config, {"init_backbone": sha256(backbone)})
    backbone.unlink()
    assert results.read_results(config).keys() == {*config.runs}
    backbone.write_text("other weights", encoding="utf-8")
    with pytest.raises(ValueError, match="files was .*init_backbone"):
        results.read_results(config)
