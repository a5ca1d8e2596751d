"""The sections about the test faces; each returns HTML, or None if the run lacks its file."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fairloss.report import figures
from fairloss.report.page import (
    cell,
    figure,
    numbers,
    paragraph,
    section,
    signed,
    table,
    words,
)
from fairloss.report.run_folder import ARM_NAMES, Run

COMPARED = ("fixed", "fair")  # a and b of the comparison, whose difference is b minus a


def verdict(run: Run) -> str:
    """The paired difference in AUC, and what it can and cannot say."""
    assert run.demo is not None
    people = run.demo["train_identities"] + run.demo["test_identities"]
    caution = (
        f"{people} people cannot rank losses; this shows that the pipeline works, "
        "not which loss is better."
    )
    if run.evaluation is None:
        return f'<div class="verdict">{paragraph(caution)}</div>'
    found = run.evaluation["comparison"]["difference"]["auc"]
    if found["low"] <= 0 <= found["high"]:
        meaning = "The interval contains 0: these faces cannot tell the two losses apart."
    else:
        ahead = ARM_NAMES["fair" if found["value"] > 0 else "fixed"]
        meaning = f"The interval does not contain 0: on these faces {ahead} is ahead."
    return (
        '<div class="verdict"><p>Area under the ROC curve, Fair Loss minus fixed margin: '
        f"<strong>{signed(found['value'])}</strong>, {found['confidence']:.0%} interval "
        f"{_between(found, signed)}. {meaning}</p>{paragraph(caution)}</div>"
    )


def roc(run: Run) -> str | None:
    if run.evaluation is None:
        return None
    curves = {
        arm: figures.roc_corners(
            run.evaluation["roc"][arm]["far"], run.evaluation["roc"][arm]["tar"]
        )
        for arm in COMPARED
    }
    impostors = run.evaluation["arms"]["fair"]["impostor"]
    caption = (
        "Share of pairs of the same person that are accepted (higher is better) against the share "
        "of pairs of different people that are accepted by mistake (further left is stricter); "
        "look for one line above the other all the way, as lines that cross or touch say the two "
        "are alike."
    )
    rows = [
        (arm, float(x), float(y)) for arm, (far, tar) in curves.items()
        for x, y in zip(far, tar, strict=True)
    ]  # fmt: skip
    return section(
        "roc",
        "Telling people apart",
        figure(caption, figures.roc(curves, impostors))
        + paragraph(f"The left edge is one mistake in {impostors} pairs, all there are.", "note")
        + numbers("Corners of the ROC curves", ("run", "far", "tar"), rows),
    )


def verification(run: Run) -> str | None:
    if run.evaluation is None:
        return None
    fixed, fair = (run.evaluation["arms"][arm] for arm in COMPARED)
    rows = _metrics(fixed, fair, run.evaluation["comparison"]["difference"])
    interval = fixed["auc"]
    text = (
        f"Every pair among {fixed['samples']} images of {fixed['identities']} people: "
        f"{fixed['genuine']} pairs of the same person, {fixed['impostor']} of different people. "
        f"In brackets {interval['confidence']:.0%} intervals from {interval['replicates']} "
        "resamples of the people; look at the last column, where both networks are resampled "
        "together: only an interval without 0 tells them apart. Higher is better, but for EER, "
        "the error rate where both kinds of mistake are equally frequent, lower."
    )
    shown = [
        (name, _cell(a, "{:.4f}".format), _cell(b, "{:.4f}".format), _cell(difference, signed))
        for name, a, b, difference in rows
    ]
    head = ("", *(ARM_NAMES[arm] for arm in COMPARED), "Difference")
    return section(
        "verification",
        "The same in numbers",
        paragraph(text) + table(head, shown) + _verification_numbers(rows),
    )


def _metrics(
    fixed: dict[str, Any], fair: dict[str, Any], difference: dict[str, Any]
) -> list[tuple[str, Any, Any, Any]]:
    """Name and the three entries of the reports: intervals, or words."""
    reports = (fixed, fair, difference)
    rows = [(key.upper(), *(report[key] for report in reports)) for key in ("auc", "eer")]
    rows += [(f"TAR at FAR {far}", *(r["tar"][far] for r in reports)) for far in fixed["tar"]]
    return [*rows, ("Accuracy over folds", *(report["accuracy"] for report in reports))]


def _cell(entry: dict[str, Any] | str, style: Callable[[float], str]) -> str:
    if isinstance(entry, str):
        return words(entry)
    return cell(style(entry["value"]), _between(entry, style))


def _between(interval: dict[str, Any], style: Callable[[float], str]) -> str:
    return f"[{style(interval['low'])}, {style(interval['high'])}]"


def _verification_numbers(rows: list[tuple[str, Any, Any, Any]]) -> str:
    keys = ("value", "low", "high")
    lines = [
        (name, column, entry) if isinstance(entry, str)
        else (name, column, "", *(entry.get(key) for key in keys))
        for name, *entries in rows
        for column, entry in zip((*COMPARED, "difference"), entries, strict=True)
    ]  # fmt: skip
    return numbers("Verification", ("metric", "column", "words", *keys), lines)


def faces(run: Run) -> str | None:
    """Every probe with its nearest faces; right and wrong told by sign, frame and colour."""
    if run.queries is None:
        return None
    text = (
        "Each row starts with a test face, followed by the faces that the network finds most "
        "similar and their cosine; look for \N{CHECK MARK} (the same person, full frame) "
        "before \N{BALLOT X} (someone else, dashed frame), and for a clear drop of the cosine "
        "between the two."
    )
    images = zip(run.queries.listing, run.queries.probes, run.queries.matches, strict=True)
    rows = [
        (query["probe"], rank, match["name"], match["score"], _same(query["probe"], match["name"]))
        for query in run.queries.listing
        for rank, match in enumerate(query["matches"], start=1)
    ]
    head = ("probe", "rank", "match", "cosine", "same_person")
    return section(
        "faces",
        "Nearest faces",
        paragraph(text)
        + "\n".join(_strip(*query) for query in images)
        + numbers("Nearest faces", head, rows),
    )


def _strip(
    query: dict[str, Any], probe: npt.NDArray[np.uint8], matches: npt.NDArray[np.uint8]
) -> str:
    tiles = [_face(probe, query["probe"], "probe", "probe")]
    for match, pixels in zip(query["matches"], matches, strict=True):
        same = _same(query["probe"], match["name"])
        sign = "\N{CHECK MARK}" if same else "\N{BALLOT X}"
        label = f"{sign} {match['score']:.3f}".replace("-", "\N{MINUS SIGN}")
        tiles.append(_face(pixels, match["name"], "same" if same else "other", label))
    return f'<div class="query">{"".join(tiles)}</div>'


def _face(pixels: npt.NDArray[np.uint8], name: str, kind: str, label: str) -> str:
    return (
        f'<div class="face {kind}"><img src="data:image/png;base64,{_png(pixels)}" '
        f'alt="{escape(name)}"><b>{label}</b><span title="{escape(name)}">{escape(name)}</span>'
        "</div>"
    )


def _png(pixels: npt.NDArray[np.uint8]) -> str:
    """Base64 PNG of a (c, H, W) image, c = 1 (grey) or 3 (RGB)."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    data = io.BytesIO()
    image.save(data, format="PNG")
    return base64.b64encode(data.getvalue()).decode("ascii")


def _same(a: str, b: str) -> bool:
    """Whether two images are of one person: the part of the name before the first slash."""
    return a.partition("/")[0] == b.partition("/")[0]
