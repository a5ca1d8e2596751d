"""Training that starts from the weights of another run, or of a backbone alone."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from synthetic import faces
from training_runs import COUNTS, config

from fairloss.agent import Policy
from fairloss.data import FaceImages
from fairloss.training import HeadConfig, ModelConfig, RunFolder, train
from fairloss.training.build import build_trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of FairLoss whose six margins are 0.15, 0.25, 0.35, 0.45, 0.45, 0.25."""
    folder = tmp_path_factory.mktemp("runs")
    return trained(folder / "fair", fair(folder), MARGINS)


def fair(folder, **changes):
    Policy.constant("keep").save(folder / "keep.json")
    return HeadConfig(name="FairLoss", policy=str(folder / "keep.json"), **changes)


MARGINS = [0.15, 0.25, 0.35, 0.45, 0.45, 0.25]


def trained(folder, head, margins=None, counts=COUNTS):
    train(config(folder, head=head, epochs=1), faces(counts))
    if margins is not None:
        state = torch.load(folder / "head.pt", weights_only=True)
        torch.save(state | {"margins": torch.tensor(margins)}, folder / "head.pt")
    return folder


def changed_state(folder, run, **changes):
    """A copy of a run with another head.pt."""
    shutil.copytree(run, folder / "changed")
    state = torch.load(run / "head.pt", weights_only=True)
    torch.save(state | changes, folder / "changed" / "head.pt")
    return folder / "changed"


def weight(run):
    return torch.load(run / "head.pt", weights_only=True)["weight"]


def started(tmp_path, images=None, **changes):
    folder = RunFolder(tmp_path / "next")
    return build_trainer(config(folder.path, **changes), images or faces(COUNTS), folder)


def renamed(order):
    """The synthetic faces, with identity k called order[k]."""
    images = faces(COUNTS)
    return FaceImages(images._pixels, images.labels, order, images.names)


def test_a_run_gives_backbone_class_weights_and_margins(tmp_path, run):
    trainer = started(tmp_path, init=str(run), head=fair(tmp_path))
    state = torch.load(run / "model.pt", weights_only=True)
    assert all(torch.equal(value, state[key]) for key, value in trainer.model.state_dict().items())
    assert torch.equal(trainer.head.weight, weight(run))
    torch.testing.assert_close(trainer.head.margins, torch.tensor(MARGINS))


def test_class_weights_follow_the_names_of_identities(tmp_path, run):
    order = ["id3", "new", "id0", "id5", "other", "id1"]
    rows = [3, None, 0, 5, None, 1]
    settings = {"head": fair(tmp_path)}
    fresh = started(tmp_path / "fresh", renamed(order), **settings).head
    head = started(tmp_path, renamed(order), init=str(run), **settings).head
    for position, row in enumerate(rows):
        expected = fresh.weight[position] if row is None else weight(run)[row]
        assert torch.equal(head.weight[position], expected)
        margin = 0.35 if row is None else MARGINS[row]
        assert head.margins[position].item() == pytest.approx(margin)


def test_more_and_fewer_classes_than_before(tmp_path, run):
    more = started(tmp_path / "more", faces([*COUNTS, 2, 2]), init=str(run)).head
    assert torch.equal(more.weight[:6], weight(run))
    fewer = started(tmp_path / "fewer", faces(COUNTS[:3]), init=str(run)).head
    assert torch.equal(fewer.weight, weight(run)[:3])
    lines = RunFolder(train(config(tmp_path / "run", init=str(run)), faces([*COUNTS, 2]))).metrics()
    assert [(line["shared"], line["new"]) for line in lines if line["event"] == "init"] == [(6, 1)]


@pytest.mark.parametrize("name", ["ArcFace", "AdaFace", "CurricularFace", "NormFace", "Softmax"])
def test_any_head_starts_from_any_other(tmp_path, run, name):
    to_other = started(tmp_path, init=str(run), head=HeadConfig(name=name)).head
    assert torch.equal(to_other.weight, weight(run))
    other = trained(tmp_path / "other", HeadConfig(name=name))
    back = started(tmp_path / "back", init=str(other), head=fair(tmp_path)).head
    assert torch.equal(back.weight, weight(other))
    torch.testing.assert_close(back.margins, torch.full((6,), 0.35))


@pytest.mark.parametrize(
    ("source", "kind", "margin"),
    [
        (HeadConfig(name="ArcFace", margin=0.25), "arc", 0.25),
        (HeadConfig(name="CosFace", margin=0.45), "cos", 0.45),
        (HeadConfig(name="CosFace", margin=0.45), "arc", 0.35),
        (HeadConfig(name="ArcFace", margin=0.5), "arc", 0.35),
    ],
)
def test_margins_are_taken_where_kind_and_grid_agree(tmp_path, source, kind, margin):
    first = trained(tmp_path / "first", source)
    head = started(tmp_path, init=str(first), head=fair(tmp_path, kind=kind)).head
    np.testing.assert_allclose(head.margins.numpy(), margin, rtol=1e-6)


@pytest.mark.parametrize(
    ("margins", "kind", "got"),
    [
        ([0.15, 0.25, 0.35, 0.4, 0.45, 0.25], "arc", r'\[0.15, 0.25, 0.35\], of kind "arc"'),
        (MARGINS, "cos", r'\[0.15, 0.25, 0.35\], of kind "arc"'),
    ],
)
def test_margins_that_do_not_fit_are_named_in_one_warning(tmp_path, run, margins, kind, got):
    other = changed_state(tmp_path, run, margins=torch.tensor(margins))
    message = f'init: takes the class weights of .* kind "{kind}" at .* got FairLoss at {got}'
    with pytest.warns(UserWarning, match=message) as warned:
        head = started(tmp_path, init=str(other), head=fair(tmp_path, kind=kind)).head
    assert len(warned) == 1
    assert torch.equal(head.weight, weight(run))
    torch.testing.assert_close(head.margins, torch.full((6,), 0.35))


@pytest.mark.parametrize(
    ("changes", "got"),
    [
        ({"margins": torch.tensor(MARGINS[:4])}, r"shape \(4,\)"),
        ({"margins": torch.full((6,), torch.nan)}, r"shape \(6,\)"),
        ({"margins": None}, "None"),
        ({"weight": None}, "none"),
    ],
)
def test_damaged_margins_are_an_error_that_names_the_file(tmp_path, run, changes, got):
    other = changed_state(tmp_path, run, **changes)
    with pytest.raises(ValueError, match=f"init: expected .*head.pt with .*{got}"):
        started(tmp_path, init=str(other), head=fair(tmp_path))


def test_a_damaged_configuration_of_the_run_is_an_error(tmp_path, run):
    other = changed_state(tmp_path, run)
    (other / "config.yaml").write_text("head: [1", encoding="utf-8")
    with pytest.raises(ValueError, match=r"config.yaml is not a YAML file of settings"):
        started(tmp_path, init=str(other), head=fair(tmp_path))


def test_a_backbone_of_other_identities_leaves_the_head_new(tmp_path, run):
    images = renamed(list("abcdef"))
    state = torch.load(run / "model.pt", weights_only=True)
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "parallel.pt")
    fresh = started(tmp_path / "fresh", images).head
    for path in (run / "model.pt", tmp_path / "parallel.pt"):
        trainer = started(tmp_path, images, init_backbone=str(path))
        values = trainer.model.state_dict()
        assert all(torch.equal(values[key], value) for key, value in state.items())
        assert torch.equal(trainer.head.weight, fresh.weight)


def test_errors_name_the_setting(tmp_path, run):
    (tmp_path / "bad.pt").write_bytes(b"junk")
    model = str(run / "model.pt")
    size, beside = ModelConfig(embedding_size=8), fair(tmp_path, margin=0.45)
    for changes, message in (
        ({"init": str(tmp_path)}, "init: expected a finished run, got .* without con"),
        ({"init": str(run), "model": size}, "init: expected the weights of small_cnn .* size 8"),
        ({"init": str(run), "head": beside}, "head.margin: expected none beside"),
        ({"init_backbone": model, "model": size}, "init_backbone: expected the weights of small"),
        ({"init_backbone": str(run / "head.pt")}, "init_backbone: expected the weights of small"),
        ({"init_backbone": str(tmp_path / "bad.pt")}, "init_backbone: .*bad.pt cannot be read"),
        ({"init_backbone": "none.pt"}, "init_backbone: none.pt does not exist"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            started(tmp_path, **changes)
    with pytest.raises(ValueError, match="init: expected a run on some of these identities"):
        started(tmp_path, renamed(list("abcdef")), init=str(run))
    with pytest.raises(ValueError, match="init_backbone: expected none beside init"):
        config(tmp_path, init=str(run), init_backbone=model).check()


def test_a_resumed_run_does_not_read_them_again(tmp_path, run):
    settings = config(tmp_path / "run", init=str(run), epochs=1)
    train(settings, faces(COUNTS))
    (tmp_path / "run" / "model.pt").unlink()
    settings.init = str(tmp_path / "moved")
    (tmp_path / "moved").symlink_to(run)
    trainer = build_trainer(settings, faces(COUNTS), RunFolder(tmp_path / "run"))
    assert not torch.equal(trainer.head.weight, weight(run))
