"""Options of heads, as users, editors and type checkers see them."""

from __future__ import annotations

import inspect
import pydoc

import pytest
import torch

from fairloss import heads
from fairloss.heads.registry import build_head

CALLS = """
import torch
from fairloss.heads import AdaCos, ArcFace, Softmax

ArcFace(10, 4, scale=30.0, workspace="recompute", compute_dtype=torch.bfloat16)
ArcFace(10, 4, scale="x")  # wrong
ArcFace(10, 4, color="red")  # wrong
ArcFace(10, 4, workspace="small")  # wrong
AdaCos(10, 4, sample_rate=0.1)
AdaCos(10, 4, scale=30.0)  # wrong
Softmax(10, 4, reduction="sum")
Softmax(10, 4, reduction="max")  # wrong
Softmax(10, 4, sample_rate=0.1)  # wrong
"""


@pytest.mark.parametrize("name", list(heads.HEADS))
def test_help_and_signature_list_every_option_with_its_default(name):
    head = heads.HEADS[name]
    parameters = inspect.signature(head).parameters
    options = set(head.defaults) - (set() if head.scaled else {"scale"})
    assert {option: parameters[option].default for option in options} == {
        option: head.defaults[option] for option in options
    }
    assert "options" not in parameters
    text = pydoc.render_doc(head)
    assert all(f"{option}: " in text for option in options)
    if issubclass(head, heads.CosineHead):
        assert {"sample_rate", "workspace"} <= options


@pytest.mark.parametrize("name", list(heads.HEADS))
def test_weights_start_at_the_given_norm_in_the_directions_of_the_default(name):
    torch.manual_seed(3)
    weight = build_head(name, 7, 40).weight.detach()
    torch.manual_seed(3)
    with torch.device("meta"):
        head = build_head(name, 7, 40, options={"initial_norm": 1.5})
    head.to_empty(device="cpu").reset_parameters()
    again = head.weight.detach().clone()
    torch.manual_seed(3)
    head = build_head(name, 7, 40, options={"initial_norm": 1.5})
    for drawn in (again, head.weight.detach()):
        torch.testing.assert_close(drawn.norm(dim=1), torch.full((7,), 1.5))
        cosine = torch.nn.functional.cosine_similarity(drawn, weight)
        torch.testing.assert_close(cosine, torch.ones(7))
    assert weight.norm(dim=1).max() < 0.1
    assert head.initial_norm == 1.5


def test_a_norm_that_is_none_is_refused():
    for norm in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="^initial_norm: expected a .*number"):
            heads.ArcFace(3, 4, initial_norm=norm)


@pytest.mark.slow
def test_a_type_checker_refuses_options_of_another_type(tmp_path):
    api = pytest.importorskip("mypy.api")
    script = tmp_path / "calls.py"
    script.write_text(CALLS, encoding="utf-8")
    report, _, _ = api.run(["--strict", str(script)])
    lines = {int(line.split(":")[1]) for line in report.splitlines() if "calls.py:" in line}
    wrong = {n for n, line in enumerate(CALLS.splitlines(), start=1) if "# wrong" in line}
    assert lines == wrong, report
