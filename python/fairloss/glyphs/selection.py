"""Which designs and characters are held out, and how many images each class keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from fairloss.data.long_tail import pareto_counts
from fairloss.glyphs.options import GlyphOptions
from fairloss.glyphs.typefaces import STYLES

# Of a character that is to be verified: two images make a pair.
PAIR = 2


def hold_out(styles: Sequence[str], count: int, seed: int) -> list[int]:
    """`count` of the designs with these styles, drawn at random by `seed`, in ascending order.

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
    rest = [d for d, style in enumerate(styles) if style not in STYLES]
    spare = count - sum(quota)
    if spare < 0 or spare >= max(len(rest), 1):
        raise ValueError(
            f"held_out_typefaces: got {count}; of these {len(styles)} designs expected "
            f"{sum(quota)} to {sum(quota) + max(len(rest), 1) - 1}, to have every style among them "
            "and leave some to train on"
        )
    generator = torch.Generator().manual_seed(seed)
    held = []
    for designs, wanted in zip([*strata, rest], [*quota, spare], strict=True):
        drawn = torch.randperm(len(designs), generator=generator)[:wanted]
        held += [designs[place] for place in drawn.tolist()]
    return sorted(held)


@dataclass
class Roles:
    """Deals characters to the training, validation and test set, each as soon as it is drawn.

    Attributes:
        train, validation, test: code points so far.
    """

    options: GlyphOptions
    train: list[int] = field(default_factory=list)
    validation: list[int] = field(default_factory=list)
    test: list[int] = field(default_factory=list)

    def offer(self, character: int, seen: int, held: int, by_all_held: bool) -> None:
        """Take a character, or leave it.

        It has so many images by seen and by held-out designs; `by_all_held`: by each of these.
        """
        options = self.options
        # A Pareto shape makes a clean comparison: the characters of all sets are alike, and every
        # class is tested by the same typefaces, all that are held out.
        if options.largest is not None and not (seen >= options.largest and by_all_held):
            return
        tested = held if options.held_out_typefaces else seen
        if len(self.test) < options.test and tested >= PAIR:
            self.test.append(character)
        elif len(self.validation) < options.validation and seen >= PAIR:
            self.validation.append(character)
        elif self._trains and seen >= options.smallest:
            self.train.append(character)

    @property
    def _trains(self) -> bool:
        return self.options.classes is None or len(self.train) < self.options.classes

    @property
    def taken(self) -> int:
        """Characters dealt."""
        return len(self.train) + len(self.validation) + len(self.test)

    @property
    def full(self) -> bool:
        """Whether no more characters are needed."""
        options = self.options
        return (
            not self._trains
            and len(self.validation) == options.validation
            and len(self.test) == options.test
        )

    def check(self) -> None:
        """ValueError naming the set that fewer characters qualified for than were asked for."""
        for name, wanted in (
            ("test", self.options.test),
            ("validation", self.options.validation),
            ("classes", self.options.classes or 2),
        ):
            found = len(self.train if name == "classes" else getattr(self, name))
            if found < wanted:
                raise ValueError(
                    f"{name}: got {wanted}, only {found} characters qualify; ask for fewer, lower "
                    "largest or smallest, hold out fewer typefaces, or take fonts=full"
                )


def kept_images(counts: torch.Tensor, options: GlyphOptions) -> list[torch.Tensor]:
    """For classes with these numbers of images (C,), the positions of those to keep, ascending.

    With `options.largest` a Pareto shape dealt to the classes at random, and a random choice of
    each one's images; all of them without.
    """
    if options.largest is None:
        return [torch.arange(count) for count in counts.tolist()]
    generator = torch.Generator().manual_seed(options.seed)
    wanted = pareto_counts(len(counts), options.largest, options.smallest)
    wanted = wanted[torch.randperm(len(counts), generator=generator)]
    return [
        torch.randperm(count, generator=generator)[:keep].sort().values
        for count, keep in zip(counts.tolist(), wanted.tolist(), strict=True)
    ]
