"""Search over named face embeddings. Needs the extra `gallery` (faiss)."""

from fairloss.gallery.filling import fill
from fairloss.gallery.gallery import Gallery, Match
from fairloss.gallery.tuning import Point, Tuning

__all__ = ["Gallery", "Match", "Point", "Tuning", "fill"]
