"""Verification metrics with identity-clustered intervals. Takes arrays, not models."""

from fairloss.evaluation.bootstrap import (
    Interval,
    identity_bootstrap,
    identity_weights,
    paired_difference,
    roc_intervals,
)
from fairloss.evaluation.curve import Roc, SortedScores, roc
from fairloss.evaluation.folds import (
    FoldAccuracy,
    fold_accuracy,
    identity_folds,
    pair_fold_accuracy,
)
from fairloss.evaluation.metrics import FARS, Verification, verification
from fairloss.evaluation.pairs import Pairs, all_pairs, pair_scores, unit_embeddings
from fairloss.evaluation.protocol import compare_pairs, evaluate_pairs

__all__ = [
    "FARS",
    "FoldAccuracy",
    "Interval",
    "Pairs",
    "Roc",
    "SortedScores",
    "Verification",
    "all_pairs",
    "compare_pairs",
    "evaluate_pairs",
    "fold_accuracy",
    "identity_bootstrap",
    "identity_folds",
    "identity_weights",
    "pair_fold_accuracy",
    "pair_scores",
    "paired_difference",
    "roc",
    "roc_intervals",
    "unit_embeddings",
    "verification",
]
