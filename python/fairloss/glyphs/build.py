"""`make_glyphs`: from fonts to folders of images, one for each set."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fairloss.glyphs.designs import Designs, survey
from fairloss.glyphs.options import SETS, GlyphOptions
from fairloss.glyphs.packages import FULL, LITE, Progress, fetch_fonts
from fairloss.glyphs.selection import PAIR, Roles, hold_out
from fairloss.glyphs.sets import Samples, write_sets
from fairloss.glyphs.shards import Shard, draw_shards
from fairloss.io.atomic import write_atomic

VERSION = 1
PLAN, MANIFEST = "plan.json", "manifest.json"


def make_glyphs(
    output: str | os.PathLike[str],
    options: GlyphOptions | None = None,
    *,
    jobs: int = 1,
    cache: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
) -> Path:
    """Draw characters, and write up to four sets that `fairloss.data.read_arrays` reads.

    `output` appears when all of it is complete, with

    - train/: the training characters, drawn by all but the held-out typefaces;
    - validation/: other characters, by the same typefaces;
    - test/: again other characters, by the held-out typefaces, or by all where none are held out;
    - closed/: the training characters, by the held-out typefaces, where some are held out;
    - manifest.json: options, software, digests of fonts and images, what was left out and why.

    An interrupted call goes on when it is repeated, from the folder `.<output>.partial` beside it.
    The same fonts, options and libraries give the same bytes, whatever `jobs`.

    Args:
        output: a new folder, or one that the same call has completed.
        options: default `GlyphOptions()`.
        jobs: processes that draw; with more than one a script needs `if __name__ == "__main__"`.
        cache: for fetched fonts; default the environment variable FAIRLOSS_CACHE, or else
            ~/.cache/fairloss.
        progress: called as progress(what, done, total).

    Raises:
        ValueError: an option, the fonts or what `output` holds does not fit.
        RuntimeError: the fonts cannot be fetched.
        ImportError: Pillow or fontTools is missing.
    """
    options = options or GlyphOptions()
    options.check()
    if jobs < 1:
        raise ValueError(f"jobs: got {jobs}, expected 1 or more")
    target = Path(output).resolve()
    designs = survey(_font_folders(options, cache, progress), progress)
    held = hold_out(designs.styles, options.held_out_typefaces, options.seed)
    plan = _plan(options, designs, held)
    if target.exists():
        _check_same(target / MANIFEST, plan, f"output: {target} holds")
        return target
    work = target.parent / f".{target.name}.partial"
    if (work / PLAN).exists():
        _check_same(work / PLAN, plan, f"output: {work} holds a part of")
    _write_json(work / PLAN, plan)

    roles, shards = _draw(work, designs, held, options, jobs, progress)
    of_held = np.array([design in held for design in designs.of_face])
    complete = work / "complete"
    shutil.rmtree(complete, ignore_errors=True)
    names = [face.name for face in designs.faces]
    record = write_sets(complete, Samples(shards, of_held), roles, names, progress)
    _write_json(complete / MANIFEST, plan | record)
    os.replace(complete, target)
    shutil.rmtree(work)
    return target


def _font_folders(
    options: GlyphOptions, cache: str | os.PathLike[str] | None, progress: Progress | None
) -> list[Path]:
    if options.fonts in SETS:
        return fetch_fonts(LITE if options.fonts == "lite" else FULL, cache, progress)
    folder = Path(options.fonts)
    if not folder.is_dir():
        raise ValueError(f"fonts: got {options.fonts}, expected lite, full, or a folder of fonts")
    return [folder]


def _plan(options: GlyphOptions, designs: Designs, held: Sequence[int]) -> dict[str, Any]:
    """All that the images depend on."""
    import PIL
    from PIL import features

    if options.fonts not in SETS:  # its digests count, not its place
        options = replace(options, fonts="folder")
    software = {"pillow": PIL.__version__, "freetype": features.version("freetype2")}
    return {
        "version": VERSION,
        "options": asdict(options),
        "software": software | {"torch": torch.__version__.partition("+")[0]},
        **designs.record(held),
    }


def _check_same(path: Path, plan: dict[str, Any], holds: str) -> None:
    """ValueError if the JSON file was written by another plan."""
    if not path.is_file():
        raise ValueError(f"{holds} something else; name a new folder")
    found = json.loads(path.read_text())
    other = [key for key in plan if found.get(key) != plan[key]]
    if other:
        raise ValueError(f"{holds} glyphs with other {', '.join(other)}; name a new folder")


def _draw(
    work: Path,
    designs: Designs,
    held: Sequence[int],
    options: GlyphOptions,
    jobs: int,
    progress: Progress | None,
) -> tuple[Roles, list[Path]]:
    """Draw characters in a random order until every set has enough; the shards used."""
    roles = Roles(options)
    order = _order(designs, held, options)
    asked = options.validation + options.test + (options.classes or 0)
    shards = []
    drawn = 0
    drawing = designs.drawing(options.size, options.all_faces)
    for path, characters in draw_shards(work, drawing, order, jobs):
        shards.append(path)
        drawn += len(characters)
        _deal(Shard.load(path), characters, designs, held, roles)
        if progress is not None:
            done, total = (roles.taken, asked) if options.classes else (drawn, len(order))
            progress("draw characters", done, total)
        if roles.full:
            break
    roles.check()
    return roles, shards


def _deal(
    shard: Shard, characters: Sequence[int], designs: Designs, held: Sequence[int], roles: Roles
) -> None:
    """Offer each character of a shard, with its numbers of images, in order."""
    design_of = np.array(designs.of_face)[shard.faces]
    by: dict[int, list[int]] = {character: [] for character in characters}
    for character, design in zip(shard.characters.tolist(), design_of.tolist(), strict=True):
        by[character].append(design)
    for character, drawn_by in by.items():
        unseen = [design for design in drawn_by if design in held]
        seen = len(drawn_by) - len(unseen)
        roles.offer(character, seen, len(unseen), len(set(unseen)) == len(held))


def _order(designs: Designs, held: Sequence[int], options: GlyphOptions) -> list[int]:
    """The characters whose fonts promise enough, in a random order that `seed` decides."""
    seen: Counter[int] = Counter()
    unseen: Counter[int] = Counter()
    for design, faces in enumerate(designs.members):
        promised = [designs.faces[face].characters for face in faces]
        if not options.all_faces:
            promised = [frozenset().union(*promised)]
        for characters in promised:
            (unseen if design in held else seen).update(characters)
    least = options.largest or min(options.smallest, PAIR)
    every = len(held) if options.largest else 0
    enough = sorted(c for c in seen if seen[c] >= least and unseen[c] >= every)
    generator = torch.Generator().manual_seed(options.seed)
    return [enough[place] for place in torch.randperm(len(enough), generator=generator).tolist()]


def _write_json(path: Path, value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=1) + "\n"
    write_atomic(path, lambda temporary: temporary.write_text(text))
