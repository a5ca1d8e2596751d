"""The numbers that insightface's trainer logs for a `.bin` set, by insightface's rules.

arcface_torch's `eval/verification.py`: squared Euclidean distance of unit features, thresholds on
a grid, `distance < threshold`, folds contiguous. The protocol of `evaluate_pair_list` places the
threshold between two scores instead; the two differ by a pair or so. This one is for comparing with
insightface's logs to the last digit.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.evaluation.pairs import Pairs
from fairloss.evaluation.roc import check_both_classes
from fairloss.typing import Bools, Float64s, Ints

ACCURACY_GRID = np.arange(0, 4, 0.01)
VAL_GRID = np.arange(0, 4, 0.001)
VAL_FAR = 1e-3


@dataclass(frozen=True)
class InsightfaceVerification:
    """The numbers logged as `Accuracy-Flip` and beside it.

    Attributes:
        accuracy: mean of the folds' accuracies.
        std: their population standard deviation.
        accuracies: of each fold, at the first threshold of the grid that is best on the others.
        val: mean TAR of the folds, at the threshold with FAR 1e-3 on the others, interpolated.
        val_std: population standard deviation of the folds' TAR.
        far: mean FAR of the folds at those thresholds.
    """

    accuracy: float
    std: float
    accuracies: tuple[float, ...]
    val: float
    val_std: float
    far: float

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes, JSON-ready."""
        return asdict(self) | {"accuracies": list(self.accuracies)}


def insightface_verification(
    embeddings: npt.ArrayLike, pairs: Pairs, fold_of_pair: npt.ArrayLike
) -> InsightfaceVerification:
    """Compute accuracy and validation rate as insightface's `verification.evaluate`.

    Args:
        embeddings: (N, D) real numbers; normalized here, in float64 as there.
        pairs: P pairs of rows.
        fold_of_pair: (P,) fold number 0, 1, ...; `contiguous_folds` are insightface's.

    Raises:
        ValueError: a fold has no genuine or no impostor pair.
    """
    distance, fold = squared_distances(embeddings, pairs), np.asarray(fold_of_pair)
    accuracies, vals, fars = [], [], []
    for number in range(int(fold.max()) + 1):
        test, train = fold == number, fold != number
        check_both_classes(f"fold {number}", pairs.genuine[test])
        same, different = _accepted(distance[train], pairs.genuine[train], ACCURACY_GRID)
        # correct decisions: accepted genuine pairs and impostor pairs that are not accepted
        best = ACCURACY_GRID[int(np.argmax(same - different))]
        accuracies.append(float(((distance[test] < best) == pairs.genuine[test]).mean()))
        threshold = _threshold_at_far(distance[train], pairs.genuine[train])
        accepted = distance[test] < threshold
        vals.append(float(accepted[pairs.genuine[test]].mean()))
        fars.append(float(accepted[~pairs.genuine[test]].mean()))
    return InsightfaceVerification(
        accuracy=float(np.mean(accuracies)),
        std=float(np.std(accuracies)),
        accuracies=tuple(accuracies),
        val=float(np.mean(vals)),
        val_std=float(np.std(vals)),
        far=float(np.mean(fars)),
    )


def squared_distances(embeddings: npt.ArrayLike, pairs: Pairs) -> Float64s:
    """Return the (P,) squared Euclidean distance of the unit features of each pair, 0..4."""
    array = np.asarray(embeddings, dtype=np.float64)
    unit = array / np.linalg.norm(array, axis=1, keepdims=True)
    return np.array(
        [np.square(unit[a] - unit[b]).sum() for a, b in zip(pairs.first, pairs.second, strict=True)]
    )


def _accepted(distance: Float64s, genuine: Bools, grid: Float64s) -> tuple[Ints, Ints]:
    """Count genuine and impostor pairs with distance < threshold, for each threshold."""
    counts = [np.searchsorted(np.sort(distance[g]), grid) for g in (genuine, ~genuine)]
    return counts[0], counts[1]


def _threshold_at_far(distance: Float64s, genuine: Bools) -> float:
    """Return where FAR reaches 1e-3, on straight lines between thresholds; 0 if it does not."""
    far = _accepted(distance, genuine, VAL_GRID)[1] / (~genuine).sum()
    if far.max() < VAL_FAR:
        return 0.0
    before = int(np.searchsorted(far, VAL_FAR)) - 1
    share = (VAL_FAR - far[before]) / (far[before + 1] - far[before])
    return float(VAL_GRID[before] + share * (VAL_GRID[before + 1] - VAL_GRID[before]))
