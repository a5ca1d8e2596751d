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
from fairloss.evaluation.insightface import InsightfaceVerification, insightface_verification
from fairloss.evaluation.metrics import FARS, Verification, verification
from fairloss.evaluation.pairs import Pairs, all_pairs, pair_scores, unit_embeddings
from fairloss.evaluation.protocol import compare_pairs, evaluate_pairs
from fairloss.evaluation.ten_fold import compare_pair_list, evaluate_pair_list, evaluate_scores

__all__ = [
    "FARS",
    "FoldAccuracy",
    "InsightfaceVerification",
    "Interval",
    "Pairs",
    "Roc",
    "SortedScores",
    "Verification",
    "all_pairs",
    "compare_pair_list",
    "compare_pairs",
    "evaluate_pair_list",
    "evaluate_pairs",
    "evaluate_scores",
    "fold_accuracy",
    "identity_bootstrap",
    "identity_folds",
    "identity_weights",
    "insightface_verification",
    "pair_fold_accuracy",
    "pair_scores",
    "paired_difference",
    "roc",
    "roc_intervals",
    "unit_embeddings",
    "verification",
]
