"""Reader of sources.json, the one description of what is compiled and how."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PARTS = json.loads(Path(__file__).with_name("sources.json").read_text(encoding="utf-8"))


def words(part: str, field: str) -> list[str]:
    """Return the value of a field as a list, as in `words("cuda", "flags")`."""
    return str(_PARTS[part][field]).split()


def files(part: str) -> list[str]:
    """Return the sources of a part, sorted and relative to the root."""
    paths = [path for pattern in words(part, "sources") for path in ROOT.glob(pattern)]
    return sorted(str(path.relative_to(ROOT)) for path in paths)
