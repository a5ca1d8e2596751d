"""The product that ops leave to torch's library, with the library's calls of a GPU."""

from __future__ import annotations

import pytest
import torch

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
gemm = getattr(torch.ops.fairloss_host_run, "gemm", None)  # in the host-run library only


def test_what_the_cpu_lacks_has_the_schema_of_the_gpu():
    schema = torch.ops.aten.mm.dtype_out._schema
    assert [a.name for a in schema.arguments] == ["self", "mat2", "out_dtype", "out"]


@pytest.mark.parametrize("left", FLOATS)
@pytest.mark.parametrize("right", FLOATS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 63, 5), (33, 512, 40), (0, 3, 4), (3, 0, 4)])
def test_sums_are_float32(left, right, shape):
    m, k, n = shape
    a, b = torch.randn(m, 2 * k)[:, :k].to(left), torch.randn(n, k).to(right)
    out = torch.full((m, n), torch.nan)
    gemm(a, b.T, out)
    torch.testing.assert_close(out.double(), a.double() @ b.double().T, rtol=1e-5, atol=1e-4)


def test_operands_are_let_go():
    a = torch.randn(4, 4, dtype=torch.float16)
    out = torch.empty(4, 4)
    references = [t._use_count() for t in (a, out)]
    for _ in range(3):
        gemm(a, a, out)
    assert [t._use_count() for t in (a, out)] == references


def test_a_result_of_other_dtype_is_refused():
    with pytest.raises(RuntimeError, match="out: expected dtype float32"):
        gemm(torch.ones(2, 2), torch.ones(2, 2), torch.empty(2, 2).half())
