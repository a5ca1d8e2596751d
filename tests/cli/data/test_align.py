from __future__ import annotations

import io

import numpy as np
from command import refuse, succeed
from PIL import Image


def test_align_writes_the_template_or_nothing(tmp_path):
    pixels = np.zeros((200, 200), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.png").write_bytes(content.getvalue())
    points = tmp_path / "points.txt"
    points.write_text("a.png 60 80 120 80 90 110 65 140 115 140 0.9\n", encoding="utf-8")
    options = ("--data", tmp_path / "raw", "--landmarks", points, "--output", tmp_path / "out")
    succeed("data", "align", *options)
    with Image.open(tmp_path / "out" / "a.png") as aligned:
        assert aligned.size == (112, 112)
    (tmp_path / "raw" / "a.1.bmp").write_bytes(content.getvalue())
    marks = "60 80 120 80 90 110 65 140 115 140 0.9"
    points.write_text(
        f"\ufeffa.png\t{marks}\na.1.jpg {marks}\n", encoding="utf-8"
    )  # which is there as .bmp
    succeed("data", "align", *options)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a.png", "a.1.png"}
    points.write_text(f"a.png {marks}\na.jpg {marks}\n", encoding="utf-8")  # both would be a.png
    refuse("differ in more than the suffix", "data", "align", *options)
    points.write_text("a.png 6 8 6 8 6 8 6 8 6 8 0.9\n", encoding="utf-8")
    (tmp_path / "out" / "a.png").unlink()
    refuse("points that all coincide", "data", "align", *options)
    assert not (tmp_path / "out" / "a.png").exists()
