"""One contract for all heads: the tools of torch that compile and export them."""

from __future__ import annotations

import copy

import pytest
import torch
from contract_cases import EVERY, IGNORED, LABELS, ONCE, make, rows, run


def states(head):
    return {k: v for k, v in head.state_dict().items() if isinstance(v, torch.Tensor)}


def check_steps(name, backend):
    """Compare three steps of a compiled head with those of the same head in eager mode."""
    head = make(name)
    eager = copy.deepcopy(head)
    torch._dynamo.reset()
    compiled = torch.compile(head, fullgraph=True, backend=backend)
    for seed, labels in ((1, LABELS), (2, IGNORED), (3, LABELS.flip(0))):
        inputs = [rows(seed=seed).requires_grad_() for _ in range(2)]
        losses = run(compiled, inputs[0], labels), run(eager, inputs[1], labels)
        for loss in losses:
            loss.backward()
        torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(states(head), states(eager), rtol=1e-4, atol=1e-5)


@ONCE
def test_the_graph_is_whole(name):
    check_steps(name, "eager")


@pytest.mark.parametrize("name", ["LDAM weighted", "LSoftmax", "CenterLoss"])
def test_a_compiled_gradient_is_that_of_the_state_before_the_step(name):
    check_steps(name, "aot_eager")


@EVERY
@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_the_graph_is_whole_for_every_backend(name, backend):
    with torch._inductor.config.patch(fallback_random=True):
        check_steps(name, backend)


@EVERY
@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True])
def test_torch_export_gives_the_same_loss(name, training):
    head = make(name).train(training)
    eager = copy.deepcopy(head)
    exported = torch.export.export(copy.deepcopy(head), (rows(), IGNORED)).module()
    expected = run(eager, rows(), IGNORED)
    torch.testing.assert_close(run(exported, rows(), IGNORED), expected, rtol=1e-4, atol=1e-5)
