"""A library with CUDA kernels on a machine that may have neither a GPU nor a torch for CUDA."""

from __future__ import annotations

import pytest
import torch

import fairloss_ext

pytestmark = pytest.mark.skipif(
    not fairloss_ext.build_info().cuda_architectures, reason="built without CUDA kernels"
)
OPS = (
    "class_statistics",
    "cosine_partition",
    "cosine_partition_backward",
    "distractor_ranks",
    "margin_logits",
    "margin_logits_backward",
    "margin_loss",
    "margin_loss_backward",
    "sampled_classes",
)


def test_kernels_are_registered_for_both_devices():
    for op in OPS:
        for key in ("CPU", "CUDA"):
            assert torch._C._dispatch_has_kernel_for_dispatch_key(f"fairloss::{op}", key), op


def test_cpu_tensors_run_on_the_cpu():
    cosine = torch.tensor([0.5, 0.2], requires_grad=True)
    loss = fairloss_ext.margin_loss(cosine, torch.zeros(2), torch.tensor([0, 1]), 0.5)
    loss.sum().backward()
    expected = fairloss_ext.reference.margin_loss(
        cosine.detach(), torch.zeros(2), torch.tensor([0, 1]), 0.5
    )
    torch.testing.assert_close(loss.detach(), expected)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_cuda_call_says_what_is_missing():
    with pytest.raises((AssertionError, RuntimeError), match="CUDA|NVIDIA"):
        fairloss_ext.margin_loss(
            torch.zeros(2, device="cuda"), torch.zeros(2), torch.tensor([0, 1]), 0.5
        )
