"""Verification over all pairs of samples, without holding the scores of impostor pairs."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fairloss.checks import check_length, expect
from fairloss.embeddings import unit_embeddings
from fairloss.evaluation.pairs import identity_index
from fairloss.evaluation.roc import RELATIVE_TOLERANCE
from fairloss.evaluation.verification import FARS, check_fars
from fairloss.typing import Float32s, Ints

BLOCK = 2**22  # scores sorted at a time: 16 MiB


class StreamedVerification(NamedTuple):
    """Verification metrics over all pairs of samples.

    Attributes:
        auc: area under the ROC, ties counted half.
        tar: FAR -> TAR, None where FAR < 1 / impostor.
        genuine: number of genuine pairs.
        impostor: number of impostor pairs.
    """

    auc: float
    tar: dict[float, float | None]
    genuine: int
    impostor: int


def streamed_verification(
    embeddings: npt.ArrayLike, identities: npt.ArrayLike, far: Sequence[float] = FARS
) -> StreamedVerification:
    """Compute AUC and TAR@FAR over all pairs of samples, as `verification` of their `pair_scores`.

    The TARs are the same to the bit; the AUC is exact before its one division. The TAR changes at
    genuine scores only, so it is enough to count the impostor scores below each of these. Memory
    grows with N D and the number of genuine pairs, time with N^2 D.

    Args:
        embeddings: (N, D) real numbers; normalized here.
        identities: (N,) integers or strings.
        far: false accept rates in (0, 1].

    Raises:
        ValueError: embeddings and identities differ in length, a row is zero or not finite, or
            there is no genuine or no impostor pair.
    """
    fars = check_fars(far)
    unit, index = unit_embeddings(embeddings), identity_index(identities)
    check_length("embeddings", len(unit), len(index), "rows, as identities")
    order = np.argsort(index)
    unit, index = unit[order], index[order]
    end = np.searchsorted(index, index, side="right")  # of the samples of the same identity
    genuine = int((end - np.arange(len(end)) - 1).sum())
    impostor = len(unit) * (len(unit) - 1) // 2 - genuine
    got = f"{genuine} genuine and {impostor} impostor pairs"
    expect(genuine and impostor, "identities", "at least one genuine and one impostor pair", got)
    rows = [_scores(unit[row], unit[row + 1 : end[row]]) for row in range(len(unit))]
    level, count = np.unique(np.concatenate(rows), return_counts=True)
    below, tied_or_below = np.zeros((2, len(level)), np.int64)
    for block in _impostor_blocks(unit, end):
        block.sort()
        below += np.searchsorted(block, level)
        tied_or_below += np.searchsorted(block, level, side="right")
    # From the highest genuine score, with a point before it at which all are rejected.
    fars_at = np.append(0, impostor - below[::-1]) / impostor
    tars_at = np.append(0, np.cumsum(count[::-1])) / genuine
    tar: dict[float, float | None] = dict.fromkeys(fars)
    for limit in fars:
        if limit * impostor * (1 + RELATIVE_TOLERANCE) >= 1:
            point = np.searchsorted(fars_at, limit * (1 + RELATIVE_TOLERANCE), side="right") - 1
            tar[limit] = float(tars_at[point])
    auc = int(count @ (below + tied_or_below)) / (2 * genuine * impostor)
    return StreamedVerification(auc, tar, genuine, impostor)


def _scores(left: Float32s, right: Float32s) -> Float32s:
    """Return the scores of a row with several, which have the bits of `pair_scores`."""
    scores: Float32s = np.einsum("pd,d->p", right, left)
    return scores.clip(-1.0, 1.0, out=scores)


def _impostor_blocks(unit: Float32s, end: Ints) -> Iterator[Float32s]:
    """Yield the scores of all impostor pairs; rows of an identity are neighbors."""
    rows, size = [], 0
    for row, after in zip(unit, end, strict=True):
        rows.append(_scores(row, unit[after:]))
        size += len(rows[-1])
        if size >= BLOCK:
            yield np.concatenate(rows)
            rows, size = [], 0
    yield np.concatenate([*rows, np.empty(0, np.float32)])
