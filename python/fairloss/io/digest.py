"""SHA-256 of files."""

import hashlib
from pathlib import Path


def sha256(file: Path) -> str:
    """Return the hexadecimal SHA-256 of a file of any size."""
    digest = hashlib.sha256()
    with file.open("rb") as opened:
        while part := opened.read(2**20):
            digest.update(part)
    return digest.hexdigest()
