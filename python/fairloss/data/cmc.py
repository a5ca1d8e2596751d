"""The result file of the MegaFace development kit: `cmc_*.json`."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fairloss.io.atomic import FormatError, read_text, write_atomic

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Cmc:
    """Two curves of one experiment.

    Attributes:
        rank: (R,) number of closer distractors, from 0.
        recall: (R,) share of trials with at most that many.
        fpr, tpr: (K,) the ROC, rising.
    """

    rank: Floats
    recall: Floats
    fpr: Floats
    tpr: Floats

    def rank_1(self) -> float:
        """Share of trials whose mate comes first."""
        return float(self.recall[0])

    def tpr_at(self, fpr: float) -> float:
        """TPR on straight lines over log FPR, as the readers of these files do.

        Raises:
            ValueError: the curve does not reach `fpr` on both sides.
        """
        known = self.fpr > 0
        rates, values = np.log(self.fpr[known]), self.tpr[known]
        if not len(rates) or not rates[0] <= np.log(fpr) <= rates[-1]:
            raise ValueError(f"fpr = {fpr} lies outside the measured curve")
        return float(np.interp(np.log(fpr), rates, values))


def cmc_name(algorithm: str, size: int, number: int = 1) -> str:
    """The kit's file name of an experiment."""
    return f"cmc_facescrub_megaface_{algorithm}_{size}_{number}.json"


def write_cmc(path: str | os.PathLike[str], recall: Floats, fpr: Floats, tpr: Floats) -> None:
    """Write `{"cmc": [[0, 1, ...], recall], "roc": [fpr, tpr]}`."""
    value = {
        "cmc": [list(range(len(recall))), recall.tolist()],
        "roc": [fpr.tolist(), tpr.tolist()],
    }
    write_atomic(Path(path), lambda temporary: temporary.write_text(json.dumps(value)))


def read_cmc(path: str | os.PathLike[str]) -> Cmc:
    """Read such a file, ours or the kit's; FormatError if it is none."""
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise FormatError(path, f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise FormatError(path, 'expected an object with "cmc" and "roc"')
    return Cmc(*_curve(path, value, "cmc"), *_curve(path, value, "roc"))


def _curve(path: str | os.PathLike[str], value: dict[str, Any], name: str) -> tuple[Floats, Floats]:
    try:
        x, y = (np.array(axis) for axis in value[name])
    except (KeyError, ValueError, TypeError) as error:
        raise FormatError(path, f'"{name}": expected two lists of numbers') from error
    if x.dtype.kind not in "iuf" or y.dtype.kind not in "iuf":
        raise FormatError(path, f'"{name}": expected two lists of numbers')
    x, y = x.astype(np.float64), y.astype(np.float64)
    if x.ndim != 1 or x.shape != y.shape or not len(x):
        raise FormatError(path, f'"{name}": expected two lists of one length')
    if not np.isfinite(x).all() or not np.isfinite(y).all() or (np.diff(x) < 0).any():
        raise FormatError(path, f'"{name}": expected finite numbers, the first list rising')
    return x, y
