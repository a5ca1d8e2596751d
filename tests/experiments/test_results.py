"""Results that exist."""

from __future__ import annotations

from dataclasses import asdict

from fairloss.experiments import CompareConfig, results
from fairloss.io.digest import sha256
from fairloss.io.json import write_json


def test_a_file_that_runs_share_is_read_once_a_call(tmp_path, monkeypatch):
    margins = tmp_path / "margins.json"
    margins.write_text("{}", encoding="utf-8")
    arms = {name: {"head.name": "PerClass", "head.margins": str(margins)} for name in ("a", "b")}
    config = CompareConfig(str(tmp_path / "o"), {"data": "faces"}, arms, seeds=2)
    entries = {"train_steps": 1, "cost_steps": 1.0, "seconds": 1.0, "metrics": {}}
    entries |= {"test": {"folder": None}, "machine": {"threads": 1}}
    entries["files"] = {"head.margins": sha256(margins)}
    for run in config.runs:
        result = run._asdict() | entries | {"settings": asdict(config.training(run))}
        write_json(config.result_path(run), result)
    reads = []
    monkeypatch.setattr(results, "sha256", lambda file: reads.append(file) or sha256(file))
    for calls in (1, 2):
        assert len(results.read_results(config)) == 4
        assert reads == [margins] * calls
