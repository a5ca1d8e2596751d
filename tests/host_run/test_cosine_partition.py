"""Cases of cosine_partition beyond the other tests: invalid labels on a GPU, chunks, huge sizes.

The tests of this file detect all mutants: they are small, and take every branch.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from fairloss_ext import cosine_partition, reference

FLOATS = [torch.float32, torch.bfloat16, torch.float16]


def run(function, inputs, labels, upstream=None, **options):
    """Values, and gradients of the sum that `upstream` (2, B) weights."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    target, nlse = function(leaves[0], leaves[1], labels, leaves[2], **options)
    upstream = torch.ones(2, len(labels)) if upstream is None else upstream
    total = torch.where(upstream[0] == 0, 0, target * upstream[0]) + torch.where(
        (upstream[1] == 0) | nlse.isinf(), 0, nlse * upstream[1]
    )
    total.sum().backward()
    return target.detach(), nlse.detach(), *(x.grad for x in leaves)


def problem(batch, columns, classes, dtype=torch.float32, scale=16.0):
    embeddings = torch.randn(batch, columns).to(dtype)
    weight = torch.randn(classes, columns).to(dtype)
    return (embeddings, weight, torch.tensor(scale)), torch.randint(-1, classes, (batch,))


def double(function):
    """In float64 and back."""

    def exact(embeddings, weight, labels, scale, **options):
        results = function(embeddings.double(), weight.double(), labels, scale.double(), **options)
        return tuple(x.float() for x in results)

    return exact


def close(ours, exact, dtype=torch.float32, tolerance=3e-4):
    """Numbers of 16 bits, in and out, are as far off as they are rounded."""
    coarse = max(tolerance, 2 * torch.finfo(dtype).eps)
    for a, b, rounded in zip(ours, exact, (0, 0, 1, 1, 0), strict=True):
        bound = coarse if rounded else tolerance
        assert a.isnan().equal(b.isnan())
        assert a.isinf().equal(b.isinf())
        fine = b.isfinite()
        size = float(b[fine].float().abs().max()) if fine.any() else 0.0
        error = (a[fine].double() - b[fine].double()).abs()
        assert not len(error) or float(error.max()) <= bound * max(1, size)


@pytest.mark.parametrize("chunk", [128, 256, 384])
@pytest.mark.parametrize("saved", [0, 200, 300, 1000])
@pytest.mark.parametrize("compute", FLOATS)
@pytest.mark.parametrize("fused", [False, True])
def test_any_chunks(monkeypatch, chunk, saved, compute, fused):
    """Saved classes, in whole tiles, share no chunk with the others: any tile may be incomplete."""
    monkeypatch.setenv("HOST_RUN_CHUNK", str(chunk))
    inputs, labels = problem(37, 24, 700)
    labels[:3] = torch.tensor([0, 699, 383])
    inputs = tuple(x.to(compute).float() for x in inputs)
    upstream = torch.randn(2, 37)
    size = 4 if compute == torch.float32 else 2
    options = {"workspace": size * 48 * saved, "compute_dtype": compute, "fused": fused}
    ours = run(cosine_partition, inputs, labels, upstream, **options)
    exact = run(double(reference.cosine_partition), inputs, labels, upstream)
    rounding = {torch.float32: 3e-4, torch.bfloat16: 6e-2, torch.float16: 8e-3}[compute]
    if fused and compute == torch.float32:
        rounding = 8e-3  # TF32 has float16's 10 bits
    close(ours, exact, tolerance=rounding)


@pytest.mark.parametrize("batch", [1, 31, 129])
@pytest.mark.parametrize("classes", [1, 7, 130])
@pytest.mark.parametrize("columns", [1, 63, 512, 1000])
def test_odd_shapes(batch, classes, columns):
    inputs, labels = problem(batch, columns, classes)
    close(
        run(cosine_partition, inputs, labels),
        run(double(reference.cosine_partition), inputs, labels),
    )


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("columns", [5, 8, 40])
def test_rows_that_lie_apart_and_start_anywhere(dtype, columns):
    """Neither aligned nor contiguous: no access of 16 bytes is possible."""
    (embeddings, weight, scale), labels = problem(9, columns + 3, 50, dtype)
    inputs = (embeddings[:, 1:-2], weight[:, 3:], scale)
    ours = run(cosine_partition, inputs, labels)
    exact = run(double(reference.cosine_partition), inputs, labels)
    close(ours, exact, dtype)


@pytest.mark.slow
def test_a_million_classes_that_are_one_row(monkeypatch):
    """1,000,003 classes by stride 0. Where all cosines are c, nlse is s c + log(C - 1)."""
    monkeypatch.setenv("HOST_RUN_CHUNK", "65536")
    weight = torch.randn(1, 8).expand(1_000_003, 8)
    embeddings = torch.randn(2, 8)
    labels = torch.tensor([1_000_002, 500_000])
    target, nlse = cosine_partition(embeddings, weight, labels, 16.0)
    cosine = F.cosine_similarity(embeddings, weight[:2])
    torch.testing.assert_close(target, cosine)
    torch.testing.assert_close(nlse, 16 * cosine + math.log(1_000_002))


@pytest.mark.parametrize("bad", [-2, 50, 2**40, -(2**40)])
def test_an_invalid_label_makes_only_its_own_sample_nan(monkeypatch, bad):
    inputs, labels = problem(40, 16, 50)
    good = labels.clone()
    good[[5, 39]] = -1
    upstream = torch.rand(2, 40)
    dropped = upstream.clone()
    dropped[:, [5, 39]] = 0
    exact = run(reference.cosine_partition, inputs, good, dropped)
    labels[[5, 39]] = bad
    monkeypatch.setenv("HOST_RUN_UNCHECKED", "1")
    leaves = [x.clone().requires_grad_() for x in inputs]
    target, nlse = cosine_partition(leaves[0], leaves[1], labels, leaves[2])
    gradients = torch.autograd.grad((target, nlse), leaves, (upstream[0], upstream[1]))
    invalid = torch.zeros(40, dtype=torch.bool)
    invalid[[5, 39]] = True
    for ours, plain in [(target, exact[0]), (nlse, exact[1]), (gradients[0], exact[2])]:
        assert (ours.isnan() if ours.dim() == 1 else ours.isnan().all(1)).equal(invalid)
        torch.testing.assert_close(ours[~invalid], plain[~invalid], rtol=1e-3, atol=1e-5)
    for ours, plain in zip(gradients[1:], exact[3:], strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-4)


def test_validate_names_the_invalid_label(monkeypatch):
    monkeypatch.setenv("HOST_RUN_UNCHECKED", "1")
    inputs, labels = problem(4, 8, 5)
    labels[2] = 5
    with pytest.raises(ValueError, match="labels: expected -1 to 4, got 5 at position 2"):
        cosine_partition(inputs[0], inputs[1], labels, validate=True)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("compute", FLOATS)
@pytest.mark.parametrize("fused", [False, True])
def test_non_finite_embeddings_leave_the_others_finite(value, compute, fused):
    inputs, labels = problem(20, 40, 200)
    labels[:3] = torch.tensor([3, -1, 7])
    inputs[0][:3, 17] = value
    upstream = torch.rand(2, 20) + 0.5
    upstream[:, 2] = 0
    target, nlse, embeddings, weight, scale = run(
        cosine_partition, inputs, labels, upstream, compute_dtype=compute, fused=fused
    )
    assert target[:3].isnan().tolist() == [True, False, True]  # -1: there is no target
    assert nlse[:3].isnan().all()
    assert embeddings[:2].isnan().all()
    assert (embeddings[2] == 0).all()  # nothing comes from upstream
    for rest in (target[3:], nlse[3:], embeddings[3:], weight, scale):
        assert rest.isfinite().all()


@pytest.mark.parametrize("length", [0.0, 1e-13, 1e-11, 1e-25, 1e17, 1e25])
@pytest.mark.parametrize("which", [0, 1])
def test_rows_of_any_length(length, which):
    inputs, labels = problem(6, 33, 12)
    inputs[which][3] *= length / float(inputs[which][3].norm())
    rest = torch.arange(len(inputs[which])) != 3
    ours = run(cosine_partition, inputs, labels)
    exact = run(double(reference.cosine_partition), inputs, labels)
    for a, b in zip(ours[:2], exact[:2], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    if length < 1e-12:  # it has no direction
        assert (ours[2 + which][3] == 0).all()
    else:  # its gradient is as long as it is short
        torch.testing.assert_close(
            ours[2 + which][3] * length, exact[2 + which][3] * length, rtol=1e-3, atol=1e-3
        )
    torch.testing.assert_close(ours[2 + which][rest], exact[2 + which][rest], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("compute", FLOATS)
@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_gradients_of_any_size(compute, factor):
    """Slopes are operands: those of float16 are brought into its range, and back."""
    inputs, labels = problem(30, 20, 90, scale=8.0)
    upstream = torch.rand(2, 30)
    small = run(cosine_partition, inputs, labels, upstream, compute_dtype=compute)[2:]
    big = run(cosine_partition, inputs, labels, factor * upstream, compute_dtype=compute)[2:]
    for a, b in zip(small, big, strict=True):
        bound = 4 * torch.finfo(compute).eps * float(a.abs().max())
        torch.testing.assert_close(b / factor, a, rtol=1e-3, atol=bound)


def test_a_block_takes_several_tiles(monkeypatch):
    """9 tiles for the 3 blocks of the host run: shared memory is used again."""
    monkeypatch.setenv("HOST_RUN_CHUNK", "384")
    inputs, labels = problem(300, 8, 384)
    upstream = torch.randn(2, 300)
    ours = run(cosine_partition, inputs, labels, upstream)
    close(ours, run(double(reference.cosine_partition), inputs, labels, upstream))


@pytest.mark.large
def test_more_partial_sums_than_threads(monkeypatch):
    """A chunk a class: 1,100 partial sums of the scale's gradient for a block of 1,024."""
    monkeypatch.setenv("HOST_RUN_CHUNK", "1")
    inputs, labels = problem(3, 2, 1100)
    ours = run(cosine_partition, inputs, labels)
    close(ours, run(double(reference.cosine_partition), inputs, labels))


@pytest.mark.parametrize("transform", [(0.0, 1e4, 0.0), (3e3, 1.0, 0.0), (0.0, -1e4, 0.0)])
def test_slopes_of_a_steep_transform_fit_into_float16(transform):
    inputs, labels = problem(20, 9, 90, scale=1e-3)
    options = {"hard_threshold": torch.full((20,), 0.2), "hard_coefficients": transform}
    exact = run(cosine_partition, inputs, labels, **options)
    ours = run(cosine_partition, inputs, labels, compute_dtype=torch.float16, **options)
    for a, b in zip(ours[2:4], exact[2:4], strict=True):
        assert float((a - b).abs().max()) < 3e-2 * float(b.abs().max())


def test_one_gradient_scale_for_warps_whose_slopes_differ_in_size():
    inputs, labels = problem(1100, 8, 20, scale=8.0)  # more samples than a block has threads
    upstream = torch.ones(2, 1100)
    upstream[:, :32] = 1e-5
    upstream[:, 64:1024] = 1e5  # the rest is the first warps' again
    ours = run(cosine_partition, inputs, labels, upstream, compute_dtype=torch.float16)
    exact = run(double(reference.cosine_partition), inputs, labels, upstream)
    for rows in (slice(32), slice(32, 64), slice(64, 1024), slice(1024, 1100)):
        size = float(exact[2][rows].abs().max())
        # Slopes of the first ones are below the least number of float16, and lost in part.
        bound = 0.02 if rows.start else 1.0
        assert float((ours[2][rows] - exact[2][rows]).abs().max()) < bound * size


@pytest.mark.parametrize("scale", [1.0, 64.0, 500.0, -20.0])
@pytest.mark.parametrize("hard", [False, True])
def test_any_scale(scale, hard):
    inputs, labels = problem(18, 12, 300, scale=scale)
    options = {}
    if hard:
        options = {"hard_threshold": torch.rand(18) - 0.5, "hard_coefficients": (0.3, 1.1, 0.1)}
    exact_options = {k: torch.as_tensor(v).double() for k, v in options.items()}
    close(
        run(cosine_partition, inputs, labels, **options),
        run(double(reference.cosine_partition), inputs, labels, **exact_options),
        tolerance=1e-3,
    )


def test_logits_that_are_all_far_below_zero():
    """A peak that began at 0 would leave nothing of exp(-500)."""
    (embeddings, weight, scale), labels = problem(40, 8, 200, scale=500.0)
    direction = torch.randn(8)
    inputs = (direction + 0.05 * embeddings, 0.05 * weight - direction, scale)
    ours = run(cosine_partition, inputs, labels)
    exact = run(double(reference.cosine_partition), inputs, labels)
    assert float(exact[1].max()) < -400
    close(ours, exact, tolerance=1e-3)


def test_the_same_bits_in_every_run():
    inputs, labels = problem(70, 20, 600)
    first, second = (run(cosine_partition, inputs, labels) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert a.equal(b)


def test_the_log_sum_exp_of_parts_has_the_same_bits_in_any_grid(monkeypatch):
    """A chunk has 2 classes: 150 partial sums are merged in 3 parts, of two blocks of samples."""
    monkeypatch.setenv("HOST_RUN_CHUNK", "2")
    inputs, labels = problem(37, 8, 300, scale=64.0)
    inputs[1][290] = inputs[0][0]  # the peak of a sample is in the last part
    exact = double(reference.cosine_partition)(*inputs[:2], labels, inputs[2])[1]
    results = []
    for blocks in ("1", "2", "5", "100"):
        monkeypatch.setenv("HOST_RUN_MAX_BLOCKS", blocks)
        results.append(cosine_partition(*inputs[:2], labels, inputs[2])[1])
    torch.testing.assert_close(results[0], exact, rtol=0, atol=2e-5)
    for nlse in results[1:]:
        assert nlse.equal(results[0])


LAST = {"HOST_RUN_BLOCKS": "last", "HOST_RUN_MAX_BLOCKS": str(2**31 - 1)}


def test_the_last_tile_of_a_chunk_beyond_2_to_the_31(monkeypatch):
    """67,000 classes by 33,008 samples. Only the last block runs: little memory is touched."""
    for name, value in LAST.items():
        monkeypatch.setenv(name, value)
    rows, stride = 67_000, 33_008
    assert rows * stride > 2**31
    cosines = torch.empty(rows, stride)
    saved = torch.empty(rows, stride, dtype=torch.int16)
    labels = torch.full((stride,), -1)
    labels[-1] = 5 + rows - 1
    scale, target = torch.tensor(4.0), torch.zeros(stride)
    partials = torch.empty((rows + 127) // 128, 2, stride)
    tail = rows % 128  # of the last tile
    cosines[-tail:, -1] = torch.linspace(-1, 1, tail)
    torch.ops.fairloss_host_run.cosine_terms(cosines, labels, scale, 5, saved, target, partials)
    terms = 4 * cosines[-tail:-1, -1]
    assert target[-1] == 1
    assert partials[-1, 0, -1] == terms.max()
    torch.testing.assert_close(partials[-1, 1, -1], (terms - terms.max()).exp().sum())
    torch.testing.assert_close(
        saved[-tail:, -1] / 32767, cosines[-tail:, -1], rtol=0, atol=2**-16 + 1e-7
    )

    samples = torch.ones(3, stride)
    sums = torch.empty((rows + 127) // 128, (stride + 127) // 128, dtype=torch.float64)
    slopes = torch.empty(rows, stride)
    cosines[-tail:, -(stride % 128) :] = cosines[-tail:, -1:].clone()
    torch.ops.fairloss_host_run.slopes(cosines, labels, scale, 5, samples, slopes, sums)
    assert slopes[-1, -1] == 1  # the target's
    probability = (4 * cosines[-tail:-1, -1] - 1).clamp(max=0).exp()
    torch.testing.assert_close(slopes[-tail:-1, -1], 4 * probability)
