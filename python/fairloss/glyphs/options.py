"""What to draw, and what to hold out."""

from __future__ import annotations

from dataclasses import dataclass

SETS = ("lite", "full")


@dataclass(frozen=True)
class GlyphOptions:
    """Settings of `make_glyphs`; the images depend on these and on the fonts alone.

    Attributes:
        fonts: "lite", "full", or a folder with fonts.
        size: side of the images in pixels.
        classes: characters to train on; None: all that qualify.
        validation, test: further characters, held out.
        held_out_typefaces: designs that no training image shows, some brush and some pixel designs
            among them; the test set is drawn by these.
        largest: cut training classes to a Pareto shape from `largest` images down to `smallest`,
            dealt to the characters at random; None: as many as there are.
        smallest: fewest images of a training class.
        all_faces: every face (weights, regional variants) instead of one a design.
        seed: of everything drawn at random.
    """

    fonts: str = "lite"
    size: int = 32
    classes: int | None = None
    validation: int = 0
    test: int = 0
    held_out_typefaces: int = 0
    largest: int | None = None
    smallest: int = 2
    all_faces: bool = False
    seed: int = 0

    def check(self) -> None:
        """ValueError naming the first setting that is out of range."""
        least = {"size": 8, "smallest": 1, "validation": 0, "test": 0, "held_out_typefaces": 0}
        for name, low in (least | {"seed": 0}).items():
            if getattr(self, name) < low:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected {low} or more")
        if self.classes is not None and self.classes < 2:
            raise ValueError(f"classes: got {self.classes}, expected 2 or more")
        if self.largest is not None and self.largest < self.smallest:
            raise ValueError(f"largest: got {self.largest}, below smallest = {self.smallest}")
        if self.largest is not None and self.classes is None:
            raise ValueError("classes: must be given with largest, to cut a Pareto shape")
