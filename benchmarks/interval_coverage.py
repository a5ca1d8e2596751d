"""Coverage of the intervals of reports by simulation, for docs/evaluation.md.

    python benchmarks/interval_coverage.py --results benchmarks/results/interval-coverage.json

Scores follow a model with known truth. In the score model a genuine pair has mean `mean` and an
effect of its identity, an impostor pair one of both identities, and both have effects of the two
photos. In the embedding model photos scatter about the center of their identity, by a spread that
differs from identity to identity. A second model with correlated effects is compared with the
first. Cells are identities x photos, all pairs; lists in which 600 identities are in one impostor
pair each, and half of them in a genuine pair; and MegaFace's trials.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import machine
import numpy as np
from coverage_table import CELLS, markdown

from fairloss.evaluation import MegaFace, Pairs, all_pairs, identity_folds
from fairloss.evaluation.bootstrap import difference_of, pair_intervals
from fairloss.evaluation.clusters import Clusters, pair_clusters, trial_clusters
from fairloss.evaluation.folds import fold_within
from fairloss.evaluation.intervals import (
    difference_interval,
    influence_interval,
    wilson_interval,
)
from fairloss.evaluation.protocol_report import KeyPath
from fairloss.evaluation.verification import PairStatistics
from fairloss.io.atomic import write_text
from fairloss.typing import Float64s, Ints

NORMAL = NormalDist()
MEASURABLE = 10  # expected errors
COVERAGE, WIDTH = (0.92, 0.985), 1.15  # required
FEW, LOWEST_OF_FEW = 20, 0.90  # identities below which only the upper end of a coverage is judged
FARS = ("0.1", "0.01", "0.001")
REPLICATES = 200
MEGAFACE = "megaface"


@dataclass(frozen=True)
class Model:
    """Standard deviations of the effects on a score; `mean` is of genuine pairs."""

    mean: float
    genuine: float
    impostor: float
    photo: float
    noise: float

    def deviations(self) -> tuple[float, float]:
        """Return the standard deviations of genuine and impostor scores."""
        common = 2 * self.photo**2 + self.noise**2
        return (self.genuine**2 + common) ** 0.5, (2 * self.impostor**2 + common) ** 0.5


STRONG = (0.08, 0.04, 0.04, 0.08)
MODELS = {
    "strong": Model(0.45, *STRONG),
    "strong, harder": Model(0.30, *STRONG),
    "weak": Model(0.30, 0.03, 0.015, 0.015, 0.121),
}
LOSS, CORRELATION = 0.03, 0.7  # of the second model: lower mean, correlation of its effects
SIZE, CENTER, SCATTER = 16, 1.0, 0.75  # of the embedding model
SPREADS = 0.35  # standard deviation of the logarithm of the spread


class Cell:
    """Pairs of identities and photos, and their folds.

    Args:
        name: "IDENTITIES x PHOTOS", or "lists".
    """

    def __init__(self, name: str) -> None:
        lists = name == "lists"
        self.identities, photos = (600, 2) if lists else map(int, name.split(" x "))
        self.identity = np.repeat(np.arange(self.identities), photos)
        self.pairs = listed_pairs(self.identities) if lists else all_pairs(self.identity)
        if lists:
            self.fold = np.arange(len(self.pairs)) % 10
        else:
            folds = identity_folds(self.identity, min(10, self.identities // 2))
            self.fold = fold_within(folds, self.pairs)
        self.clusters = pair_clusters(self.pairs, self.identity)

    def errors(self, keys: KeyPath, truth: dict[KeyPath, float]) -> float:
        """Return the expected number of the fewer errors: accepted impostors, or genuine misses."""
        genuine = (
            self.pairs.genuine[self.fold >= 0] if keys[0] == "accuracy" else self.pairs.genuine
        )
        fewer = min(genuine.sum(), (~genuine).sum())
        if keys[0] == "tar":
            return min((~genuine).sum() * float(keys[1]), genuine.sum() * (1 - truth[keys]))
        return float(fewer * (1 - truth[keys] if keys[0] == "accuracy" else truth["eer",]))


def listed_pairs(identities: int) -> Pairs:
    """Return a genuine pair of half of the identities, and one impostor pair of each."""
    order = np.random.default_rng(0).permutation(identities)
    half = identities // 2
    other = np.random.default_rng(1).permutation(identities)
    first = np.concatenate((2 * order[:half], 2 * other[:half])).astype(np.int64)
    second = np.concatenate((2 * order[:half] + 1, 2 * other[half:] + 1)).astype(np.int64)
    return Pairs(first, second, np.arange(identities) < half)


def rates(tar: Float64s, far: Float64s) -> dict[KeyPath, float]:
    """Return the numbers of an ROC whose points rise."""
    middle = (tar[1:] + tar[:-1]) / 2
    truth = {("auc",): float(middle @ np.diff(far))}
    truth["eer",] = float(np.interp(0, far + tar - 1, far))
    truth |= {("tar", f): float(np.interp(float(f), far, tar)) for f in FARS}
    truth["accuracy",] = float((tar + 1 - far).max() / 2)
    return truth


def score_truth(model: Model) -> dict[KeyPath, float]:
    """Return the numbers of the score model, from its normal distributions."""
    genuine, impostor = model.deviations()
    cuts = np.linspace(3, -3, 60_001)
    tar = np.array([NORMAL.cdf((model.mean - cut) / genuine) for cut in cuts])
    far = np.array([NORMAL.cdf(-cut / impostor) for cut in cuts])
    return rates(tar, far)


def draw_scores(name: str, cell: Cell, generator: np.random.Generator) -> list[Float64s]:
    """Return the scores of both models for a draw of identities, photos and noise."""
    if name == "embeddings":
        return embedding_scores(cell, generator)
    model, pairs = MODELS[name], cell.pairs
    shapes = (cell.identities, cell.identities, len(cell.identity), len(pairs))
    effects = [generator.normal(size=size) for size in shapes]
    rest = (1 - CORRELATION**2) ** 0.5
    others = [
        CORRELATION * effect + rest * generator.normal(size=len(effect)) for effect in effects
    ]
    return [
        scores_of(model, model.mean - loss, cell, draw)
        for loss, draw in ((0.0, effects), (LOSS, others))
    ]


def scores_of(model: Model, mean: float, cell: Cell, effects: list[Float64s]) -> Float64s:
    """Return the scores of one model from its effects."""
    genuine, impostor, photo, noise = effects
    first, second = cell.pairs.first, cell.pairs.second
    i, j = cell.identity[first], cell.identity[second]
    common = model.photo * (photo[first] + photo[second]) + model.noise * noise
    different = model.impostor * (impostor[i] + impostor[j])
    return np.where(cell.pairs.genuine, mean + model.genuine * genuine[i], different) + common


def photos_of(identity: Ints, generator: np.random.Generator) -> list[Float64s]:
    """Return unit embeddings of photos by both models, of identities of differing spread."""
    number = int(identity.max()) + 1
    center = CENTER * generator.normal(size=(number, SIZE))
    spread = SCATTER * np.exp(SPREADS * generator.normal(size=(number, 1)))
    photo = center[identity] + spread[identity] * generator.normal(size=(len(identity), SIZE))
    other = photo + 0.3 * generator.normal(size=photo.shape)
    return [each / np.linalg.norm(each, axis=1, keepdims=True) for each in (photo, other)]


def embedding_scores(cell: Cell, generator: np.random.Generator) -> list[Float64s]:
    """Return the cosines of the pairs by both models."""
    pairs = cell.pairs
    return [
        np.einsum("pd,pd->p", unit[pairs.first], unit[pairs.second])
        for unit in photos_of(cell.identity, generator)
    ]


def embedding_truth(identities: int = 2_000_000) -> list[dict[KeyPath, float]]:
    """Return the numbers of both models from one large draw."""
    generator = np.random.default_rng(123)
    cuts = np.linspace(1, -1, 20_001)
    counts = np.zeros((2, 2, len(cuts)))
    for _ in range(identities // 100_000):
        for model, unit in enumerate(photos_of(np.repeat(np.arange(100_000), 2), generator)):
            genuine = np.einsum("pd,pd->p", unit[::2], unit[1::2])
            impostor = np.concatenate(
                [np.einsum("pd,pd->p", unit[::2], np.roll(unit[1::2], k, 0)) for k in range(1, 9)]
            )
            for kind, scores in enumerate((genuine, impostor)):
                above = len(scores) - np.searchsorted(np.sort(scores), cuts)
                counts[model, kind] += above / len(scores)
    counts /= identities // 100_000
    return [rates(tar, far) for tar, far in counts]


def truths(name: str) -> list[dict[KeyPath, float]]:
    """Return the numbers of both models."""
    if name == "embeddings":
        return embedding_truth()
    model = MODELS[name]
    lower = Model(**{**asdict(model), "mean": model.mean - LOSS})
    return [score_truth(model), score_truth(lower)]


Ends = tuple[float, float, float]  # value, low, high


def simulate(
    name: str, cell: Cell, runs: int, bootstrap: bool = False, number: str | None = None
) -> Iterator[dict[tuple[str, KeyPath], Ends]]:
    """Yield the intervals of each run: of the first model, and of the second minus the first.

    With `bootstrap` those of the identity bootstrap, which leave out the slow accuracy over folds.
    """
    for run in range(runs):
        scores = draw_scores(name, cell, np.random.default_rng([run, cell.identities]))
        slow = bootstrap and len(cell.pairs) > 600
        fold = None if slow or number not in (None, "accuracy") else cell.fold
        a, b = (PairStatistics(each, cell.pairs.genuine, fold) for each in scores)
        if bootstrap:
            yield {
                (kind, keys): (interval.value, interval.low, interval.high)
                for kind, weighted in (
                    ("value", a.weighted),
                    ("difference", difference_of(a.weighted, b.weighted)),
                )
                for keys, interval in pair_intervals(
                    weighted, cell.pairs, cell.identity, REPLICATES, run
                ).items()
                if interval is not None
            }
        else:
            yield intervals_of(a, b, cell.clusters, number)


def intervals_of(
    a: Any, b: Any, clusters: Clusters, number: str | None = None
) -> dict[tuple[str, KeyPath], Ends]:
    """Return the intervals of a report on one model and of a comparison of two."""
    ends: dict[tuple[str, KeyPath], Ends] = {}
    for keys, function in a.influences.items():
        if number not in (None, "@".join(keys)):
            continue
        one, two = function(clusters), b.influences[keys](clusters)
        both = difference_interval(one, two, clusters)
        for kind, each in (("value", influence_interval(one, clusters)), ("difference", both)):
            ends[kind, keys] = (each.value, each.low, each.high)
    return ends


def simulate_megaface(
    identities: int, photos: int, runs: int
) -> tuple[Iterator[dict[tuple[str, KeyPath], Ends]], dict[KeyPath, float], dict[KeyPath, float]]:
    """Return the intervals of each run, and the rank-1 of both models.

    A trial is a hit where effects of the identity, of its two photos and noise are above a limit.
    """
    identity = np.repeat(np.arange(identities), photos)
    mates, probes = np.nonzero((identity[:, None] == identity) & ~np.eye(len(identity), dtype=bool))
    limits, deviation = (-1.2, -1.0), 2**0.5  # variances: identity 1, photos 1/4 each, noise 1/2
    clusters = trial_clusters(identity[probes])

    def result(hit: Any) -> MegaFace:
        zeros = np.zeros(2, dtype=np.float32)
        trials = np.zeros(len(hit), dtype=np.float32)
        rank = np.where(hit, 0, 5).astype(np.int64)
        return MegaFace(rank, trials, identity[probes], zeros, len(identity), 1)

    def each() -> Iterator[dict[tuple[str, KeyPath], Ends]]:
        for run in range(runs):
            generator = np.random.default_rng([run, identities])
            shapes = (identities, len(identity), len(mates))
            effects = [generator.normal(size=size) for size in shapes]
            rest = (1 - CORRELATION**2) ** 0.5
            others = [CORRELATION * e + rest * generator.normal(size=len(e)) for e in effects]
            hits = [
                i[identity[probes]] + (p[mates] + p[probes]) / 2 + 0.5**0.5 * n > limit
                for limit, (i, p, n) in zip(limits, (effects, others), strict=True)
            ]
            ends = intervals_of(*map(result, hits), clusters)
            yield {key: value for key, value in ends.items() if key[1] == ("rank_1",)}

    a, b = ({("rank_1",): NORMAL.cdf(-limit / deviation)} for limit in limits)
    return each(), a, b


def summarize(drawn: list[Ends], truth: float, errors: float, identities: int) -> dict[str, Any]:
    """Return the coverage of a number's intervals and their width over that of the estimate."""
    value, low, high = np.array(drawn).T
    coverage = float(((low <= truth) & (truth <= high)).mean())
    spread = float(np.subtract(*np.quantile(value, (0.975, 0.025))))
    width = float((high - low).mean()) / spread if spread else None
    runs = np.random.default_rng(0).integers(len(value), size=(400, len(value)))
    spreads = np.subtract(*np.quantile(value[runs], (0.975, 0.025), axis=1))
    widths = (high - low)[runs].mean(axis=1) / np.where(spreads, spreads, np.nan)
    least, most = wilson_interval(coverage, len(drawn), 1.96)
    few = identities < FEW
    covers = most >= LOWEST_OF_FEW if few else most >= COVERAGE[0] and least <= COVERAGE[1]
    return {
        "identities": identities,
        "truth": truth,
        "expected_errors": errors,
        "measurable": errors >= MEASURABLE,
        "runs": len(drawn),
        "coverage": coverage,
        "coverage_interval": [least, most],
        "below": float((high < truth).mean()),
        "above": float((low > truth).mean()),
        "width": width,
        "width_interval": np.nanquantile(widths, (0.025, 0.975)).tolist() if spread else None,
        "covers": bool(covers),
        "narrow": width is not None and width <= WIDTH,
    }


def run_cell(
    scores: str, name: str, runs: int, bootstrap: bool = False, number: str | None = None
) -> list[dict[str, Any]]:
    """Return a record for each statistic of a cell, or for one number."""
    if scores == MEGAFACE:
        identities, photos = map(int, name.split(" x "))
        drawn, *truth = simulate_megaface(identities, photos, runs)
        trials = identities * photos * (photos - 1)

        def errors(keys: KeyPath, share: dict[KeyPath, float]) -> float:
            return trials * min(share[keys], 1 - share[keys])
    else:
        cell, truth = Cell(name), truths(scores)
        drawn, errors, identities = (
            simulate(scores, cell, runs, bootstrap, number),
            cell.errors,
            cell.identities,
        )
    ends: dict[tuple[str, KeyPath], list[Ends]] = {}
    for each in drawn:
        for key, value in each.items():
            ends.setdefault(key, []).append(value)
    a, b = truth
    head = {"scores": scores, "cell": name, "method": "bootstrap" if bootstrap else "analytic"}
    return [
        head | {"statistic": "@".join(keys), "kind": kind} | summarize(
            values,
            a[keys] if kind == "value" else b[keys] - a[keys],
            float(errors(keys, a) if kind == "value" else min(errors(keys, a), errors(keys, b))),
            identities,
        )
        for (kind, keys), values in ends.items()
        if keys in a
    ]  # fmt: skip


def identifier(record: dict[str, Any]) -> tuple[str, ...]:
    """Return what no two records have in common."""
    return tuple(record[key] for key in ("scores", "cell", "method", "statistic", "kind"))


ALL = [(MEGAFACE, cell) for cell in ("20 x 5", "50 x 4", "200 x 3")]
ALL += [(scores, cell) for cell in CELLS for scores in (*MODELS, "embeddings")]


def main() -> None:
    """Simulate cells and write the records, those of other cells and numbers kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", nargs=2, action="append", metavar=("SCORES", "CELL"))
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--bootstrap", action="store_true", help="check the bootstrap's instead")
    parser.add_argument("--number", help="one of them alone, such as eer or tar@0.1; faster")
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    results: dict[str, Any] = {"version": 1, "records": []}
    if given.results and given.results.exists():
        results = json.loads(given.results.read_text(encoding="utf-8"))
    results["machine"] = machine.describe(1)
    for scores, cell in given.cell or ALL:
        records = run_cell(scores, cell, given.runs, given.bootstrap, given.number)
        replaced = {identifier(record) for record in records}
        kept = [r for r in results["records"] if identifier(r) not in replaced]
        results["records"] = kept + records
        print(markdown(records), flush=True)
        if given.results:
            write_text(given.results, json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
