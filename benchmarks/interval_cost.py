"""Time and memory of the intervals of a report, beside its numbers and the bootstrap.

    python benchmarks/interval_cost.py 1400 --results benchmarks/results/interval-cost.json

All pairs of IDENTITIES with three images each, random features. 1,400 identities are 8.8 million
pairs; 4,411 are LFW's number of images, 87.5 million pairs, and take 12 GiB.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import machine
import numpy as np

from fairloss.evaluation import all_pairs, identity_folds, pair_scores
from fairloss.evaluation.bootstrap import identity_weights
from fairloss.evaluation.clusters import pair_clusters
from fairloss.evaluation.folds import fold_within
from fairloss.evaluation.intervals import influence_interval
from fairloss.evaluation.verification import PairStatistics
from fairloss.io.atomic import write_text

IMAGES, FOLDS, SIZE, SCATTER = 3, 10, 64, 1.5
Result = TypeVar("Result")


def cpu_seconds(function: Callable[[], Result]) -> tuple[Result, float]:
    """Return the result of a call and its CPU time."""
    start = time.process_time()
    result = function()
    return result, time.process_time() - start


def peak_mib() -> float:
    """Return the largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(identities: int) -> dict[str, Any]:
    """Return CPU times of the numbers, their intervals and a replicate, and the peak memory."""
    identity = np.repeat(np.arange(identities), IMAGES)
    generator = np.random.default_rng(0)
    features = generator.normal(size=(identities, SIZE))[identity]
    features += SCATTER * generator.normal(size=features.shape)
    pairs = all_pairs(identity)
    fold = fold_within(identity_folds(identity, FOLDS), pairs)
    scores = pair_scores(features, pairs)
    statistics, numbers_s = cpu_seconds(lambda: PairStatistics(scores, pairs.genuine, fold))
    numbers_mib = peak_mib()

    def intervals() -> int:
        clusters = pair_clusters(pairs, identity)
        for influence in statistics.influences.values():
            influence_interval(influence(clusters), clusters)
        return len(statistics.influences)

    number, intervals_s = cpu_seconds(intervals)
    intervals_mib = peak_mib()
    weights = next(identity_weights(pairs, identity, 1, 0))
    replicate_s = cpu_seconds(lambda: statistics.weighted(weights))[1]
    return {
        "identities": identities,
        "images": len(identity),
        "pairs": len(pairs),
        "intervals": number,
        "numbers_cpu_s": numbers_s,
        "intervals_cpu_s": intervals_s,
        "replicate_cpu_s": replicate_s,
        "numbers_peak_mib": numbers_mib,
        "intervals_peak_mib": intervals_mib,
    }


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("identities", type=int)
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    record = measure(given.identities)
    print(json.dumps(record))
    if given.results:
        results = {"version": 1, "machine": machine.describe(1), "records": [record]}
        write_text(given.results, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
