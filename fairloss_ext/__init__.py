"""fairloss_ext: fused margin-softmax ops for PyTorch. Needs torch and numpy, nothing else."""

from fairloss_ext import reference
from fairloss_ext._build_info import BuildInfo, build_info
from fairloss_ext._version import __version__
from fairloss_ext.ops import (
    class_statistics,
    cosine_partition,
    distractor_ranks,
    margin_logits,
    margin_loss,
    margin_softmax_loss,
    sampled_classes,
)
from fairloss_ext.reference.class_statistics import ClassStatistics

__all__ = [
    "BuildInfo",
    "ClassStatistics",
    "__version__",
    "build_info",
    "class_statistics",
    "cosine_partition",
    "distractor_ranks",
    "margin_logits",
    "margin_loss",
    "margin_softmax_loss",
    "reference",
    "sampled_classes",
]
