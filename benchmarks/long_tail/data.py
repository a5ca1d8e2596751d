"""Draw the data of a task for some seeds.

    python benchmarks/long_tail/data.py A 0 1 2 3

`runs/data/long_tail/A/SEED` has the training characters, "train" and, in the held-out typefaces,
"closed". `SEED-others` has the validation and test characters: as few characters are drawn by all
typefaces, some are enough. A call that was interrupted resumes.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fairloss.cli._progress import progress_bars
from fairloss.data import FaceImages, long_tailed
from fairloss.data.arrays import map_arrays, write_arrays
from fairloss.glyphs import GlyphOptions, make_glyphs
from fairloss.io.json import read_json

ROOT = Path("runs/data/long_tail")
# Of validation and test: enough characters, with at least so many images, of which those of
# validation keep as many. `make_glyphs` would draw fewer.
TASKS = {
    "A": {
        "glyphs": {
            "fonts": "full",
            "classes": 800,
            "held_out_typefaces": 8,
            "largest": 40,
            "smallest": 3,
        },
        "validation": (700, 8),
        "test": (2000, 4),
    },
    "B": {
        "glyphs": {"fonts": "lite", "classes": 1000, "held_out_typefaces": 5},
        "validation": (600, 4),
        "test": (1200, 4),
    },
}
UNUSED = {"validation": 300, "test": 500}  # characters of the sets of `make_glyphs` itself
# Of which the sets are selected; the next number where the typefaces of a seed draw too few.
DRAWN = {"validation": (1500,), "test": (9000, 7000, 5000)}


def draw(task: str, seed: int) -> None:
    """Write the sets of a seed that do not exist."""
    folder = ROOT / task / str(seed)
    target, partial = (folder.with_name(f"{seed}-{name}") for name in ("others", "partial"))
    if target.exists():
        return
    settings = TASKS[task]
    draw_glyphs(folder, **settings["glyphs"], **UNUSED, seed=seed)
    same = {name: settings["glyphs"][name] for name in ("fonts", "held_out_typefaces")}
    drawn = {}
    for name, counts in DRAWN.items():
        source = folder.with_name(f"{seed}-{name}")
        draw_most(source, name, counts, **same, classes=2, seed=seed)
        drawn[name] = map_arrays(source / name)
    trained = set(map_arrays(folder / "train").identities)
    validation = select(drawn["validation"], trained, *settings["validation"], seed)
    counts = [settings["validation"][1]] * validation.num_classes
    write(partial / "validation", long_tailed(validation, counts, seed))
    test = select(drawn["test"], trained | set(validation.identities), *settings["test"], seed)
    write(partial / "test", test)
    for name in DRAWN:
        shutil.rmtree(folder.with_name(f"{seed}-{name}"))
    os.replace(partial, target)


def draw_most(folder: Path, name: str, counts: Sequence[int], **options: Any) -> None:
    """Draw a set with the first of these numbers of characters that there are.

    A call that was interrupted resumes with the number that it had come to.
    """
    begun = begun_with(folder, name)
    *larger, smallest = counts if begun not in counts else counts[counts.index(begun) :]
    for count in larger:
        try:
            draw_glyphs(folder, **{name: count}, **options)
            return
        except ValueError as error:
            if not str(error).startswith(f"{name}:"):
                raise
            shutil.rmtree(partial_of(folder))
    draw_glyphs(folder, **{name: smallest}, **options)


def begun_with(folder: Path, name: str) -> int | None:
    """Return the number of characters that a set was begun with, or None."""
    for path in (folder / "manifest.json", partial_of(folder) / "plan.json"):
        if path.exists():
            return int(read_json(path)["options"][name])
    return None


def partial_of(folder: Path) -> Path:
    """Return the folder where `make_glyphs` draws."""
    return folder.with_name(f".{folder.name}.partial")


def draw_glyphs(folder: Path, **options: Any) -> None:
    """Draw glyphs, or finish it."""
    with progress_bars() as progress:
        make_glyphs(folder, GlyphOptions(**options), jobs=1, progress=progress)


def select(faces: FaceImages, taken: set[str], count: int, least: int, seed: int) -> FaceImages:
    """Draw `count` characters that are not taken and have `least` images or more, or half so many.

    Held-out typefaces of some seeds draw few characters.
    """
    enough = [
        name
        for name, images in zip(faces.identities, faces.counts.tolist(), strict=True)
        if name not in taken and images >= least
    ]
    if len(enough) < count:
        print(f"seed {seed}: {len(enough)} of {count} characters have {least} images")
    if 2 * len(enough) < count:
        raise SystemExit(f"seed {seed}: too few characters")
    order = torch.randperm(len(enough), generator=torch.Generator().manual_seed(seed))
    return faces.of_identities(enough[position] for position in order[:count].tolist())


def write(folder: Path, faces: FaceImages) -> None:
    """Write images as arrays."""
    names, variants = np.unique([n.split("/")[1] for n in faces.names], return_inverse=True)
    images = faces.images(torch.arange(len(faces))).numpy()
    labels = faces.labels.numpy()
    write_arrays(folder, [images], labels, variants, faces.identities, names.tolist(), faces.mirror)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("seeds", type=int, nargs="+")
    given = parser.parse_args()
    for number in given.seeds:
        draw(given.task, number)
