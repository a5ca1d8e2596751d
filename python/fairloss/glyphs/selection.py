"""The choice of held-out designs and characters, and of the images that each class keeps."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from fairloss.checks import expect
from fairloss.data.long_tail import pareto_counts
from fairloss.glyphs.options import GlyphOptions
from fairloss.glyphs.typefaces import STYLES

# Of a character that is to be verified: two images make a pair.
PAIR = 2


def hold_out(styles: Sequence[str], count: int, seed: int) -> list[int]:
    """Draw `count` of the designs with these styles by `seed`, in ascending order.

    Stratified: of the brush and of the pixel designs (where there are any) about the same part as
    of all, but at least one.

    Raises:
        ValueError: `count` is too small for that, or leaves no design of a style to train on.
    """
    if not count:
        return []
    of_style = [[d for d, s in enumerate(styles) if s == style] for style in STYLES]
    strata = [designs for designs in of_style if designs]
    quota = [max(1, round(count * len(designs) / len(styles))) for designs in strata]
    others = [d for d, style in enumerate(styles) if style not in STYLES]
    least, most = sum(quota), sum(quota) + max(len(others), 1) - 1
    expected = f"{least} to {most} of {len(styles)} designs, of all styles and not all of one"
    expect(least <= count <= most, "held_out_typefaces", expected, count)
    generator = torch.Generator().manual_seed(seed)
    held_out = []
    for designs, number in zip([*strata, others], [*quota, count - least], strict=True):
        drawn = torch.randperm(len(designs), generator=generator)[:number]
        held_out += [designs[position] for position in drawn.tolist()]
    return sorted(held_out)


@dataclass
class CharacterSplit:
    """Assigns characters to the training, validation and test set, in the order of drawing.

    Attributes:
        options: with the sizes of the sets.
        train: code points assigned so far.
        validation: likewise.
        test: likewise.
    """

    options: GlyphOptions
    train: list[int] = field(default_factory=list)
    validation: list[int] = field(default_factory=list)
    test: list[int] = field(default_factory=list)

    def assign(self, character: int, seen: int, held_out: int, by_all_held_out: bool) -> None:
        """Add a character to the first set that lacks one and accepts it, if there is any.

        Args:
            character: its code point.
            seen: its images by designs that are not held out.
            held_out: its images by held-out designs.
            by_all_held_out: whether each held-out design draws it.
        """
        options = self.options
        # A Pareto shape makes a clean comparison: the characters of all sets are alike, and each
        # class is tested by the same typefaces, all that are held out.
        if options.largest is not None and not (seen >= options.largest and by_all_held_out):
            return
        tested = held_out if options.held_out_typefaces else seen
        if len(self.test) < options.test and tested >= PAIR:
            self.test.append(character)
        elif len(self.validation) < options.validation and seen >= PAIR:
            self.validation.append(character)
        elif self._needs_classes and seen >= options.smallest:
            self.train.append(character)

    @property
    def _needs_classes(self) -> bool:
        return self.options.classes is None or len(self.train) < self.options.classes

    @property
    def count(self) -> int:
        """Number of characters assigned."""
        return len(self.train) + len(self.validation) + len(self.test)

    @property
    def complete(self) -> bool:
        """True if no more characters are needed."""
        held_out = self.options.validation + self.options.test
        return not self._needs_classes and self.count - len(self.train) == held_out

    def check(self) -> None:
        """Raise ValueError naming the set that too few characters qualify for."""
        for name, count, characters in (
            ("test", self.options.test, self.test),
            ("validation", self.options.validation, self.validation),
            ("classes", self.options.classes or 2, self.train),
        ):
            enough = len(characters) >= count
            hint = "lower largest or smallest, hold out fewer typefaces, or take fonts=full"
            most = f"at most {len(characters)}, as many as qualify"
            expect(enough, name, most, f"{count}; ask for fewer, {hint}")


def kept_images(counts: torch.Tensor, options: GlyphOptions) -> list[torch.Tensor]:
    """Choose the images to keep of classes with `counts` (C,) images; ascending positions.

    With `options.largest` a Pareto shape is assigned to the classes at random, and the images of
    each are drawn at random; without, all are kept.
    """
    if options.largest is None:
        return [torch.arange(count) for count in counts.tolist()]
    generator = torch.Generator().manual_seed(options.seed)
    sizes = pareto_counts(len(counts), options.largest, options.smallest)
    sizes = sizes[torch.randperm(len(counts), generator=generator)]
    return [
        torch.randperm(count, generator=generator)[:size].sort().values
        for count, size in zip(counts.tolist(), sizes.tolist(), strict=True)
    ]
