"""Options of heads, as users, editors and type checkers see them."""

from __future__ import annotations

import inspect
import pydoc

import pytest

from fairloss import heads

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


@pytest.mark.slow
def test_a_type_checker_refuses_options_of_another_type(tmp_path):
    api = pytest.importorskip("mypy.api")
    script = tmp_path / "calls.py"
    script.write_text(CALLS, encoding="utf-8")
    report, _, _ = api.run(["--strict", str(script)])
    lines = {int(line.split(":")[1]) for line in report.splitlines() if "calls.py:" in line}
    wrong = {n for n, line in enumerate(CALLS.splitlines(), start=1) if "# wrong" in line}
    assert lines == wrong, report
