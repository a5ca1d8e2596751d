"""Gather the results of comparisons for the docs, finished or not.

    python benchmarks/long_tail/gather.py benchmarks/long_tail/task_*.yaml

Results in the `output` of a comparison are copied to docs/results/raw/TASK, where TASK is the last
part of `output`, and docs/results/long_tail.json is written from all that are there. Results with
other settings are refused. Neither data nor run folders are read. On another machine a comparison
continues from raw/TASK/*.json, copied to `output`/results.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from fairloss.experiments import CompareConfig
from fairloss.experiments.results import check_same
from fairloss.experiments.summary import summarize
from fairloss.io.json import write_json

RESULTS = Path(__file__).parents[2] / "docs" / "results"


def gather(paths: list[Path], output: Path) -> dict[str, Any]:
    """Copy new results to `raw` beside `output`, write it and return its content."""
    tasks = []
    for path in paths:
        config = CompareConfig(**yaml.safe_load(path.read_text(encoding="utf-8")))
        raw = output.parent / "raw" / Path(config.output).name
        raw.mkdir(parents=True, exist_ok=True)
        results = {}
        for run in config.runs:
            new = config.result_path(run)
            file = new if new.is_file() else raw / new.name
            if file.is_file():
                results[run] = json.loads(file.read_text(encoding="utf-8"))
                check_same(config, run, results[run])
                if file == new:
                    shutil.copy(new, raw)
        if results:
            tasks += summarize(config, results)["tasks"]
    content = {"tasks": tasks}
    write_json(output, content)
    return content


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("comparisons", type=Path, nargs="+", help="settings of `fairloss compare`")
    parser.add_argument("--output", type=Path, default=RESULTS / "long_tail.json")
    given = parser.parse_args()
    for task in gather(given.comparisons, given.output)["tasks"]:
        print(task["name"], task["seeds"])
