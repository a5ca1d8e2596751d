"""Search over named face embeddings. Needs the extra `gallery` (faiss)."""

from fairloss.gallery.embedder import (
    Embedder,
    check_embedder,
    check_same_embedder,
    claim_gallery,
    read_embedder,
    record_embedder,
)
from fairloss.gallery.filling import fill
from fairloss.gallery.gallery import Gallery, Match
from fairloss.gallery.tuning import Point, Tuning

__all__ = [
    "Embedder",
    "Gallery",
    "Match",
    "Point",
    "Tuning",
    "check_embedder",
    "check_same_embedder",
    "claim_gallery",
    "fill",
    "read_embedder",
    "record_embedder",
]
