"""Every text that a command prints about its inputs: `[b]`, which rich would drop, is shown."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from cli_cases import SMALL, clustered_embeddings, write_checkpoint
from command import fairloss
from megaface_cases import random_challenge
from PIL import Image
from synthetic import write_folder

from fairloss.agent import Policy
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


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder of inputs; all their names hold the markup."""
    pytest.importorskip("faiss")
    folder = tmp_path_factory.mktemp("inputs") / "in"
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
    write_json(folder / "loss.json", {"provenance": {"steps": 1, "rounds": 1, "reward": 0.5}})
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
    (folder / "full [b]").mkdir()
    (folder / "full [b]" / "file").touch()
    return folder


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


def returns(value) -> Callable:
    return lambda *arguments, **options: value


class Collected(SimpleNamespace):
    def __len__(self):
        return self.steps


FIT = SimpleNamespace(policy=Policy.default(), largest_gap=0.0, disagreements=0)
# What takes long or fetches files, by its module and name.
REPLACED = {
    "fairloss.experience:collect": returns(Collected(steps=1, dropped=0, min_cell=5)),
    "fairloss.experience:fit_policy": returns(FIT),
    "fairloss.experience:Experience": SimpleNamespace(load=returns(None)),
    "fairloss.loss_search:search": returns(Path("loss.json")),
    "fairloss.report.loss_search:write_search_figures": returns([Path("loss [b].svg")]),
    "fairloss.demo:demo": returns(Path("demo [b]/report.html")),
    "fairloss.cli.report:write_report": lambda run, output: output,
    "fairloss.cli.data.orl:export_orl": Path,
    "fairloss.glyphs:make_glyphs": lambda output, *_, **options: output,
}
FEATURES = "--features f_[b].npy"
FOLDERS = "--data faces_[b] --checkpoint run_[b]/model.pt"
TRAIN = f"train {' '.join(SMALL)} epochs=1"
CHALLENGE = "evaluate megaface --lists lists --megaface distractors.npy --size 100 --replicates 2"
# Arguments, "_" for a space, and the texts that they must print; "!" before those that fail.
CASES = [
    (f"{TRAIN} data=odd_[b] output=new_[b]", "train new [b]", "id0 [b]/[b].png (", "new [b]/model"),
    ("!train data=lost_[b] output=new", "lost [b]"),
    ("!train data=faces_[b] output=new model.name=m[b]", "'m[b]'"),
    ("!train data=faces_[b] output=new head.name=h[b]", "'h[b]'"),
    ("!train data=faces_[b] output=new head.options.x[b]=1", "x[b]"),
    ("!train data=faces_[b] output=new head.policy=p[b].json", "p[b].json"),
    ("!train data=faces_[b] output=new init=run_[b]", "run [b]"),
    ("!train data=faces_[b] output=new device=d[b]", "'d[b]'"),
    ("!train data=faces_[b] output=new epochs=[b]", "'[b]'"),
    ("!train data=faces_[b] output=new x[b]=1", "x[b]: expected a setting"),
    ("!train lost[b].yaml", "config: lost[b].yaml does"),
    ("collect run=run_[b] output=new_[b]", "new [b]/experience.npz"),
    ("!collect run=lost_[b] output=new epochs=[b]", "'[b]'"),
    ("search-loss data=faces_[b] output=new_[b]", ": loss.json", "figures: loss [b].svg"),
    ("!search-loss data=x output=new search.unit=u[b]", "'u[b]'"),
    ("demo output=demo_[b]", "report: demo [b]/report.html"),
    ("!demo output=demo device=d[b]", "'d[b]'"),
    ("fit-policy loss.json --output new_[b].json", "new [b].json: "),
    ("!fit-policy lost[b].npz", "experience: lost[b].npz does"),
    (f"embed {FOLDERS} --output new_[b].npy", "6 images: new [b].npy"),
    (f"!embed {FOLDERS} --names names.txt --output new.npy", "faces [b]", "'lost [b].png'"),
    ("!embed --data twice_[b] --checkpoint lost_[b].pt --output n.npy", "lost [b].pt does"),
    ("report run_[b] --output new_[b].html", "wrote new [b].html"),
    ("!doctor --data lost_[b]", "lost [b]"),
    ("!doctor --data odd_[b] --image-size 32 32", "id0 [b]/[b].png"),
    ("data orl new_[b]", "wrote new [b]"),
    ("data align --data faces_[b] --landmarks points.txt --output new_[b]", "images: new [b]"),
    ("!data align --data faces_[b] --landmarks lost.pts --output new", "'lost [b].png'"),
    ("!data align --data faces_[b] --landmarks broken_[b].txt --output new", "broken [b].txt: l"),
    (
        "data megaface new_[b] --probes 160 --distractors 500 --dimension 90",
        "new [b]: rank-1",
    ),
    ("data glyphs glyphs_[b]", "glyphs [b]/train"),
    (f"evaluate pairs {FOLDERS} --replicates 2 --output new_[b].json", "wrote new [b].json"),
    ("!evaluate pairs --features lost_[b].npy", "lost [b].npy: cannot"),
    (f"!evaluate pairs {FEATURES} --pairs pairs_[b].txt --layout l[b]", "'l[b]'"),
    (f"!evaluate pairs {FEATURES} --pairs broken_[b].txt --layout agedb", "broken [b].txt: line"),
    (f"!evaluate pairs {FEATURES} --pairs pairs_[b].txt --layout agedb", "'p0[b]/0.jpg'"),
    (
        "evaluate pairs --features listed.npy --pairs pairs_[b].txt --layout agedb --replicates 2 "
        "--against listed.npy",
        "minus listed.npy",
    ),
    (
        "evaluate rfw --lists txts --features rfw.npy --replicates 2 --output new_[b].json",
        "a [b] ",
        "c [b] ",
        "wrote new [b].json",
    ),
    ("!evaluate rfw --lists lost_[b] --features rfw.npy", "0 in lost [b]"),
    (
        f"evaluate groups {FEATURES} --against g_[b].npy --attributes groups.csv --column "
        "group_[b] --replicates 2 --output new_[b].json",
        "old [b]: ",
        "new [b]: ",
        "minus g [b].npy",
        "wrote new [b].json",
    ),
    (f"!evaluate groups {FEATURES} --attributes groups.csv --column c[b]", "'c[b]'"),
    (
        "evaluate ytf --splits splits.txt --features frames_[b].npy --against frames_[b].npy "
        "--replicates 2 --output new_[b].json",
        "minus frames [b].npy",
        "wrote new [b].json",
    ),
    ("!evaluate ytf --splits lost.txt --features frames_[b].npy", "'lost [b]/0'", "frames [b].npy"),
    (
        f"evaluate ijb --meta meta_[b] {FEATURES} --against g_[b].npy --replicates 2 --output "
        "new_[b].json",
        "minus g [b].npy",
        "wrote new [b].json",
    ),
    (f"!evaluate ijb --meta lost_[b] {FEATURES}", "lost [b]/ijbc"),
    (f"!evaluate ijb --meta meta_[b] {FEATURES} --set s[b]", "'s[b]'"),
    (
        f"{CHALLENGE} --facescrub probes_[b].npy --output new_[b] --against probes_[b].npy "
        "distractors.npy",
        "minus probes [b].npy",
        "wrote new [b]",
    ),
    (f"!{CHALLENGE} --facescrub f_[b].npy --output new", "'0 [b].png'"),
    (
        f"evaluate plot {cmc_name('x_[b]', 100)} --output new_[b].svg",
        cmc_name("x [b]", 100),
        "wrote new [b].svg",
    ),
    ("!evaluate plot lost_[b].json", "lost [b].json: cannot"),
    (
        f"gallery build {FOLDERS} --output new_[b]",
        "6 embeddings added, 6 in all, flat index: new [b]",
    ),
    ("!gallery build --features lost_[b].npy --output new", "lost [b].npy: cannot"),
    (f"!gallery build {FEATURES} --output new --index i[b]", "'i[b]'"),
    (f"!gallery build {FOLDERS} --output gallery_[b]", "names its checkpoint, got gallery [b];"),
    (
        "gallery query faces_[b]/id0_[b]/000.png --gallery gallery_[b] --checkpoint "
        "run_[b]/model.pt --data faces_[b] --output new_[b].svg",
        "faces [b]/id0 [b]/000.png",
        " [b]/",
        "not in faces [b]",
        "wrote new [b].svg",
    ),
    (
        "!gallery query lost_[b].png --gallery gallery_[b] --checkpoint run_[b]/model.pt",
        "lost [b].png does",
    ),
    (
        "!gallery query lost.png --gallery lost_[b] --checkpoint run_[b]/model.pt",
        "no gallery in lost [b]",
    ),
    ("gallery tune --gallery gallery_[b] --index flat --probes f_[b].npy", "80 probes"),
    ("!gallery tune --gallery lost_[b]", "no gallery in lost [b]"),
    ("!gallery tune --gallery gallery_[b] --index i[b]", "'i[b]'"),
    ("gallery merge gallery_[b] --output new_[b]", "80 embeddings, flat index: new [b]"),
    ("!gallery merge lost_[b] --output new", "no gallery in lost [b]"),
]


def test_every_command_has_a_case():
    given = {arguments.removeprefix("!") for arguments, *_ in CASES}
    missing = [name for name in PROGRAM if not any(each.startswith(f"{name} ") for each in given)]
    assert not missing


@pytest.mark.parametrize(("arguments", "texts"), [(first, rest) for first, *rest in CASES])
def test_names_in_inputs_are_printed_as_they_are(inputs, tmp_path, monkeypatch, arguments, texts):
    for target, value in REPLACED.items():
        module, _, name = target.partition(":")
        monkeypatch.setattr(importlib.import_module(module), name, value)
    for entry in inputs.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    monkeypatch.chdir(tmp_path)
    words = [word.replace("_[", " [") for word in arguments.removeprefix("!").split(" ")]
    done = fairloss(*words)
    assert bool(done.returncode) == arguments.startswith("!"), done.stderr
    for text in texts:
        assert text in done.stdout + done.stderr


@pytest.mark.parametrize("name", PROGRAM)
def test_an_unknown_option_of_every_command_is_named_as_it_is(name):
    assert "No such option: --x[b] " in fairloss(*name.split(), "--x[b]").stderr
