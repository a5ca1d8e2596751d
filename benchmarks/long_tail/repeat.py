"""Train one arm and seed of a comparison again, and compare its result with the committed one.

    python benchmarks/long_tail/repeat.py benchmarks/long_tail/task_a.yaml fair_loss 0

On the same kind of CPU every metric is equal to the bit. Else the differences are printed, and the
script fails. The data of the seed, and the policy of the arm, must be there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from fairloss.experiments import CompareConfig, Run, compare
from fairloss.experiments.summary import differing

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def repeat(config: CompareConfig, run: Run) -> dict[str, Any]:
    """Return the result of a run, which is trained in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        alone = {"arms": {run.arm: config.arms[run.arm]}, "seed": run.seed, "seeds": 1}
        whole: dict[str, Any] = {"fewer_seeds": {}, "choices": {}, "contrasts": [], "decide": []}
        single = replace(config, output=folder, **alone, **whole)
        compare(single)
        return read(single.result_path(run))


def read(path: Path) -> dict[str, Any]:
    """Return the content of a result."""
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return result


def main(comparison: Path, arm: str, seed: int) -> bool:
    """Print how a run differs from the committed result, and return whether a metric does."""
    config = CompareConfig(**yaml.safe_load(comparison.read_text(encoding="utf-8")))
    run = Run(arm, seed)
    before = read(RESULTS / "raw" / Path(config.output).name / config.result_path(run).name)
    after = repeat(config, run)
    print("machines differ in:", differing([before["machine"], after["machine"]]) or "nothing")
    changed = differing([before["metrics"], after["metrics"]])
    print("metrics that differ:", changed or f"none of {len(before['metrics'])}")
    return bool(changed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("comparison", type=Path, help="settings of `fairloss compare`")
    parser.add_argument("arm")
    parser.add_argument("seed", type=int)
    raise SystemExit(main(**vars(parser.parse_args())))
