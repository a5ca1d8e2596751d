"""Base classes of the losses, and what their formulas share."""

from fairloss.collectives import gather_ranks
from fairloss.heads.base.class_centers import ClassCenters
from fairloss.heads.base.cosine import CosineHead
from fairloss.heads.base.dense import DenseHead
from fairloss.heads.base.hard_negative import HardNegativeHead
from fairloss.heads.base.head import Head
from fairloss.heads.base.norms import NormHead
from fairloss.heads.base.options import CosineOptions, HeadOptions, Unpack, UnscaledOptions
from fairloss.heads.base.sample_loss import SampleLoss, as_precise, masked_mean

__all__ = [
    "ClassCenters",
    "CosineHead",
    "CosineOptions",
    "DenseHead",
    "HardNegativeHead",
    "Head",
    "HeadOptions",
    "NormHead",
    "SampleLoss",
    "Unpack",
    "UnscaledOptions",
    "as_precise",
    "gather_ranks",
    "masked_mean",
]
