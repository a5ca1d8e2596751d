"""The ops in plain torch: test oracle, benchmark baseline, and fallback without a compiler."""

from fairloss_ext.reference.class_statistics import class_statistics
from fairloss_ext.reference.cosine_partition import cosine_partition
from fairloss_ext.reference.distractor_ranks import distractor_ranks
from fairloss_ext.reference.margin_logits import margin_logits
from fairloss_ext.reference.margin_loss import margin_loss
from fairloss_ext.reference.margin_softmax_loss import margin_softmax_loss
from fairloss_ext.reference.sampled_classes import sampled_classes

__all__ = [
    "class_statistics",
    "cosine_partition",
    "distractor_ranks",
    "margin_logits",
    "margin_loss",
    "margin_softmax_loss",
    "sampled_classes",
]
