"""The usable faces of a set of fonts, grouped into designs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairloss.checks import expect
from fairloss.data.text_files import read_json_object
from fairloss.glyphs.cleaning import (
    DUPLICATE,
    Inspection,
    design_numbers,
    distances,
    inspect,
    sample_characters,
)
from fairloss.glyphs.packages import RECORD
from fairloss.glyphs.rendering import Shift
from fairloss.glyphs.shards import Drawing
from fairloss.glyphs.typefaces import Typeface, find_typefaces
from fairloss.io.digest import sha256
from fairloss.progress import Progress, no_progress


@dataclass(frozen=True)
class Designs:
    """Usable faces, grouped into designs.

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
        """Style of each design."""
        return [max(self.faces[face].style for face in faces) for faces in self.members]

    @property
    def design_of_face(self) -> list[int]:
        """The design of each face."""
        design_of = {face: design for design, faces in enumerate(self.members) for face in faces}
        return [design_of[face] for face in range(len(self.faces))]

    def drawing(self, size: int, all_faces: bool) -> Drawing:
        """Return the faces and options of rendering."""
        return Drawing(self.faces, self.shifts, self.members, size, all_faces)

    def record(self, held_out: Sequence[int]) -> dict[str, Any]:
        """Return all of it as JSON, without paths."""
        digests = {path: sha256(path) for path in {face.path for face in self.faces}}
        faces = zip(self.faces, self.shifts, self.design_of_face, strict=True)
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
            for face, shift, design in faces
        ]
        return {
            "packages": list(self.packages),
            "designs": len(self.members),
            "duplicate_distance": DUPLICATE,
            "typefaces": typefaces,
            "left_out": self.left_out,
        }


def find_designs(folders: Sequence[Path], progress: Progress = no_progress) -> Designs:
    """Read the fonts in the folders, leave unusable faces out, and group the others into designs.

    Raises:
        ValueError: no face is usable.
    """
    typefaces, unreadable = find_typefaces(folders, progress)
    left_out = dict.fromkeys(unreadable, "unreadable")
    sample = sample_characters(typefaces)
    faces: list[Typeface] = []
    inspections: list[Inspection] = []
    for number, face in enumerate(typefaces):
        inspection = inspect(face, sample)
        if inspection.fault:
            left_out[face.name] = inspection.fault
        else:
            faces.append(face)
            inspections.append(inspection)
        progress("inspect typefaces", number + 1, len(typefaces))
    faults = "; ".join(f"{name}: {fault}" for name, fault in sorted(left_out.items()))
    expect(faces, "fonts", "a usable face", faults)
    numbers = design_numbers(distances(inspections))
    members: list[list[int]] = [[] for _ in range(max(numbers) + 1)]
    for face_number in sorted(range(len(faces)), key=lambda n: -len(faces[n].characters)):
        members[numbers[face_number]].append(face_number)
    records = [folder / RECORD for folder in folders]
    packages = [read_json_object(path) for path in records if path.is_file()]
    return Designs(
        faces, [inspection.shift for inspection in inspections], members, left_out, packages
    )
