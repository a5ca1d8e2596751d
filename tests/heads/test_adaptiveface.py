"""AdaptiveFace: learned margins."""

from __future__ import annotations

import pickle

import pytest
import torch
from synthetic import faces
from training_runs import config

from fairloss import heads
from fairloss.training import HeadConfig, ModelConfig, OptimizerConfig, RunFolder, train


def test_margins_stay_between_0_and_1():
    head = heads.AdaptiveFace(3, 4)
    assert ((head.margins >= 0.3) & (head.margins <= 0.4)).all()
    head.margins.data = torch.tensor([-1.0, 0.5, 3.0])
    head(torch.randn(2, 4), torch.tensor([0, 1])).backward()
    assert head.margins.tolist() == [0, 0.5, 1]
    assert head.margins.grad[2].item() == pytest.approx(
        -70 / 3, rel=1e-5
    )  # no sample of this class


def trained(scale: float = 64.0) -> heads.AdaptiveFace:
    """Return a head after ten steps that raise every margin."""
    torch.manual_seed(0)
    head = heads.AdaptiveFace(5, 4, scale=scale, regularizer_ratio=2.0)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    for _ in range(10):
        optimizer.zero_grad()
        head(torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 4, 0])).backward()
        optimizer.step()
    return head


def test_what_is_logged_and_saved_after_a_step_is_what_the_next_loss_has():
    x, y = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 4, 0])
    for read in (
        lambda head: head.class_margins(),
        lambda head: head.margins,
        lambda head: head.state_dict()["margins"],
        lambda head: torch.nn.Sequential(head).state_dict()["0.margins"],
    ):
        head = trained()
        margins = read(head).detach().clone()
        assert margins.max() == 1
        assert ((margins >= 0) & (margins <= 1)).all()
        for mode in (True, False):
            head = trained().train(mode)  # neither read nor saved before the loss
            cosface = heads.CosFace(5, 4, 0.0, scale=64.0)
            cosface.register_state("margins", margins)
            cosface.weight.data = head.weight.data
            penalty = 2 * 64 * (1 - margins.mean())
            torch.testing.assert_close(head(x, y), cosface(x, y) + penalty)


def test_the_margins_of_a_run_are_in_range_and_those_of_its_log(tmp_path):
    run = train(
        config(
            tmp_path / "run",
            epochs=2,
            model=ModelConfig(embedding_size=8),
            optimizer=OptimizerConfig(),
            head=HeadConfig(name="AdaptiveFace", options={"regularizer_ratio": 3.0}),
        ),
        faces([6, 6, 6]),
    )
    saved = torch.load(run / "head.pt", weights_only=True)["margins"]
    assert saved.max() == 1
    (*_, line) = (line for line in RunFolder(run).metrics() if line["event"] == "epoch")
    groups = [group for group in line["groups"] if group["classes"]]
    logged = sum(group["margin"] * group["classes"] for group in groups) / 3
    assert logged == pytest.approx(saved.mean().item(), rel=1e-6)


def test_a_margin_rests_where_the_documented_probability_is_reached():
    # One class of two has 3 of 4 images: its samples rest at 1 - p = 0.3 * 4 / (2 * 3).
    head = heads.AdaptiveFace(2, 2, scale=10.0, regularizer_ratio=0.3)
    head.weight.data = torch.eye(2)
    x, y = torch.eye(2)[[0, 0, 0, 1]], torch.tensor([0, 0, 0, 1])
    rest = 1 - torch.logit(torch.tensor(1 - 0.2)) / 10  # of s (1 - m) = ln(p / (1 - p))
    head.margins.data[0] = rest
    head(x, y).backward()
    assert head.margins.grad[0].abs() < 1e-6


def test_the_old_regularizer_is_in_no_unit():
    with pytest.warns(DeprecationWarning, match="regularizer_ratio"):
        head = heads.AdaptiveFace(3, 4, scale=20.0, regularizer=10.0)
    assert head.regularizer_ratio == 0.5
    assert head.regularizer == 10


@pytest.mark.parametrize("name", ["regularizer", "regulariser"])
def test_a_pickle_from_before_the_ratio_keeps_its_lambda(name):
    head = heads.AdaptiveFace(3, 4, scale=64.0)
    del head.regularizer_ratio
    head.__dict__[name] = 70.0
    other = pickle.loads(pickle.dumps(head))
    assert (other.regularizer, other.regularizer_ratio) == (70, 70 / 64)
    other(torch.randn(2, 4), torch.tensor([0, 1])).backward()
