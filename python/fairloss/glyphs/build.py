"""Glyph data sets from fonts: `make_glyphs` writes a folder of images for each set."""

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fairloss.checks import check_integer, expect
from fairloss.glyphs.designs import Designs, find_designs
from fairloss.glyphs.options import SETS, GlyphOptions
from fairloss.glyphs.packages import FULL, LITE, fetch_fonts
from fairloss.glyphs.selection import PAIR, CharacterSplit, hold_out
from fairloss.glyphs.sets import Samples, write_sets
from fairloss.glyphs.shards import Shard, draw_shards
from fairloss.io.json import VERSION, read_json, write_json
from fairloss.io.output import locked_beside
from fairloss.progress import Progress, no_progress

PLAN, MANIFEST = "plan.json", "manifest.json"


def make_glyphs(
    output: str | os.PathLike[str],
    options: GlyphOptions | None = None,
    *,
    jobs: int = 1,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress = no_progress,
) -> Path:
    """Draw characters, and write up to four sets that `fairloss.data.read_arrays` reads.

    `output` appears when all of it is complete, with

    - train/: the training characters, drawn by all but the held-out typefaces;
    - validation/: other characters, by the same typefaces;
    - test/: again other characters, by the held-out typefaces, or by all where none are held out;
    - closed/: the training characters, by the held-out typefaces, where some are held out;
    - manifest.json: options, software, digests of fonts and images, images left out and why.

    An interrupted call resumes when it is repeated, from the folder `.<output>.partial` beside it.
    The same fonts, options and libraries give the same bytes for any `jobs`.

    Args:
        output: a new folder, or one that the same call has completed.
        options: default `GlyphOptions()`.
        jobs: processes that draw; with more than one a script needs `if __name__ == "__main__"`.
        cache: for fetched fonts; default the environment variable FAIRLOSS_CACHE, or else
            ~/.cache/fairloss.
        progress: called as progress(label, done, total).

    Raises:
        ValueError: an option, the fonts or the contents of `output` do not fit.
        RuntimeError: the fonts cannot be fetched.
        ImportError: Pillow or fontTools is missing.
    """
    options = options or GlyphOptions()
    options.check()
    check_integer("jobs", jobs)
    target = Path(output).resolve()
    with locked_beside(target, folder=True):
        return _make(target, options, jobs, cache, progress)


def _make(
    target: Path,
    options: GlyphOptions,
    jobs: int,
    cache: str | os.PathLike[str] | None,
    progress: Progress,
) -> Path:
    designs = find_designs(_font_folders(options, cache, progress), progress)
    held_out = hold_out(designs.styles, options.held_out_typefaces, options.seed)
    plan = _plan(options, designs, held_out)
    if target.exists():
        _check_same(target / MANIFEST, plan, f"output {target}")
        return target
    work = target.parent / f".{target.name}.partial"
    if (work / PLAN).exists():
        _check_same(work / PLAN, plan, f"output (in part in {work})")
    write_json(work / PLAN, plan)

    split, shards = _draw(work, designs, held_out, options, jobs, progress)
    by_held_out = np.isin(designs.design_of_face, held_out)
    complete = work / "complete"
    shutil.rmtree(complete, ignore_errors=True)
    names = [face.name for face in designs.faces]
    record = write_sets(complete, Samples(shards, by_held_out), split, names, progress)
    write_json(complete / MANIFEST, plan | record)
    os.replace(complete, target)
    shutil.rmtree(work)
    return target


def _font_folders(
    options: GlyphOptions, cache: str | os.PathLike[str] | None, progress: Progress
) -> list[Path]:
    if options.fonts in SETS:
        return fetch_fonts(LITE if options.fonts == "lite" else FULL, cache, progress)
    folder = Path(options.fonts)
    expect(folder.is_dir(), "fonts", "lite, full, or a folder of fonts", options.fonts)
    return [folder]


def _plan(options: GlyphOptions, designs: Designs, held_out: Sequence[int]) -> dict[str, Any]:
    """Return all that the images depend on."""
    import PIL
    from PIL import features

    if options.fonts not in SETS:  # recorded by digests, not by its path
        options = replace(options, fonts="folder")
    software = {"pillow": PIL.__version__, "freetype": features.version("freetype2")}
    return {
        "version": VERSION,
        "options": asdict(options),
        "software": software | {"torch": torch.__version__.partition("+")[0]},
        **designs.record(held_out),
    }


def _check_same(path: Path, plan: dict[str, Any], name: str) -> None:
    """Raise ValueError if the JSON file was written by another plan."""
    expect(path.is_file(), name, "glyphs or a new folder", "a folder of other files")
    recorded = read_json(path)
    other = [key for key in plan if recorded.get(key) != plan[key]]
    expect(not other, name, "the same glyphs or a new folder", f"other {', '.join(other)}")


def _draw(
    work: Path,
    designs: Designs,
    held_out: Sequence[int],
    options: GlyphOptions,
    jobs: int,
    progress: Progress,
) -> tuple[CharacterSplit, list[Path]]:
    """Draw characters in a random order until all sets are complete."""
    split = CharacterSplit(options)
    order = _order(designs, held_out, options)
    requested = options.validation + options.test + (options.classes or 0)
    shards = []
    drawn = 0
    drawing = designs.drawing(options.size, options.all_faces)
    for path, characters in draw_shards(work, drawing, order, jobs):
        shards.append(path)
        drawn += len(characters)
        _assign(Shard.load(path), characters, designs, held_out, split)
        done, total = (split.count, requested) if options.classes else (drawn, len(order))
        progress("draw characters", done, total)
        if split.complete:
            break
    split.check()
    return split, shards


def _assign(
    shard: Shard,
    characters: Sequence[int],
    designs: Designs,
    held_out: Sequence[int],
    split: CharacterSplit,
) -> None:
    """Assign the characters of a shard in order, by their numbers of images."""
    design_of_face = designs.design_of_face
    designs_of: dict[int, list[int]] = {character: [] for character in characters}
    for character, face in zip(shard.characters.tolist(), shard.faces.tolist(), strict=True):
        designs_of[character].append(design_of_face[face])
    for character, drawn_by in designs_of.items():
        unseen = [design for design in drawn_by if design in held_out]
        by_all = len(set(unseen)) == len(held_out)
        split.assign(character, len(drawn_by) - len(unseen), len(unseen), by_all)


def _order(designs: Designs, held_out: Sequence[int], options: GlyphOptions) -> list[int]:
    """Return the characters with enough fonts by their tables, in an order that `seed` decides."""
    seen: Counter[int] = Counter()
    unseen: Counter[int] = Counter()
    for design, faces in enumerate(designs.members):
        tables = [designs.faces[face].characters for face in faces]
        if not options.all_faces:
            tables = [frozenset().union(*tables)]
        for characters in tables:
            (unseen if design in held_out else seen).update(characters)
    least = options.largest or min(options.smallest, PAIR)
    least_unseen = len(held_out) if options.largest else 0
    enough = sorted(c for c in seen if seen[c] >= least and unseen[c] >= least_unseen)
    generator = torch.Generator().manual_seed(options.seed)
    order = torch.randperm(len(enough), generator=generator).tolist()
    return [enough[position] for position in order]
