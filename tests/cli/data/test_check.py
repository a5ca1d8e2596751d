from __future__ import annotations

import json

from command import fairloss, succeed
from synthetic import write_folder

OPTIONS = ("--image-size", 16, 16, "--channels", 1)


def test_findings_are_printed_and_written(tmp_path):
    faces = write_folder(tmp_path / "faces", [1, 3, 3], size=16)
    report = tmp_path / "check.json"
    clean = succeed("data", "check", faces, *OPTIONS, "--output", report)
    assert "3, of which 1 have one image" in clean.stdout
    (faces / "id2" / "same.png").write_bytes((faces / "id1" / "001.png").read_bytes())
    assert fairloss("data", "check", faces, *OPTIONS).returncode == 0
    (faces / "id1" / "bad.png").write_bytes(b"no image")
    (faces / "id1" / "gone.png").symlink_to("/not/mounted/1.png")
    done = fairloss("data", "check", faces, *OPTIONS, "--output", report)
    assert done.returncode == 1
    for text in ("2: id1/bad.png (cannot", "id1/001.png = id2/same.png", f"wrote {report}"):
        assert text in done.stdout
    written = json.loads(report.read_text(encoding="utf-8"))
    assert (written["identities"], written["images"]) == (3, 8)
    assert set(written["unreadable"]) == {"id1/bad.png", "id1/gone.png"}
    assert written["dead_links"] == ["id1/gone.png"]
    assert written["shared"] == [["id1/001.png", "id2/same.png"]]
    assert written["single"] == ["id0"]


def test_a_missing_set_is_a_finding(tmp_path):
    done = fairloss("data", "check", tmp_path / "lost")
    assert done.returncode == 1
    assert "would stop: folder" in done.stdout
