"""Gradients of some outputs or for some inputs of cosine_partition, which computes no others."""

from __future__ import annotations

import pytest
import torch
from partition_problems import partition_problem

from fairloss_ext import cosine_partition


@pytest.mark.parametrize("output", [0, 1])
@pytest.mark.parametrize("compute", [torch.float32, torch.float16])
def test_an_output_without_a_gradient_counts_as_one_of_zeros(output, compute):
    inputs, labels, upstream = partition_problem(5, 8, 20)
    upstream[1 - output] = 0
    leaves = [x.clone().requires_grad_() for x in inputs]
    outputs = cosine_partition(leaves[0], leaves[1], labels, leaves[2], compute_dtype=compute)
    zeros = torch.autograd.grad(outputs, leaves, list(upstream), retain_graph=True)
    absent = torch.autograd.grad(outputs[output], leaves, upstream[output])
    for a, b in zip(absent, zeros, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("wanted", [0, 1, 2])
@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("workspace", ["auto", "recompute"])
def test_a_gradient_does_not_depend_on_the_others_wanted(workspace, fused, wanted):
    inputs, labels, upstream = partition_problem(5, 8, 200)

    def gradients(*indices):
        leaves = [x.clone().requires_grad_(k in indices) for k, x in enumerate(inputs)]
        outputs = cosine_partition(
            leaves[0], leaves[1], labels, leaves[2], workspace=workspace, fused=fused
        )
        return torch.autograd.grad(outputs, [leaves[k] for k in indices], list(upstream))

    assert gradients(wanted)[0].equal(gradients(0, 1, 2)[wanted])
