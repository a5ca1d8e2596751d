"""Every probe of a demo with its nearest gallery faces."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

from fairloss.report.run_view import Run
from fairloss.typing import Bytes


def section(run: Run) -> dict[str, Any] | None:
    """Return for each query its tiles: class, base64 PNG, name and cosine (None: the probe)."""
    if run.queries is None:
        return None
    strips: list[list[tuple[str, str, str, float | None]]] = []
    rows: list[tuple[object, ...]] = [("probe", "rank", "match", "cosine", "same_person")]
    images = zip(run.queries.listing, run.queries.probes, run.queries.matches, strict=True)
    for query, probe, faces in images:
        strips.append([("probe", _png(probe), query["probe"], None)])
        for rank, (match, face) in enumerate(zip(query["matches"], faces, strict=True), start=1):
            # the identity is the part of the name before the first slash
            same = query["probe"].partition("/")[0] == match["name"].partition("/")[0]
            kind = "same" if same else "other"
            strips[-1].append((kind, _png(face), match["name"], match["score"]))
            rows.append((query["probe"], rank, match["name"], match["score"], same))
    return {"strips": strips, "csv": "Nearest faces", "rows": rows}


def _png(pixels: Bytes) -> str:
    """Return the base64 PNG of a (c, H, W) image, c = 1 (gray) or 3 (RGB)."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    data = io.BytesIO()
    image.save(data, format="PNG")
    return base64.b64encode(data.getvalue()).decode("ascii")
