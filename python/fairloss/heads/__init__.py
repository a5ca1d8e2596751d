"""Losses: `Head(num_classes, embedding_size, ...)(embeddings, labels) -> loss`.

`HEADS` are those with class weights, by name; the others are regularisers, added to a head's loss.
docs/losses.md compares them all.
"""

from __future__ import annotations

from fairloss.heads.adacos import AdaCos
from fairloss.heads.angular import LSoftmax, SphereFace
from fairloss.heads.cosine import CosineHead
from fairloss.heads.dense import DenseHead, L2Softmax, SoftMargin, Softmax, VirtualSoftmax
from fairloss.heads.fair_loss import FairLoss
from fairloss.heads.fixed import ArcFace, Combined, CosFace, NormFace, SphereFaceR
from fairloss.heads.hard_negative import CurricularFace, HardNegativeHead, MVSoftmax
from fairloss.heads.head import Head, SampleLoss
from fairloss.heads.pairwise import NPTLoss, SphereFace2, UniFace
from fairloss.heads.per_class import LDAM, AdaptiveFace, KappaFace
from fairloss.heads.quality import AdaFace, ElasticFace, MagFace
from fairloss.heads.regularisers import CenterLoss, RingLoss, Triplet, UniformFace
from fairloss.heads.sampling import sample_classes
from fairloss.heads.searched import AMLFS, SearchSoftmax

_HEADS: tuple[type[Head], ...] = (
    FairLoss,
    ArcFace,
    CosFace,
    NormFace,
    Combined,
    SphereFaceR,
    AdaCos,
    AdaptiveFace,
    LDAM,
    KappaFace,
    AdaFace,
    MagFace,
    ElasticFace,
    SearchSoftmax,
    AMLFS,
    MVSoftmax,
    CurricularFace,
    Softmax,
    L2Softmax,
    LSoftmax,
    SphereFace,
    SoftMargin,
    VirtualSoftmax,
    SphereFace2,
    UniFace,
    NPTLoss,
)
HEADS: dict[str, type[Head]] = {head.__name__: head for head in _HEADS}

__all__ = [
    "AMLFS",
    "HEADS",
    "LDAM",
    "AdaCos",
    "AdaFace",
    "AdaptiveFace",
    "ArcFace",
    "CenterLoss",
    "Combined",
    "CosFace",
    "CosineHead",
    "CurricularFace",
    "DenseHead",
    "ElasticFace",
    "FairLoss",
    "HardNegativeHead",
    "Head",
    "KappaFace",
    "L2Softmax",
    "LSoftmax",
    "MVSoftmax",
    "MagFace",
    "NPTLoss",
    "NormFace",
    "RingLoss",
    "SampleLoss",
    "SearchSoftmax",
    "SoftMargin",
    "Softmax",
    "SphereFace",
    "SphereFace2",
    "SphereFaceR",
    "Triplet",
    "UniFace",
    "UniformFace",
    "VirtualSoftmax",
    "sample_classes",
]
