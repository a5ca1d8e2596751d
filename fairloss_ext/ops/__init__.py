"""The public ops: a function here, its kernels in csrc, its plain-torch form in reference."""

from fairloss_ext.ops.class_statistics import class_statistics
from fairloss_ext.ops.cosine_partition import cosine_partition
from fairloss_ext.ops.distractor_ranks import distractor_ranks
from fairloss_ext.ops.margin_logits import margin_logits
from fairloss_ext.ops.margin_loss import margin_loss
from fairloss_ext.ops.margin_softmax_loss import margin_softmax_loss
from fairloss_ext.ops.sampled_classes import sampled_classes

__all__ = [
    "class_statistics",
    "cosine_partition",
    "distractor_ranks",
    "margin_logits",
    "margin_loss",
    "margin_softmax_loss",
    "sampled_classes",
]
