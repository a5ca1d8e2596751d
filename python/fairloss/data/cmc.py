"""The result file of the MegaFace development kit: `cmc_*.json`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fairloss.checks import expect
from fairloss.data.text_files import StrPath, check_format, read_json_object
from fairloss.io.atomic import FormatError, write_text
from fairloss.typing import Float64s


@dataclass(frozen=True, eq=False)
class Cmc:
    """The CMC and the ROC of one experiment.

    Attributes:
        rank: (R,) number of closer distractors, from 0.
        recall: (R,) share of trials with at most that many.
        fpr: (K,) false positive rates of the ROC, rising.
        tpr: (K,) true positive rates.
    """

    rank: Float64s
    recall: Float64s
    fpr: Float64s
    tpr: Float64s

    def rank_1(self) -> float:
        """Return the share of trials whose mate comes first."""
        return float(self.recall[0])

    def tpr_at(self, fpr: float) -> float:
        """Interpolate the TPR linearly over log FPR, as other readers of these files do.

        Raises:
            ValueError: the curve does not reach `fpr` on both sides.
        """
        positive = self.fpr > 0
        rates, values = np.log(self.fpr[positive]), self.tpr[positive]
        inside = len(rates) and rates[0] <= np.log(fpr) <= rates[-1]
        expect(inside, "fpr", "a rate within the measured curve", fpr)
        return float(np.interp(np.log(fpr), rates, values))


def cmc_name(algorithm: str, size: int, number: int = 1) -> str:
    """Return the kit's file name of an experiment."""
    return f"cmc_facescrub_megaface_{algorithm}_{size}_{number}.json"


def write_cmc(path: StrPath, recall: Float64s, fpr: Float64s, tpr: Float64s) -> None:
    """Write `{"cmc": [[0, 1, ...], recall], "roc": [fpr, tpr]}`."""
    ranks = list(range(len(recall)))
    value = {"cmc": [ranks, recall.tolist()], "roc": [fpr.tolist(), tpr.tolist()]}
    write_text(Path(path), json.dumps(value))


def read_cmc(path: StrPath) -> Cmc:
    """Read a file of `write_cmc` or of the kit; FormatError if it is none."""
    value = read_json_object(path)
    return Cmc(*_curve(path, value, "cmc"), *_curve(path, value, "roc"))


def _curve(path: StrPath, value: dict[str, Any], name: str) -> tuple[Float64s, Float64s]:
    try:
        x, y = (np.array(axis) for axis in value[name])
    except (KeyError, ValueError, TypeError) as error:
        raise FormatError(path, f'"{name}": expected two lists of numbers') from error
    numbers = x.dtype.kind in "iuf" and y.dtype.kind in "iuf"
    check_format(numbers, path, f'"{name}": expected two lists of numbers')
    x, y = x.astype(np.float64), y.astype(np.float64)
    same = x.ndim == 1 and x.shape == y.shape and len(x)
    check_format(same, path, f'"{name}": expected two lists of one length')
    rising = np.isfinite(x).all() and np.isfinite(y).all() and (np.diff(x) >= 0).all()
    check_format(rising, path, f'"{name}": expected finite numbers, the first list rising')
    return x, y
