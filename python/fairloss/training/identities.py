"""identities.json: which identities and images a run was trained on."""

import hashlib
from pathlib import Path
from typing import Any

from fairloss.checks import expect
from fairloss.data import LabeledImages
from fairloss.io.json import read_json


def identities_record(faces: LabeledImages) -> dict[str, Any]:
    """Return names and counts of the identities, and a digest of the names of all images."""
    # the bytes of the names, which need not be UTF-8
    content = "\n".join(faces.names).encode(errors="surrogateescape")
    digest = hashlib.sha256(content).hexdigest()
    return {
        "identities": faces.identities,
        "counts": faces.counts.tolist(),
        "image_names_sha256": digest,
    }


def check_same_identities(setting: str, faces: LabeledImages, run: Path) -> None:
    """Raise ValueError, naming the first difference, if `run` was trained on other images."""
    before, now = _read(run), identities_record(faces)
    if before["identities"] != now["identities"]:
        differing = sorted(set(before["identities"]) ^ set(now["identities"]))[:1]
        raise ValueError(
            f"{setting}: expected the {len(before['identities'])} identities that {run} was "
            f"trained on, got {faces.num_classes}; the first difference is "
            f"{differing[0] if differing else 'their order'}"
        )
    same = before["image_names_sha256"] == now["image_names_sha256"]
    expected = f"the images that {run} was trained on"
    expect(same, setting, expected, "different images of the same identities")


def _read(run: Path) -> dict[str, Any]:
    return read_json(run / "identities.json", identities=list, image_names_sha256=str)
