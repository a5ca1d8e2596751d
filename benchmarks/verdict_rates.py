"""Error rates of the verdicts of compare_seeds by simulation, for docs/evaluation.md.

    python benchmarks/verdict_rates.py --results benchmarks/results/verdict-rates.json

Arms of several seeds have scores with known AUCs (tests/planted_arms.py), the bound is ln 1.25.
Beside the shares of the verdicts: how often two 95% intervals contain the true difference of the
log odds, the one over other seeds and other identities, and the one over seeds alone.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import machine
import numpy as np

from fairloss.evaluation import SeedComparison, compare_seeds
from fairloss.io.atomic import write_text

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from planted_arms import planted_contributions

BOUND = math.log(1.25)
VERDICTS = ("ahead", "behind", "tie", "undecided")
ARMS = (  # name, AUCs, share of the variance that belongs to an arm, seeds, draws
    ("equal", (0.96, 0.96), 0.0, 5, 400),
    ("equal, each better on some identities", (0.96, 0.96), 0.03, 5, 400),
    ("AUC 0.91 against 0.96", (0.91, 0.96), 0.0, 5, 400),
    ("AUC 0.91 against 0.96, each better on some", (0.91, 0.96), 0.03, 5, 400),
    ("equal", (0.96, 0.96), 0.0, 30, 200),
    ("AUC 0.957 against 0.96", (0.957, 0.96), 0.0, 30, 100),
)


def rates(
    name: str, aucs: tuple[float, float], share: float, seeds: int, draws: int
) -> dict[str, Any]:
    """Return the record of `draws` comparisons of two arms."""
    generator = np.random.default_rng([seeds, draws])  # as planted_arms.verdicts
    odds = [math.log(auc / (1 - auc)) for auc in aucs]
    truth, verdicts, covered = odds[1] - odds[0], Counter[str | None](), [0, 0]
    for _ in range(draws):
        a, b = planted_contributions(aucs, seeds, generator, share)
        both = compare_seeds(a, b, BOUND)
        verdicts[both.verdict] += 1
        for kind, each in enumerate((both, compare_seeds(a.mean(axis=1), b.mean(axis=1), BOUND))):
            covered[kind] += covers(each, truth)
    return {
        "arms": name,
        "aucs": list(aucs),
        "arm_share": share,
        "seeds": seeds,
        "draws": draws,
        **{verdict: verdicts[verdict] / draws for verdict in VERDICTS},
        "coverage": covered[0] / draws,
        "coverage_of_seeds_alone": covered[1] / draws,
    }


def covers(comparison: SeedComparison, truth: float) -> bool:
    """Return True if the interval contains the truth."""
    return comparison.low <= truth <= comparison.high


def markdown(records: list[dict[str, Any]]) -> str:
    """Return the table of the docs."""
    names = ("arms", "seeds", "draws", *VERDICTS, "interval covers", "over seeds alone")
    lines = [f"| {' | '.join(names)} |", "|" + " --- |" * len(names)]
    for record in records:
        numbers = [record[verdict] for verdict in VERDICTS]
        numbers += [record["coverage"], record["coverage_of_seeds_alone"]]
        texts = [f"{100 * number:.3g}%" for number in numbers]
        cells = [record["arms"], record["seeds"], record["draws"], *texts]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main() -> None:
    """Simulate all arms, write the records and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path)
    parser.add_argument("--draws", type=int, help="instead of those of the docs")
    given = parser.parse_args()
    records = [rates(*arms[:4], given.draws or arms[4]) for arms in ARMS]
    if given.results:
        results = {"version": 1, "machine": machine.describe(1), "records": records}
        write_text(given.results, json.dumps(results, indent=1) + "\n")
    print(markdown(records))


if __name__ == "__main__":
    main()
