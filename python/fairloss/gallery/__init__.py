"""Search over named face embeddings. Needs the extra `gallery` (faiss)."""

from fairloss.gallery.gallery import Gallery, Match

__all__ = ["Gallery", "Match"]
