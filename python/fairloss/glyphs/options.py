"""Settings of a glyph data set."""

from dataclasses import dataclass

from fairloss.checks import check_integer, expect

SETS = ("lite", "full")


@dataclass(frozen=True)
class GlyphOptions:
    """Settings of `make_glyphs`; the images depend on these and on the fonts alone.

    Attributes:
        fonts: "lite", "full", or a folder with fonts.
        size: side of the images in pixels.
        classes: characters to train on; None: all that qualify.
        validation: further characters, held out.
        test: further characters, held out.
        held_out_typefaces: designs that no training image shows, some brush and some pixel designs
            among them; the test set is drawn by these.
        largest: cut training classes to a Pareto shape from `largest` images down to `smallest`,
            assigned to the characters at random; None: no cut.
        smallest: fewest images of a training class.
        all_faces: all faces (weights, regional variants) instead of one a design.
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
        """Raise ValueError naming the first setting that is out of range."""
        least = {"size": 8, "smallest": 1, "validation": 0, "test": 0, "held_out_typefaces": 0}
        for name, low in (least | {"seed": 0}).items():
            check_integer(name, getattr(self, name), low)
        if self.classes is not None:
            check_integer("classes", self.classes, 2)
        if self.largest is not None:
            check_integer("largest", self.largest, self.smallest)
            expect(self.classes is not None, "classes", "a number, as largest is given", None)
