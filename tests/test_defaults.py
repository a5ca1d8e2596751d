"""No margin is moved by a policy that was not named: in the package, `train`, configs/, heads."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest
import torch
from command import fairloss, succeed
from synthetic import faces, write_folder
from training_runs import COUNTS, config

from fairloss import agent, heads
from fairloss.agent import Policy
from fairloss.experience import Experience
from fairloss.heads import FairLoss
from fairloss.loss_search import SearchConfig
from fairloss.training import HeadConfig, TrainConfig, build_head, load_config, train
from fairloss_ext import class_statistics

ROOT = Path(__file__).parents[1]
COMMANDS = r"`fairloss collect.*` and `fairloss fit-policy"
LABELS = torch.arange(60) % 6
EMBEDDINGS = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))


def policy(folder, name="raise.json", **provenance):
    raised = Policy.constant("raise")
    path = folder / name
    Policy(raised.grid, raised.table, raised.q, raised.visits, provenance).save(path)
    return str(path)


def test_no_policy_is_packaged():
    package = Path(agent.__file__).parents[1]
    assert not [path for path in package.rglob("*.json") if "states" in path.read_text("utf-8")]


def test_the_default_head_has_one_margin_that_never_moves():
    head = build_head(TrainConfig().head, 6, 4)
    assert isinstance(head, heads.CosFace)
    assert head.margins.item() == pytest.approx(0.35)
    head.end_of_epoch(class_statistics(EMBEDDINGS, LABELS, 6))
    assert head.margins.item() == pytest.approx(0.35)


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_a_configuration_of_the_repository_names_its_policy_or_has_none(path):
    settings = load_config(path, [], SearchConfig if "search" in path.stem else TrainConfig)
    assert settings.head.name != "FairLoss" or settings.head.policy is not None
    assert settings.head.name in heads.HEADS


@pytest.mark.parametrize(
    "path",
    [ROOT / "README.md", *(ROOT / "docs").glob("*.*"), *(ROOT / "examples").glob("*.py")],
    ids=lambda path: path.name,
)
def test_a_page_or_example_with_fair_loss_passes_a_policy(path):
    text = path.read_text(encoding="utf-8")
    calls = re.findall(r"(?:= |transform\(heads\.)FairLoss[(,][^)]*\)", text)
    assert all("policy=" in call for call in calls), calls
    commands = [line for line in text.splitlines() if "head.name=FairLoss" in line]
    assert all("head.policy=" in command for command in commands if "fairloss train" in command)


def test_fair_loss_without_a_policy_says_so_once_and_keeps_its_margins():
    with pytest.warns(UserWarning, match=COMMANDS) as warned:
        head = FairLoss(6, 4)
    assert len(warned) == 1
    assert warned[0].filename == __file__
    head.set_margins(torch.tensor([0.15, 0.25, 0.35, 0.45, 0.15, 0.25]).double().numpy())
    before = head.margins.clone()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "FairLoss: no class has")
        for epoch in range(5):
            head(EMBEDDINGS, LABELS).backward()
            head.end_of_epoch(class_statistics(EMBEDDINGS + epoch, LABELS, 6))
        assert torch.equal(head.margins, before)
        raising = FairLoss(6, 4, Policy.constant("raise"))
        head.load_state_dict(raising.state_dict())  # with its policy
    head.end_of_epoch(class_statistics(EMBEDDINGS, LABELS, 6))
    torch.testing.assert_close(head.margins, torch.full((6,), 0.45))


def test_train_refuses_fair_loss_without_a_policy_before_it_reads_an_image(tmp_path):
    with pytest.raises(ValueError, match=f"head.policy: expected .*{COMMANDS}.*, got none"):
        train(config(tmp_path / "run", head=HeadConfig(name="FairLoss")))
    assert not (tmp_path / "run").exists()
    missing = fairloss("train", "data=none", f"output={tmp_path / 'run'}", "head.name=FairLoss")
    assert missing.returncode == 2
    assert len(missing.stderr.strip().splitlines()) == 1
    assert "error: head.policy: expected" in missing.stderr


def test_a_policy_beside_the_default_head_is_refused_not_ignored(tmp_path):
    head = HeadConfig(policy=policy(tmp_path))
    with pytest.raises(ValueError, match="head.policy: expected no policy for CosFace"):
        train(config(tmp_path / "run", head=head))


def test_a_policy_in_the_output_folder_is_not_one_that_was_named(tmp_path):
    (tmp_path / "run").mkdir()
    policy(tmp_path / "run", "policy.json")
    with pytest.raises(ValueError, match="head.policy: expected .*, got none"):
        train(config(tmp_path / "run", head=HeadConfig(name="FairLoss")))


def test_the_default_run_is_one_that_experience_is_collected_from(tmp_path):
    data = write_folder(tmp_path / "faces", [3, 3, 2, 2])
    small = ("image_size=[32,32]", "channels=1", "model.embedding_size=8", "epochs=1")
    succeed("train", f"data={data}", f"output={tmp_path / 'run'}", *small)
    output = f"output={tmp_path / 'experience'}"
    succeed("collect", f"run={tmp_path / 'run'}", output, "epochs=1", "min_cell=1")
    assert Experience.load(tmp_path / "experience" / "experience.npz").kind == "cos"
    fair = ("head.name=FairLoss", "head.kind=cos", f"head.policy={policy(tmp_path, kind='cos')}")
    succeed("train", f"data={data}", f"output={tmp_path / 'fair'}", *fair, *small)


@pytest.mark.parametrize(("learned", "kind"), [("arc", "cos"), ("cos", "arc")])
def test_a_policy_of_another_kind_is_refused_with_one_error_everywhere(tmp_path, learned, kind):
    path = policy(tmp_path, kind=learned)
    other = Policy.load(path)
    head = FairLoss(6, 4, Policy.constant("keep"), kind=kind)
    settings = HeadConfig(name="FairLoss", kind=kind, policy=path)
    state = FairLoss(6, 4, other, kind=learned).state_dict()
    old = {"version": 1, "grid": list(other.grid.values), "provenance": other.provenance}
    for attempt in (
        lambda: FairLoss(6, 4, other, kind=kind),
        lambda: setattr(head, "policy", other),
        lambda: head.set_extra_state(old | {"table": other.table.tolist()}),
        lambda: build_head(settings, 6, 4),
        lambda: train(config(tmp_path / "run", head=settings), faces(COUNTS)),
    ):
        message = f"policy: expected one learned with kind={kind}, got one with kind={learned}"
        with pytest.raises(ValueError, match=message):
            attempt()
    message = f'state of FairLoss, kind "{kind}", got FairLoss, kind "{learned}"'
    with pytest.raises(RuntimeError, match=message):
        head.load_state_dict(state)
    with pytest.raises(ValueError, match="policy: expected a Policy, got 'raise.json'"):
        FairLoss(6, 4, "raise.json", kind=kind)
    assert head.policy.provenance["source"] == "constant keep"
