"""SHA-256 of files."""

import hashlib
from pathlib import Path


def sha256(file: Path, size: int | None = None) -> str:
    """Return the hexadecimal SHA-256 of a file of any size, or of its first `size` bytes."""
    digest = hashlib.sha256()
    left = file.stat().st_size if size is None else size
    with file.open("rb") as opened:
        while part := opened.read(min(left, 2**20)):
            digest.update(part)
            left -= len(part)
    return digest.hexdigest()
