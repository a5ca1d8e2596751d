"""The usable faces of a set of fonts, grouped into designs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairloss.glyphs.cleaning import (
    DUPLICATE,
    Inspected,
    design_numbers,
    distances,
    inspect,
    sample_characters,
)
from fairloss.glyphs.packages import RECORD, Progress
from fairloss.glyphs.rendering import Shift
from fairloss.glyphs.shards import Drawing
from fairloss.glyphs.typefaces import Typeface, find_typefaces
from fairloss.io.digest import sha256


@dataclass(frozen=True)
class Designs:
    """Usable faces and what they have in common.

    Attributes:
        faces: in order of name.
        shifts: of each face, see `Pen`.
        members: the faces of each design, those with most characters first.
        left_out: name of each unusable face or file, and why.
        packages: name, version and digest of each package, if they are packages.
    """

    faces: Sequence[Typeface]
    shifts: Sequence[Shift]
    members: Sequence[Sequence[int]]
    left_out: dict[str, str]
    packages: Sequence[dict[str, str]]

    @property
    def styles(self) -> list[str]:
        """Of each design."""
        return [max(self.faces[face].style for face in faces) for faces in self.members]

    @property
    def of_face(self) -> list[int]:
        """The design of each face."""
        found = {face: design for design, faces in enumerate(self.members) for face in faces}
        return [found[face] for face in range(len(self.faces))]

    def drawing(self, size: int, all_faces: bool) -> Drawing:
        """What to draw with."""
        return Drawing(self.faces, self.shifts, self.members, size, all_faces)

    def record(self, held_out: Sequence[int]) -> dict[str, Any]:
        """All of it as JSON, without paths."""
        digests = {path: sha256(path) for path in {face.path for face in self.faces}}
        typefaces = [
            {
                "name": face.name,
                "file": face.path.name,
                "sha256": digests[face.path],
                "index": face.index,
                "characters": len(face.characters),
                "style": face.style,
                "shift": list(shift),
                "design": self.faces[self.members[design][0]].name,
                "held_out": design in held_out,
            }
            for face, shift, design in zip(self.faces, self.shifts, self.of_face, strict=True)
        ]
        return {
            "packages": list(self.packages),
            "designs": len(self.members),
            "duplicate_distance": DUPLICATE,
            "typefaces": typefaces,
            "left_out": self.left_out,
        }


def survey(folders: Sequence[Path], progress: Progress | None = None) -> Designs:
    """Read the fonts in the folders, leave unusable faces out, find out which are one design.

    Raises:
        ValueError: no face is usable.
    """
    found, unreadable = find_typefaces(folders, progress)
    left_out = dict.fromkeys(unreadable, "unreadable")
    sample = sample_characters(found)
    faces: list[Typeface] = []
    inspected: list[Inspected] = []
    for number, face in enumerate(found):
        one = inspect(face, sample)
        if one.fault:
            left_out[face.name] = one.fault
        else:
            faces.append(face)
            inspected.append(one)
        if progress is not None:
            progress("inspect typefaces", number + 1, len(found))
    if not faces:
        why = "; ".join(f"{name}: {fault}" for name, fault in sorted(left_out.items()))
        raise ValueError(f"fonts: no usable face: {why}")
    numbers = design_numbers(distances(inspected))
    members: list[list[int]] = [[] for _ in range(max(numbers) + 1)]
    for place in sorted(range(len(faces)), key=lambda place: -len(faces[place].characters)):
        members[numbers[place]].append(place)
    records = [folder / RECORD for folder in folders]
    packages = [json.loads(path.read_text()) for path in records if path.is_file()]
    return Designs(faces, [one.shift for one in inspected], members, left_out, packages)
