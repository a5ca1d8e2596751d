from __future__ import annotations

from pathlib import Path

import pytest
from glyph_fonts import CHARACTERS, write_font


@pytest.fixture(scope="session")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten designs: seven plain, one brush, two pixel."""
    folder = tmp_path_factory.mktemp("fonts")
    for design in range(7):
        # design d lacks the last 3 d characters, which makes a natural tail
        write_font(folder / f"plain{design}.ttf", design, CHARACTERS[: 40 - 3 * design])
    write_font(folder / "brush" / "a.ttf", 7)
    write_font(folder / "pixel" / "a.ttf", 8)
    write_font(folder / "pixel" / "b.ttf", 9)
    return folder
