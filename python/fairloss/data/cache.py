"""The folder of downloaded files."""

import os
from pathlib import Path


def cache_folder(cache: str | os.PathLike[str] | None = None) -> Path:
    """Return `cache`, else the environment variable FAIRLOSS_CACHE, else ~/.cache/fairloss."""
    if cache is not None:
        return Path(cache)
    default = Path.home() / ".cache" / "fairloss"
    return Path(os.environ.get("FAIRLOSS_CACHE") or default)
