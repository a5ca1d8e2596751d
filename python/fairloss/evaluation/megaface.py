"""The MegaFace challenge: exact identification among up to a million distractors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed

from fairloss.checks import check_flags, check_integers, check_shape, expect
from fairloss.embeddings import equal_rows, pair_products, unit_embeddings
from fairloss.evaluation.influence import InfluenceFunction, share_function
from fairloss.evaluation.pairs import identity_index
from fairloss.evaluation.protocol_report import KeyPath, protocol_report, trial_sampling
from fairloss.evaluation.roc import RELATIVE_TOLERANCE
from fairloss.evaluation.sides import matched_networks
from fairloss.evaluation.verification import not_measurable
from fairloss.typing import Bools, Float32s, Float64s, Ints
from fairloss_ext import distractor_ranks

FAR = 1e-6
CHUNK = 2**16  # distractors normalized at a time: 128 MiB of float32 at 512 dimensions
COPIED = 64  # probes at a time of which distractors are copies
# The ROC reaches up to ten times the published FAR, or to this many impostors if that is more.
ROC_FAR = 10 * FAR
ROC_IMPOSTORS = 100_000


@dataclass(frozen=True, eq=False)
class MegaFace:
    """The result of every trial of a challenge.

    A trial is an ordered pair of images of one identity: one joins the distractors, the other is
    the probe.

    Attributes:
        rank: (T,) int64, number of distractors strictly more similar to the probe than its mate.
        score: (T,) float32, cosine of probe and mate.
        identity: (T,) int64, number of the identity.
        impostor: (K,) float32, the highest scores of any probe with any distractor, falling.
        probes: number of probes.
        distractors: number of distractors.
    """

    rank: Ints
    score: Float32s
    identity: Ints
    impostor: Float32s
    probes: int
    distractors: int

    @property
    def impostors(self) -> int:
        """The number of impostor pairs: every probe with every distractor."""
        return self.probes * self.distractors

    def recall(self) -> Float64s:
        """Return the CMC: (distractors + 1,) share of trials with at most 0, 1, ... closer ones."""
        counts = np.bincount(self.rank, minlength=self.distractors + 1)
        return np.cumsum(counts) / len(self.rank)

    def threshold_at(self, far: float = FAR) -> float | None:
        """Return the highest impostor score to be rejected at `far`; mates above it are accepted.

        None if `far` allows no impostor pair at all, or more than were recorded.
        """
        allowed = math.floor(far * self.impostors * (1 + RELATIVE_TOLERANCE))
        if not 1 <= allowed < len(self.impostor):
            return None
        return float(self.impostor[allowed])

    def tar_at(self, far: float = FAR) -> float | None:
        """Return the share of mates accepted where at most a share `far` of impostor pairs is."""
        threshold = self.threshold_at(far)
        return None if threshold is None else float((self.score > threshold).mean())

    def roc(self) -> tuple[Float64s, Float64s]:
        """Return (FPR, TPR) when all scores above each recorded impostor score are accepted."""
        before = np.flatnonzero(np.append(True, self.impostor[1:] != self.impostor[:-1]))
        mates = np.sort(self.score)
        accepted = len(mates) - np.searchsorted(mates, self.impostor[before], side="right")
        return before / self.impostors, accepted / len(mates)

    @property
    def point(self) -> dict[str, Any]:
        """The numbers of `report` without intervals."""
        tar = self.tar_at()
        return {
            "probes": self.probes,
            "identities": len(np.unique(self.identity)),
            "distractors": self.distractors,
            "trials": len(self.rank),
            "rank_1": float((self.rank < 1).mean()),
            "rank_10": float((self.rank < 10).mean()),
            "far": FAR,
            "tar": not_measurable(self.impostors) if tar is None else tar,
            "threshold": self.threshold_at(),
        }

    @property
    def _hits(self) -> dict[KeyPath, Bools]:
        """The (T,) trials that "rank_1", "rank_10" and "tar", at the data's threshold, count."""
        hits: dict[KeyPath, Bools] = {("rank_1",): self.rank < 1, ("rank_10",): self.rank < 10}
        threshold = self.threshold_at()
        if threshold is not None:
            hits["tar",] = self.score > threshold
        return hits

    @property
    def influences(self) -> dict[KeyPath, InfluenceFunction]:
        """The influences of trials on "rank_1", "rank_10" and "tar"."""
        return {keys: share_function(hits) for keys, hits in self._hits.items()}

    def weighted(self, weights: Float64s) -> dict[KeyPath, float | None]:
        """Return "rank_1", "rank_10" and "tar" under (T,) weights, at the data's threshold."""
        total = weights.sum()
        return {keys: float(weights @ hit / total) for keys, hit in self._hits.items()}

    def report(self, replicates: int = 0, seed: int = 0) -> dict[str, Any]:
        """Return `point` with identity-clustered intervals of "rank_1", "rank_10" and "tar".

        Args:
            replicates: of the bootstrap that checks the intervals, 0 for none.
            seed: of the bootstrap.
        """
        return protocol_report([[self]], trial_sampling(self.identity, replicates, seed))


def evaluate_megaface(
    probes: npt.ArrayLike,
    identities: npt.ArrayLike,
    distractors: npt.ArrayLike,
    excluded: npt.ArrayLike | None = None,
) -> MegaFace:
    """Run every trial of the challenge, in one pass over the distractors.

    Scores are cosines; Euclidean distance of unit features ranks alike, as |a - b|^2 = 2 - 2 a.b.
    A distractor that equals the mate has the mate's score, to the last bit, and is not closer.
    Under an initialized `torch.distributed` group each process passes its own rows of the
    distractors, and all return the result of the whole.

    Args:
        probes: (P, D) real numbers; normalized here.
        identities: (P,) integers or strings; identities with one image have no trial.
        distractors: (M, D) floating point, array or memory map; normalized here, in chunks.
        excluded: rows of noisy distractors ("refined" list): never accepted, still counted.

    Returns:
        The result of every trial, for the report and the curves.

    Raises:
        ValueError: no identity has two images, or a row is zero or not finite.
    """
    unit = unit_embeddings(probes)
    index = identity_index(identities)
    mate, probe = trials(index)
    scores = pair_products(unit[probe], unit[mate])
    rows = np.asanyarray(distractors)
    total = _sum_over_processes(torch.tensor([len(rows)])).item()
    pairs = len(unit) * int(total)
    recorded = min(pairs, max(ROC_IMPOSTORS, math.floor(ROC_FAR * pairs) + 1))
    ranks, impostor = _search(unit, probe, scores, rows, recorded, excluded)
    return MegaFace(
        rank=_sum_over_processes(ranks).numpy(),
        score=scores,
        identity=index[probe],
        impostor=_highest_of_processes(impostor, recorded).numpy(),
        probes=len(unit),
        distractors=int(total),
    )


def compare_megaface(
    a: MegaFace | Sequence[MegaFace],
    b: MegaFace | Sequence[MegaFace],
    replicates: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare two models on the same challenge: b minus a.

    A sequence of results is of several networks.

    Returns:
        JSON-ready: as `compare`, with "rank_1", "rank_10" and "tar" at FAR 1e-6.

    Raises:
        ValueError: the results are not of the same probes and number of distractors.
    """
    sides = matched_networks(
        a,
        b,
        "the same probes and number of distractors",
        lambda result: {"probes": result.identity, "distractors": result.impostors},
    )
    sampling = trial_sampling(sides[0][0].identity, replicates, seed)
    return protocol_report(sides, sampling)


def trials(identity: Ints) -> tuple[Ints, Ints]:
    """Return (T,) mate and (T,) probe rows: ordered pairs of different images of an identity."""
    order = np.argsort(identity, kind="stable")
    images = np.split(order, np.cumsum(np.bincount(identity))[:-1])
    several = any(len(rows) > 1 for rows in images)
    expect(several, "identities", "an identity with at least 2 images", "none")
    mates, probes = np.concatenate(
        [rows[np.stack(np.nonzero(~np.eye(len(rows), dtype=np.bool_)))] for rows in images], axis=1
    )
    return mates, probes


def _search(
    unit: Float32s,
    probe: Ints,
    scores: Float32s,
    rows: npt.NDArray[Any],
    recorded: int,
    excluded: npt.ArrayLike | None,
) -> tuple[Tensor, Tensor]:
    """Return ranks (T,) among these rows, and their `recorded` highest impostor scores, falling."""
    clean = np.ones(len(rows), dtype=np.bool_)
    if excluded is not None:
        clean[check_integers("excluded", excluded)] = False
    ranks, highest = torch.zeros(len(probe), dtype=torch.int64), torch.empty(0)
    copies = np.zeros(len(unit), dtype=np.int64)  # distractors that equal each probe
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        chunk = unit_embeddings(rows[part][clean[part]])
        match = equal_rows(chunk, unit)
        if (match >= 0).any():
            copies += np.bincount(match[match >= 0], minlength=len(unit))
            chunk = chunk[match < 0]
        tail = min(recorded, len(unit) * len(chunk))
        if not tail:
            continue
        closer, above = distractor_ranks(unit, chunk, probe, scores, tail)
        ranks += closer
        highest = _highest(recorded, highest, above)
    closer, above = _ranks_among_copies(unit, probe, scores, copies, recorded)
    highest = _highest(recorded, highest, above)
    missing = recorded - len(highest)  # excluded distractors are infinitely far away
    return ranks + closer, torch.nn.functional.pad(highest, (0, missing), value=-math.inf)


def _highest(count: int, *scores: Tensor) -> Tensor:
    pool = torch.cat(scores)
    return pool.topk(min(count, len(pool))).values


def _ranks_among_copies(
    unit: Float32s, probe: Ints, scores: Float32s, copies: Ints, recorded: int
) -> tuple[Tensor, Tensor]:
    """Return as `_search`, among `copies` (P,) distractors that equal each probe.

    Entries of a matrix product differ in their rounding from the scores of the trials. These do
    not, so a copy of the mate ties with it.
    """
    ranks, highest = torch.zeros(len(probe), dtype=torch.int64), torch.empty(0)
    wide, copied = unit.astype(np.float64), np.flatnonzero(copies)
    for start in range(0, len(copied), COPIED):
        rows = copied[start : start + COPIED]
        products = np.stack([pair_products(wide, wide[row]) for row in rows], axis=1)
        ranks += torch.from_numpy((products[probe] > scores[:, None]) @ copies[rows])
        falling = np.argsort(-products, axis=None)
        count = np.tile(copies[rows], len(unit))[falling]
        falling = falling[: np.searchsorted(count.cumsum(), recorded) + 1]
        above = np.repeat(products.ravel()[falling], count[: len(falling)])[:recorded]
        highest = _highest(recorded, highest, torch.from_numpy(above))
    return ranks, highest


def replace_noisy(
    features: npt.ArrayLike, identities: npt.ArrayLike, noisy: npt.ArrayLike, seed: int = 0
) -> Float32s:
    """Return the probes of the refined list: noisy ones become the mean of their identity's others.

    As insightface's `remove_noises.py`: sum of the unit features of the clean images of the
    identity, plus uniform noise of +-0.001, normalized. Only the images given here are summed.

    Args:
        features: (P, D) real numbers; normalized here.
        identities: (P,) integers or strings.
        noisy: (P,) bool.
        seed: of the noise.

    Raises:
        ValueError: an identity has noisy images only.
    """
    unit, index = unit_embeddings(features), identity_index(identities)
    bad = check_flags("noisy", noisy)
    check_shape("noisy", bad, len(unit))
    generator = np.random.default_rng(seed)
    for row in np.flatnonzero(bad):
        clean = (index == index[row]) & ~bad
        expect(clean.any(), "noisy", "a clean image of every identity", f"none for row {row}")
        center = unit[clean].sum(axis=0) + generator.uniform(-1e-3, 1e-3, unit.shape[1])
        unit[row] = center / np.linalg.norm(center)
    return unit


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _sum_over_processes(counts: Tensor) -> Tensor:
    if _is_distributed():
        distributed.all_reduce(counts)
    return counts


def _highest_of_processes(highest: Tensor, recorded: int) -> Tensor:
    if not _is_distributed():
        return highest
    parts = [torch.empty_like(highest) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, highest)
    return _highest(recorded, *parts)
