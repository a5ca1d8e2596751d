"""Every text that a command prints about its inputs: `[b]`, which rich would drop, is shown."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli_cases import SMALL
from command import fairloss
from command_inputs import PROGRAM
from policy_cases import measured_policy

from fairloss.data import cmc_name
from fairloss.io.run_folder import RunFolder


def returns(value) -> Callable:
    return lambda *arguments, **options: value


class Collected(SimpleNamespace):
    def __len__(self):
        return self.steps


def search(config, *_):
    RunFolder(config.output).log("round", cost=1, epoch=1, rewards=[0.5])
    return Path("loss.json")


COLLECTED = Collected(steps=1, cost_steps=2.0, pretraining_steps=3.0, dropped=0, min_cell=5)
FIT = SimpleNamespace(policy=measured_policy(), largest_gap=0.0, disagreements=0)
# What takes long or fetches files, by its module and name.
REPLACED = {
    "fairloss.experience:collect": returns(COLLECTED),
    "fairloss.experience:fit_policy": returns(FIT),
    "fairloss.experience:Experience": SimpleNamespace(load=returns(None)),
    "fairloss.loss_search:search": search,
    "fairloss.report.loss_search:write_search_figures": returns([Path("loss [b].svg")]),
    "fairloss.demo:demo": returns(Path("demo [b]/report.html")),
    "fairloss.training.export:_convert": returns(b"model"),
    "fairloss.training.export:_difference": returns(0.0),
    "fairloss.cli.report:write_report": lambda run, output: output,
    "fairloss.cli.data.orl:export_orl": Path,
    "fairloss.glyphs:make_glyphs": lambda output, *_, **options: output,
}
FEATURES = "--features f_[b].npy"
FOLDERS = "--data faces_[b] --checkpoint run_[b]/model.pt"
TRAIN = f"train {' '.join(SMALL)} epochs=1"
COMPARED = "settings.data=faces_[b] test=faces_[b] seeds=1 settings.epochs=1 settings.channels=1 "
COMPARED += "settings.image_size=[32,32] settings.model={'embedding_size':16}"
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
    (
        f"compare {COMPARED} arms.c={{}} output=new_[b]",
        "1 of 1: c, seed 0: test_auc",
        "results: new [b]/summary.json",
    ),
    ("!compare settings.data=lost_[b] arms.c={} output=new seeds=1", "lost [b]"),
    ("!compare settings.data=x arms.c={} output=new seeds=[b]", "'[b]'"),
    ("!compare settings.data=x arms.c[b]={} output=new", "'c[b]'"),
    ("search-loss data=faces_[b] output=new_[b]", ": loss.json", "figures: loss [b].svg"),
    ("!search-loss data=x output=new search.unit=u[b]", "'u[b]'"),
    ("demo output=demo_[b]", "report: demo [b]/report.html"),
    ("!demo output=demo device=d[b]", "'d[b]'"),
    ("fit-policy loss.json --output new_[b].json", "new [b].json: "),
    ("!fit-policy lost[b].npz", "experience: lost[b].npz does"),
    (f"embed {FOLDERS} --output new_[b].npy", "6 images: new [b].npy"),
    (f"!embed {FOLDERS} --names names.txt --output new.npy", "faces [b]", "'lost [b].png'"),
    ("!embed --data twice_[b] --checkpoint lost_[b].pt --output n.npy", "lost [b].pt does"),
    ("export --checkpoint run_[b]/model.pt --output new_[b].onnx", "wrote new [b].onnx, "),
    ("!export --checkpoint lost_[b].pt --output new.onnx", "lost [b].pt does"),
    ("report run_[b] --output new_[b].html", "wrote new [b].html"),
    ("plan classes=1000", "1,000 of 1,000 classes"),
    ("!plan optimizer=o[b]", "'o[b]'"),
    ("!doctor --data lost_[b]", "lost [b]"),
    ("!doctor --data odd_[b] --image-size 32 32", "id0 [b]/[b].png"),
    ("data orl new_[b]", "wrote new [b]"),
    ("data align --data faces_[b] --landmarks points.txt --output new_[b]", "images: new [b]"),
    ("!data align --data faces_[b] --landmarks lost.pts --output new", "'lost [b].png'"),
    ("!data align --data faces_[b] --landmarks broken_[b].txt --output new", "broken [b].txt: l"),
    (
        "data convert faces_[b] --to rec --output new_[b]",
        "6 images of 2 identities: new [b]",
    ),
    ("data convert odd_[b] --to rec --output new_[b]", "left out: id0 [b]/[b].png ("),
    ("!data convert lost_[b] --to rec --output new", "'lost [b]'"),
    ("!data convert faces_[b] --to t[b] --output new", "'t[b]'"),
    ("data check faces_[b] --output new_[b].json", "faces [b]", "wrote new [b].json"),
    ("!data check odd_[b]", "odd [b]", "id0 [b]/[b].png (cannot"),
    ("!data check lost_[b]", "lost [b]"),
    ("data histogram faces_[b] --output new_[b].json", "faces [b]", "wrote new [b].json"),
    ("!data histogram lost_[b]", "'lost [b]'"),
    ("data cut faces_[b] --largest 3 --output new_[b]", "4 images of 2 identities: new [b]"),
    ("!data cut lost_[b] --largest 3 --output new", "'lost [b]'"),
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
def test_names_in_inputs_are_printed_as_they_are(inputs, monkeypatch, arguments, texts):
    """A command that fails leaves nothing behind."""
    for target, value in REPLACED.items():
        module, _, name = target.partition(":")
        monkeypatch.setattr(importlib.import_module(module), name, value)
    monkeypatch.chdir(inputs)
    words = [word.replace("_[", " [") for word in arguments.removeprefix("!").split(" ")]
    done = fairloss(*words)
    assert bool(done.returncode) == arguments.startswith("!"), done.stderr
    for text in texts:
        assert text in done.stdout + done.stderr
    if done.returncode:
        assert not list(inputs.glob("new*"))


@pytest.mark.parametrize("name", PROGRAM)
def test_an_unknown_option_of_every_command_is_named_as_it_is(name):
    assert "No such option: --x[b] " in fairloss(*name.split(), "--x[b]").stderr
