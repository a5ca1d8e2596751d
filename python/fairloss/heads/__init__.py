"""Losses: `Head(num_classes, embedding_size, ...)(embeddings, labels) -> loss`.

`HEADS` are those with class weights, by name; the others are regularizers, added to a head's loss.
docs/losses.md compares them all.
"""

from fairloss.heads.adacos import AdaCos
from fairloss.heads.adaface import AdaFace
from fairloss.heads.adaptiveface import AdaptiveFace
from fairloss.heads.am_lfs import AMLFS
from fairloss.heads.arcface import ArcFace
from fairloss.heads.base import CosineHead, DenseHead, HardNegativeHead, Head, SampleLoss
from fairloss.heads.base.sampling import sample_classes
from fairloss.heads.center_loss import CenterLoss
from fairloss.heads.combined import Combined
from fairloss.heads.cosface import CosFace
from fairloss.heads.curricularface import CurricularFace
from fairloss.heads.elasticface import ElasticFace
from fairloss.heads.fair_loss import FairLoss
from fairloss.heads.kappaface import KappaFace
from fairloss.heads.l2_softmax import L2Softmax
from fairloss.heads.ldam import LDAM
from fairloss.heads.lsoftmax import LSoftmax
from fairloss.heads.magface import MagFace
from fairloss.heads.mv_softmax import MVSoftmax
from fairloss.heads.normface import NormFace
from fairloss.heads.npt_loss import NPTLoss
from fairloss.heads.partial_fc import read_partial_fc
from fairloss.heads.per_class import PerClass
from fairloss.heads.registry import HEADS
from fairloss.heads.ring_loss import RingLoss
from fairloss.heads.search_softmax import SearchSoftmax
from fairloss.heads.soft_margin import SoftMargin
from fairloss.heads.softmax import Softmax
from fairloss.heads.sphereface import SphereFace
from fairloss.heads.sphereface2 import SphereFace2
from fairloss.heads.sphereface_r import SphereFaceR
from fairloss.heads.triplet import Triplet
from fairloss.heads.uniface import UniFace
from fairloss.heads.uniformface import UniformFace
from fairloss.heads.virtual_softmax import VirtualSoftmax

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
    "PerClass",
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
    "read_partial_fc",
    "sample_classes",
]
