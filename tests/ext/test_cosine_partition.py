from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracles import worst
from partition_problems import check_partition, gradients, partition_problem, rounded_oracle

from fairloss_ext import _library, cosine_partition, reference

FLOATS = [torch.float32, torch.bfloat16, torch.float16]
# Sizes around the tiles: 96 classes a block, 8..32 columns a panel, 4..12 rows a register tile.
SHAPES = [(1, 1, 1), (5, 7, 2), (33, 64, 200), (16, 130, 97), (3, 512, 193), (70, 5, 96)]


# Two results of a problem with scale 20 differ by a logit's rounding, 20 * 2^-24, here and there.
ROUNDING = 3 * 20 * 2**-24


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("workspace", ["auto", "recompute"])
def test_values_and_gradients_match_float64(shape, workspace):
    check_partition(*partition_problem(*shape), workspace=workspace)


@pytest.mark.parametrize("shape", [*SHAPES, (7, 33, 98)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("workspace", ["auto", "recompute"])
def test_lower_compute_dtypes_round_operands_only(shape, dtype, workspace):
    """Against float64 of rounded unit vectors: cosines as exact as in float32, and gradients within
    the rounding of the slopes, which are operands too."""
    inputs, labels, upstream = partition_problem(*shape)
    options = {"workspace": workspace, "compute_dtype": dtype}
    fused = gradients(cosine_partition, inputs, labels, upstream, **options)
    exact = gradients(
        rounded_oracle(dtype), [x.double() for x in inputs], labels, upstream.double()
    )
    for a, b in zip(fused[:2], exact[:2], strict=True):
        assert worst(a, b, 1.0) < 1e-5
    slope = float(inputs[2]) * float(upstream.abs().max())
    for a, b, rows in zip(fused[2:4], exact[2:4], inputs[:2], strict=True):
        assert worst(a, b, slope / float(rows.norm(dim=1).min())) < 2 * torch.finfo(dtype).eps
    # A GPU saves cosines in steps of 2^-15: d nlse / d scale moves by as much, and 1 + scale times.
    steps = 2**-16 if _library.runs_cuda_kernels(inputs[0]) else 0
    rounding = steps * (1 + float(inputs[2])) * float(upstream[1].abs().sum())
    assert worst(fused[4], exact[4], 1.0) < 1e-4 + rounding


@pytest.mark.parametrize("embedding_type", FLOATS)
@pytest.mark.parametrize("weight_type", FLOATS)
def test_any_mix_of_dtypes(embedding_type, weight_type):
    check_partition(*partition_problem(17, 40, 90, (embedding_type, weight_type)))


@given(
    st.integers(0, 20),
    st.integers(1, 70),
    st.integers(1, 140),
    st.sampled_from(FLOATS),
    st.sampled_from(FLOATS),
    st.sampled_from([1.0, 16.0, 64.0]),
    st.integers(0, 2**31),
)
def test_any_shape(batch, dim, classes, embedding_type, weight_type, scale, seed):
    torch.manual_seed(seed)
    check_partition(*partition_problem(batch, dim, classes, (embedding_type, weight_type), scale))


@pytest.mark.parametrize("scale", [64.0, 128.0, 500.0])
def test_no_overflow_and_no_underflow_at_any_scale(scale):
    inputs, labels, upstream = partition_problem(8, 16, 50, scale=scale)
    check_partition(inputs, labels, upstream)
    # Two opposite classes: the only negative has cosine -1, exp(-scale) alone would be 0.
    embeddings = torch.tensor([[1.0, 0.0]])
    weight = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    _, nlse = cosine_partition(embeddings, weight, torch.tensor([0]), scale)
    assert nlse.item() == pytest.approx(-scale)


def test_hard_negatives_by_hand():
    embeddings = torch.eye(2)[:1].requires_grad_()
    angles = torch.tensor([0.0, 0.5, 1.5])
    weight = torch.stack([angles.cos(), angles.sin()], 1).requires_grad_()
    threshold, coefficients = torch.tensor([0.6]), (0.3, 1.1, 0.05)
    scale = torch.tensor(4.0, requires_grad=True)
    hard_options = {"hard_threshold": threshold, "hard_coefficients": coefficients}
    _, nlse = cosine_partition(embeddings, weight, torch.tensor([0]), scale, **hard_options)
    c = angles.double().cos()
    hard = 0.3 * c[1] ** 2 + 1.1 * c[1] + 0.05  # class 1 is above 0.6, class 2 below
    assert nlse.item() == pytest.approx(float(torch.logaddexp(4 * hard, 4 * c[2])), abs=1e-6)
    nlse.sum().backward()
    p = torch.exp(4 * torch.stack([hard, c[2]]) - nlse.detach().double())
    assert scale.grad.item() == pytest.approx(float(p[0] * hard + p[1] * c[2]), abs=1e-5)
    slope = 4 * p * torch.stack([0.6 * c[1] + 1.1, torch.tensor(1.0, dtype=torch.float64)])
    expected = (slope * torch.sin(angles[1:]).double()).sum()  # d cos / d e is orthogonal to e
    assert embeddings.grad[0, 1].item() == pytest.approx(float(expected), abs=1e-5)
    torch.testing.assert_close(weight.grad[0], torch.zeros(2))


@pytest.mark.parametrize("workspace", ["auto", "recompute"])
def test_hard_negatives_match_the_reference(workspace):
    inputs, labels, upstream = partition_problem(9, 12, 80, scale=8.0)
    options = {"hard_threshold": torch.rand(9) * 0.3, "hard_coefficients": (0.2, 1.0, 0.1)}
    fused = gradients(cosine_partition, inputs, labels, upstream, workspace=workspace, **options)
    exact = gradients(
        reference.cosine_partition, [x.double() for x in inputs], labels, upstream, **options
    )
    for a, b in zip(fused, exact, strict=True):
        assert worst(a, b) < 1e-5


def test_zero_rows_have_no_direction_and_no_gradient():
    inputs, labels, upstream = partition_problem(4, 6, 5)
    inputs[0][1] = 0
    inputs[1][2] = 0
    _, nlse, de, dw, _ = gradients(cosine_partition, inputs, labels, upstream)
    assert nlse.isfinite().all()
    assert de[1].eq(0).all()
    assert dw[2].eq(0).all()
    assert de.isfinite().all()
    assert dw.isfinite().all()


@pytest.mark.parametrize("magnitude", [1e-11, 1e-6, 1e15, 1e30])
def test_extreme_lengths_do_not_change_the_direction(magnitude):
    inputs, labels, _ = partition_problem(4, 6, 5)
    embeddings, weight, scale = inputs
    expected = cosine_partition(embeddings, weight, labels, scale)
    scaled = cosine_partition(embeddings * magnitude, weight * magnitude, labels, scale)
    for a, b in zip(scaled, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_parallel_and_opposite_rows_are_finite():
    embeddings = torch.randn(1, 8).repeat(3, 1)
    weight = torch.cat([embeddings[:1], embeddings[:1], -embeddings[:1]])  # duplicates, cos +-1
    inputs = (embeddings, weight, torch.tensor(64.0))
    check_partition(inputs, torch.tensor([0, 2, 1]), torch.ones(2, 3))


BOTH = pytest.mark.parametrize("function", [cosine_partition, reference.cosine_partition])


@BOTH
@pytest.mark.parametrize("workspace", ["auto", "recompute"])
def test_a_nan_embedding_changes_its_own_results_only(function, workspace):
    inputs, labels, upstream = partition_problem(6, 8, 30)
    labels[3] = 7
    others = [0, 1, 2, 4, 5]
    clean = gradients(
        function, (inputs[0][others], *inputs[1:]), labels[others], upstream[:, others]
    )
    inputs[0][3, 2] = math.nan
    target, nlse, de, dw, ds = gradients(function, inputs, labels, upstream, workspace=workspace)
    assert target.isnan().nonzero().flatten().tolist() == [3]
    assert nlse.isnan().nonzero().flatten().tolist() == [3]
    assert de[3].isnan().all()
    torch.testing.assert_close(nlse[others], clean[1])
    torch.testing.assert_close(de[others], clean[2])
    torch.testing.assert_close(dw, clean[3], rtol=ROUNDING, atol=1e-5)  # another order of sums
    torch.testing.assert_close(ds, clean[4])


@BOTH
def test_nan_embedding_among_one_class(function):
    embeddings = torch.tensor([[math.nan, 1.0], [1.0, 2.0]])
    target, nlse = function(embeddings, torch.randn(1, 2), torch.tensor([0, 0]))
    assert target.isnan().tolist() == [True, False]
    assert nlse.tolist() == [-math.inf, -math.inf]


def test_a_non_finite_upstream_gradient_reaches_the_weight():
    """A gradient scaler must see an overflow."""
    inputs, labels, upstream = partition_problem(4, 8, 10)
    upstream[1, 2] = math.inf
    *_, dw, _ = gradients(cosine_partition, inputs, labels, upstream)
    assert not dw.isfinite().all()


def test_strided_rows_and_int32_labels_give_the_same():
    inputs, labels, upstream = partition_problem(6, 10, 20)
    embeddings, weight, scale = inputs
    plain = gradients(cosine_partition, inputs, labels, upstream)
    strided = (embeddings.T.contiguous().T, weight.repeat(1, 2)[:, :10], scale)
    again = gradients(cosine_partition, strided, labels.int(), upstream)
    for a, b in zip(plain, again, strict=True):
        torch.testing.assert_close(a, b)


def test_only_requested_gradients_are_computed():
    inputs, labels, _ = partition_problem(3, 4, 5)
    target, nlse, saved = torch.ops.fairloss.cosine_partition(
        *inputs[:2], labels, inputs[2], None, None, 0, False, 1 << 20
    )
    assert saved.shape == (5, 16)  # samples up to whole vectors
    gradient = torch.ops.fairloss.cosine_partition_backward(
        *(torch.ones(3), torch.ones(3), *inputs[:2], labels, inputs[2], None, None, 0, False),
        *(target, nlse, saved, False, True, False),
    )
    assert [g.numel() for g in gradient] == [0, 20, 0]
    weight = inputs[1].requires_grad_()
    with torch.no_grad():
        assert not cosine_partition(inputs[0], weight, labels, inputs[2])[0].requires_grad


@pytest.mark.parametrize("only", [0, 1, 2])
def test_one_input_alone_can_be_trained(only):
    inputs, labels, upstream = partition_problem(5, 8, 20)
    every = gradients(cosine_partition, inputs, labels, upstream)[2 + only]
    leaves = [x.clone().requires_grad_(n == only) for n, x in enumerate(inputs)]
    target, nlse = cosine_partition(leaves[0], leaves[1], labels, leaves[2])
    ((target * upstream[0]).sum() + (nlse * upstream[1]).sum()).backward()
    torch.testing.assert_close(leaves[only].grad, every)


def test_second_backward_over_a_retained_graph():
    inputs, labels, _ = partition_problem(4, 8, 10)
    weight = inputs[1].requires_grad_()
    _, nlse = cosine_partition(inputs[0], weight, labels, inputs[2])
    (first,) = torch.autograd.grad(nlse.sum(), weight, retain_graph=True)
    (second,) = torch.autograd.grad(nlse.sum(), weight)
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_double_backward_raises():
    inputs, labels, _ = partition_problem(4, 8, 10)
    weight = inputs[1].requires_grad_()
    _, nlse = cosine_partition(inputs[0], weight, labels, inputs[2])
    (first,) = torch.autograd.grad(nlse.sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="no double backward"):
        first.sum().backward()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            {"labels": torch.tensor([0, 5])},
            "labels: expected -1 to 4, got 5 at position 1",
            marks=pytest.mark.cpu_only,
        ),
        pytest.param(
            {"labels": torch.tensor([-2, 0])},
            "labels: expected -1 to 4, got -2 at position 0",
            marks=pytest.mark.cpu_only,
        ),
        ({"labels": torch.tensor([0.0, 1.0])}, "labels: expected a tensor of integers"),
        ({"labels": torch.tensor([0])}, r"labels: expected shape \(2,\), got \(1,\)"),
        ({"weight": torch.randn(5, 4)}, r"weight: expected shape \(5, 3\), got \(5, 4\)"),
        (
            {"weight": torch.ones(5, 3, dtype=torch.int32)},
            "weight: expected a tensor of floating-point numbers, got torch.int32",
        ),
        ({"embeddings": torch.randn(3)}, r"embeddings: expected 2 dimensions, got shape \(3,\)"),
        ({"scale": torch.ones(2)}, "scale: expected one number"),
        (
            {"hard_threshold": torch.zeros(2)},
            "hard_threshold: expected together with hard_coefficients, got it alone",
        ),
        ({"hard_coefficients": [0, 1, 0]}, "hard_coefficients: expected together .*, got it alone"),
        ({"workspace": "lots"}, "workspace: expected 'auto', 'recompute' or .*, got 'lots'"),
        ({"compute_dtype": torch.float64}, "compute_dtype: expected one of .*, got torch.float64"),
        ({"weight": torch.randn(5, 3, device="meta")}, "weight: expected on .*, got meta"),
    ],
)
def test_bad_arguments_are_named(change, message):
    good = {
        "embeddings": torch.randn(2, 3),
        "weight": torch.randn(5, 3),
        "labels": torch.tensor([0, 4]),
    }
    with pytest.raises(ValueError, match=message):
        cosine_partition(**(good | change))


@pytest.mark.parametrize("workspace", [0, 10_000, 1 << 20])
@pytest.mark.parametrize(("hard", "compute"), [(True, 0), (False, 0), (False, 1)])
def test_opcheck(workspace, hard, compute):
    inputs, labels, _ = partition_problem(5, 8, 170, (torch.bfloat16, torch.float32))
    embeddings, weight, scale = (x.requires_grad_() for x in inputs)
    threshold = torch.rand(5) if hard else None
    coefficients = torch.tensor([0.1, 1.0, 0.0]) if hard else None
    options = (threshold, coefficients, compute, False)
    arguments = (embeddings, weight, labels, scale, *options, workspace)
    torch.library.opcheck(torch.ops.fairloss.cosine_partition, arguments)
    target, nlse, saved = torch.ops.fairloss.cosine_partition(*arguments)
    results = [x.detach() for x in (target, nlse, saved)]
    inputs = (embeddings.detach(), weight.detach(), labels, scale.detach())
    torch.library.opcheck(
        torch.ops.fairloss.cosine_partition_backward,
        (torch.ones(5), None, *inputs, *options, *results, True, False, hard),
    )


def test_thread_count_changes_rounding_only():
    inputs, labels, upstream = partition_problem(7, 33, 500)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = gradients(cosine_partition, inputs, labels, upstream)
        torch.set_num_threads(3)
        three = gradients(cosine_partition, inputs, labels, upstream)
    finally:
        torch.set_num_threads(threads)
    for a, b in zip(one, three, strict=True):
        assert worst(a, b.double()) < ROUNDING


EXACTLY = {"rtol": 0, "atol": 0}
NEARLY = {
    torch.float32: {"rtol": 1e-4, "atol": 1e-5},
    torch.bfloat16: {"rtol": 2**-6, "atol": 2**-6},
    torch.float16: {"rtol": 2**-7, "atol": 2**-8},
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("hard", [False, True])
def test_workspace_changes_no_bit(dtype, hard):
    """Saved cosines and those computed again are the same floats. Not on a GPU: there chunks, and
    so the order of sums, depend on the workspace, and cosines of 16-bit products are saved in 16
    bits, which moves slopes as far as their own rounding does."""
    inputs, labels, upstream = partition_problem(20, 30, 500)
    some = 4 * 32 * 250  # bytes that hold the cosines of 250 of the 500 classes: two whole tiles
    options = {"compute_dtype": dtype}
    if hard:
        options |= {"hard_threshold": torch.zeros(20), "hard_coefficients": (0.2, 1.0, 0.1)}
    every = gradients(cosine_partition, inputs, labels, upstream, **options)
    for workspace in (some, "recompute"):
        options["workspace"] = workspace
        again = gradients(cosine_partition, inputs, labels, upstream, **options)
        for a, b in zip(every, again, strict=True):
            exactly = not _library.runs_cuda_kernels(a)
            torch.testing.assert_close(a, b, **(EXACTLY if exactly else NEARLY[dtype]))


def test_order_of_the_classes_changes_rounding_only():
    """Every class is then in another tile, at another position."""
    (embeddings, weight, scale), labels, upstream = partition_problem(20, 30, 500)
    order = torch.randperm(500)
    position = torch.empty(500, dtype=torch.int64)
    position[order] = torch.arange(500)
    new_labels = torch.where(labels >= 0, position[labels], -1)
    target, nlse, de, dw, ds = gradients(
        cosine_partition, (embeddings, weight[order], scale), new_labels, upstream
    )
    expected = gradients(cosine_partition, (embeddings, weight, scale), labels, upstream)
    for a, b in zip((target, nlse, de, dw[position], ds), expected, strict=True):
        assert worst(a, b.double()) < ROUNDING


@pytest.mark.parametrize("dtype", FLOATS)
def test_empty_batch_in_any_compute_dtype(dtype):
    inputs, labels, upstream = partition_problem(0, 7, 5)
    _, nlse, de, dw, ds = gradients(cosine_partition, inputs, labels, upstream, compute_dtype=dtype)
    assert nlse.shape == (0,)
    assert de.shape == (0, 7)
    torch.testing.assert_close(dw, torch.zeros(5, 7))
    assert ds == 0


@pytest.mark.parametrize("loss_scale", [1e-36, 1e36])
def test_float16_fits_any_upstream(loss_scale):
    inputs, labels, upstream = partition_problem(6, 9, 40)
    expected = gradients(cosine_partition, inputs, labels, upstream)
    half = gradients(
        cosine_partition, inputs, labels, upstream * loss_scale, compute_dtype=torch.float16
    )
    for a, b in zip(half[2:4], expected[2:4], strict=True):
        assert worst(a.double() / loss_scale, b.double()) < (1.0 if loss_scale < 1 else 1e-2)


@pytest.mark.parametrize("coefficients", [(0.0, 1e4, 0.0), (3e3, 1.0, 0.0), (0.0, -1e4, 0.0)])
def test_float16_fits_a_steep_hard_negative_transform(coefficients):
    """Slopes of hard negatives are those of the transform, however steep it is."""
    inputs, labels, upstream = partition_problem(6, 9, 40, scale=1e-3)
    hard = {"hard_threshold": torch.full((6,), 0.2), "hard_coefficients": coefficients}
    expected = gradients(cosine_partition, inputs, labels, upstream, **hard)
    half = gradients(
        cosine_partition, inputs, labels, upstream, compute_dtype=torch.float16, **hard
    )
    for a, b in zip(half[2:4], expected[2:4], strict=True):
        assert a.isfinite().all()
        assert worst(a, b) < 3e-2


@pytest.mark.parametrize("scale", [1e5, 1e9, -1e9])
def test_probabilities_never_exceed_one(scale):
    """A logit this large is rounded by more than 1: gradients lose digits, not their bounds."""
    inputs, labels, _ = partition_problem(8, 16, 500, scale=scale)
    upstream = torch.stack([torch.zeros(8), torch.ones(8)])
    _, _, de, dw, _ = gradients(cosine_partition, inputs, labels, upstream)
    # At most scale * sum_i |e_i| probabilities, over the length of a row.
    assert dw.norm() <= abs(scale) * 8 / inputs[1].norm(dim=1).min() * 500
    assert de.isfinite().all()
