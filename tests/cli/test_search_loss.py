from __future__ import annotations

import json

from cli_cases import SMALL
from command import refuse, succeed


def test_search_loss_then_train_with_it(data, tmp_path):
    output, small = tmp_path / "search", [*SMALL, "search.held_out=3"]
    done = succeed("search-loss", f"data={data}", f"output={output}", *small)
    steps = json.loads((output / "loss.json").read_text(encoding="utf-8"))["provenance"]["steps"]
    assert f"{steps} optimizer steps in 2 rounds" in done.stdout
    assert {"trajectory.svg", "loss.svg"} < {path.name for path in output.iterdir()}
    again = ("search-loss", f"data={data}", f"output={output}", *small, "resume=never")
    refuse("output: expected a folder without a search", *again)
    run, loss = tmp_path / "run", f"head.loss={output / 'loss.json'}"
    succeed("train", f"data={data}", f"output={run}", loss, *SMALL)
    assert "name: SearchSoftmax" in (run / "config.yaml").read_text(encoding="utf-8")
