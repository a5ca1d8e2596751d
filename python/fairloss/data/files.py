"""Files of data sets: where fetched ones are kept, and their digests."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def cache_folder(cache: str | os.PathLike[str] | None = None) -> Path:
    """`cache`, or else the environment variable FAIRLOSS_CACHE, or else ~/.cache/fairloss."""
    if cache is not None:
        return Path(cache)
    default = Path.home() / ".cache" / "fairloss"
    return Path(os.environ.get("FAIRLOSS_CACHE") or default)


def sha256(file: Path) -> str:
    """Digest of a file's content, in hexadecimal; read in parts, so of any size."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while part := opened.read(2**20):
            digest.update(part)
    return digest.hexdigest()
