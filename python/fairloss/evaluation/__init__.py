"""Verification metrics with identity-clustered intervals. Takes arrays, not models."""

from fairloss.embeddings import unit_embeddings
from fairloss.evaluation.all_pairs import all_pairs, compare_pairs, evaluate_pairs
from fairloss.evaluation.bootstrap import (
    Interval,
    cluster_intervals,
    cluster_mean,
    identity_bootstrap,
    identity_weights,
    paired_difference,
    roc_intervals,
)
from fairloss.evaluation.crossed import (
    CrossedMean,
    crossed_mean,
    identity_contributions,
    log_odds_auc,
)
from fairloss.evaluation.folds import (
    FoldAccuracy,
    fold_accuracy,
    identity_folds,
    pair_fold_accuracy,
)
from fairloss.evaluation.groups import compare_groups, evaluate_groups, frequency_groups
from fairloss.evaluation.identification import Search, search_gallery
from fairloss.evaluation.ijb import (
    compare_ijb_identification,
    compare_ijb_verification,
    evaluate_ijb_identification,
    evaluate_ijb_verification,
    nearest_tar,
)
from fairloss.evaluation.insightface import InsightfaceVerification, insightface_verification
from fairloss.evaluation.intervals import IdentityInterval
from fairloss.evaluation.megaface import (
    MegaFace,
    compare_megaface,
    evaluate_megaface,
    replace_noisy,
)
from fairloss.evaluation.pair_list import (
    compare_pair_list,
    compare_scores,
    evaluate_pair_list,
    evaluate_scores,
)
from fairloss.evaluation.pairs import Pairs, linked_identities, pair_scores
from fairloss.evaluation.rfw import PairSet, compare_rfw, evaluate_rfw, skewed_error_ratio
from fairloss.evaluation.roc import Roc, RocCorners, SortedScores, roc
from fairloss.evaluation.seeds import SeedComparison, compare_seeds, holm, seeds_needed
from fairloss.evaluation.sequential import Looks, obrien_fleming
from fairloss.evaluation.streamed_pairs import StreamedVerification, streamed_verification
from fairloss.evaluation.templates import Templates, pool_templates
from fairloss.evaluation.verification import FARS, Verification, verification
from fairloss.evaluation.ytf import mean_of_frames, pairwise_frame_scores, video_scores

__all__ = [
    "FARS",
    "CrossedMean",
    "FoldAccuracy",
    "IdentityInterval",
    "InsightfaceVerification",
    "Interval",
    "Looks",
    "MegaFace",
    "PairSet",
    "Pairs",
    "Roc",
    "RocCorners",
    "Search",
    "SeedComparison",
    "SortedScores",
    "StreamedVerification",
    "Templates",
    "Verification",
    "all_pairs",
    "cluster_intervals",
    "cluster_mean",
    "compare_groups",
    "compare_ijb_identification",
    "compare_ijb_verification",
    "compare_megaface",
    "compare_pair_list",
    "compare_pairs",
    "compare_rfw",
    "compare_scores",
    "compare_seeds",
    "crossed_mean",
    "evaluate_groups",
    "evaluate_ijb_identification",
    "evaluate_ijb_verification",
    "evaluate_megaface",
    "evaluate_pair_list",
    "evaluate_pairs",
    "evaluate_rfw",
    "evaluate_scores",
    "fold_accuracy",
    "frequency_groups",
    "holm",
    "identity_bootstrap",
    "identity_contributions",
    "identity_folds",
    "identity_weights",
    "insightface_verification",
    "linked_identities",
    "log_odds_auc",
    "mean_of_frames",
    "nearest_tar",
    "obrien_fleming",
    "pair_fold_accuracy",
    "pair_scores",
    "paired_difference",
    "pairwise_frame_scores",
    "pool_templates",
    "replace_noisy",
    "roc",
    "roc_intervals",
    "search_gallery",
    "seeds_needed",
    "skewed_error_ratio",
    "streamed_verification",
    "unit_embeddings",
    "verification",
    "video_scores",
]
