"""Loss heads: `Head(num_classes, embedding_size, ...)(embeddings, labels) -> loss`."""

from __future__ import annotations

from fairloss.heads.cosine import CosineHead
from fairloss.heads.fair_loss import FairLoss
from fairloss.heads.fixed import ArcFace, CosFace, NormFace
from fairloss.heads.sampling import sample_classes

HEADS: dict[str, type[CosineHead]] = {
    head.__name__: head for head in (FairLoss, ArcFace, CosFace, NormFace)
}

__all__ = ["HEADS", "ArcFace", "CosFace", "CosineHead", "FairLoss", "NormFace", "sample_classes"]
