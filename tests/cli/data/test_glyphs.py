from __future__ import annotations

import re

from cli_cases import SMALL
from command import refuse, succeed
from glyph_fonts import write_font


def test_data_glyphs_then_train(tmp_path):
    for design, name in enumerate(("a", "b", "brush/c", "pixel/d", "e", "f")):
        write_font(tmp_path / "fonts" / f"{name}.ttf", design)
    sets = tmp_path / "sets"
    made = ("data", "glyphs", sets, "--fonts", tmp_path / "fonts", "--jobs", 1)
    done = succeed(*made, "--classes", 8, "--validation", 4, "--test", 5, "--largest", 3)
    assert re.search(r"sets/train\W+8\W+20\W+2\W+2\W+3\W", done.stdout)  # 3 * (2/3)^(c/7)
    several = "expected one set of images, got several sets: test, train, validation; name one"
    refuse(several, "train", f"data={sets}", f"output={tmp_path / 'run'}", *SMALL)
    succeed("train", f"data={sets / 'train'}", f"output={tmp_path / 'run'}", *SMALL)
    model = tmp_path / "run" / "model.pt"
    succeed("evaluate", "pairs", "--data", sets / "test", "--checkpoint", model)
