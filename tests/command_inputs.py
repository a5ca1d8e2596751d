"""The commands of the program, and small inputs of all of them."""

from __future__ import annotations

import shutil

import numpy as np
import typer
from cli_cases import clustered_embeddings, write_checkpoint
from megaface_cases import random_challenge
from PIL import Image
from synthetic import write_folder

from fairloss.cli.app import app
from fairloss.data import cmc_name, write_cmc, write_features
from fairloss.data.megaface import DevkitList, write_devkit_list
from fairloss.gallery import Gallery
from fairloss.glyphs.build import MANIFEST
from fairloss.io.json import write_json

MARKS = "1 2 3 4 5 6 7 8 9 10 0.9"
WHO = [f"p{n} [b]" for n in range(20) for _ in range(4)]
FRAMES = [f"{who}/{n % 2} [b]/{n}.jpg" for n, who in enumerate(WHO)]
NAMES = [f"{who}/{n}.jpg" for n, who in enumerate(WHO)]


def commands(group, *words):
    """Yield the words of each command of the program."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *words, name)
        else:
            yield " ".join([*words, name])


PROGRAM = list(commands(typer.main.get_command(app)))


def write_inputs(folder):
    """Write inputs of all commands into a new folder; all their names hold markup of rich."""
    write_folder(folder / "faces [b]", [3, 3])
    for identity in sorted((folder / "faces [b]").iterdir()):
        identity.rename(f"{identity} [b]")
    for data in ("odd [b]", "twice [b]"):
        shutil.copytree(folder / "faces [b]", folder / data)
    (folder / "odd [b]" / "id0 [b]" / "[b].png").write_bytes(b"no image")
    Image.new("L", (8, 8)).save(folder / "twice [b]" / "id0 [b]" / "000.bmp")
    write_checkpoint(folder / "run [b]", seed=0)
    for file, noise in (("f [b].npy", 0.4), ("g [b].npy", 2.0)):
        write_features(folder / file, NAMES, clustered_embeddings(noise=noise), WHO)
    write_features(folder / "frames [b].npy", FRAMES, clustered_embeddings(noise=2.0), WHO)
    gallery = Gallery(16)
    gallery.add(NAMES, clustered_embeddings())
    gallery.save(folder / "gallery [b]")
    write_lists(folder)
    write_challenge(folder)
    write_json(folder / "loss.json", {})
    write_json(folder / "demo [b]" / "evaluation.json", {})
    write_json(
        folder / "glyphs [b]" / MANIFEST,
        {
            "designs": 1,
            "typefaces": [],
            "sets": {
                "train": {
                    "characters": 1,
                    "images": 1,
                    "images_of_a_character": {"0": 1, "0.5": 1, "1": 1},
                }
            },
        },
    )


def write_lists(folder):
    """Write lists of pairs, subsets, videos, attributes and landmarks."""
    texts = {
        "pairs [b].txt": "".join(
            f"{NAMES[8 * n]} {NAMES[8 * n + 1]} 1\n{NAMES[8 * n]} {NAMES[8 * n + 4]} -1\n".replace(
                " [b]", "[b]"
            )
            for n in range(10)
        ),
        "broken [b].txt": "a b c d\n",
        "splits.txt": "".join(
            f"{n + 1}, p{2 * n} [b]/0 [b], p{2 * n} [b]/1 [b], 1\n"
            f"{n + 1}, p{2 * n} [b]/0 [b], p{2 * n + 1} [b]/1 [b], 0\n"
            for n in range(10)
        ),
        "lost.txt": "1, lost [b]/0, lost [b]/1, 1\n",
        "groups.csv": "name,group [b]\n"
        + "".join(f"{name},{'old' if n < 40 else 'new'} [b]\n" for n, name in enumerate(NAMES)),
        "points.txt": f"id0 [b]/000.png\t{MARKS.replace(' ', chr(9))}\n",
        "lost.pts": f"lost [b].png\t{MARKS.replace(' ', chr(9))}\n",
        "names.txt": "lost [b].png\n",
        "meta [b]/ijbc_face_tid_mid.txt": "".join(f"{n}.jpg {n // 2} {n}\n" for n in range(80)),
        "meta [b]/ijbc_name_5pts_score.txt": "".join(f"{n}.jpg {MARKS}\n" for n in range(80)),
        "meta [b]/ijbc_template_pair_label.txt": "".join(
            f"{a} {b} {int(a // 2 == b // 2)}\n" for a in range(0, 40, 2) for b in range(1, 40, 2)
        ),
    }
    lines = "".join(f"m.{n}\t1\t2\nm.{n}\t1\tm.{n + 1}\t3\n" for n in range(0, 20, 2))
    names = []
    for subset in ("a [b]", "c [b]"):
        texts[f"txts/{subset}/{subset}_pairs.txt"] = lines
        names += [f"{subset}/m.{n}/m.{n}_{i:04d}.jpg" for n in range(20) for i in range(1, 5)]
    write_features(folder / "rfw.npy", names, np.tile(clustered_embeddings(), (2, 1)))
    unmarked = [name.replace(" [b]", "[b]") for name in NAMES]
    write_features(folder / "listed.npy", unmarked, clustered_embeddings())
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def write_challenge(folder):
    """Write a MegaFace challenge and a result."""
    probes, who, distractors = random_challenge(distractors=100)
    named = [f"{n} [b].png" for n in range(len(probes))]
    lists = folder / "lists"
    write_features(folder / "probes [b].npy", named, probes)
    write_devkit_list(
        lists / "facescrub_features_list.json", DevkitList(named, [str(each) for each in who])
    )
    named = [f"{n}.jpg" for n in range(100)]
    write_features(folder / "distractors.npy", named, distractors)
    write_devkit_list(lists / "megaface_features_list.json_100_1", DevkitList(named, None))
    curve = np.array([0.5, 1.0])
    write_cmc(folder / cmc_name("x [b]", 100), curve, curve, curve)
