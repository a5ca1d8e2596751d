"""The fused product and the terms and slopes of its tiles, against float64 on the same operands."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize, pad

ops = torch.ops.fairloss_host_run
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
TILE_CLASSES = TILE_SAMPLES = 128
ONE = 32767  # of the fixed point that 16-bit products are saved in
FIRST = 1000  # the chunk's first class


def count(size, step):
    return -(-size // step)


def whole(size, step):
    return count(size, step) * step


def unit_rows(rows, padded, columns, dtype):
    """Return unit rows with padding, rounded to what a tensor core reads."""
    unit = normalize(torch.randn(rows, columns, dtype=torch.float64)).to(dtype)
    unit = pad(unit, (0, whole(columns, 32) - columns, 0, padded - rows))
    if dtype == torch.float32:
        unit = ((unit.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)
    return unit


class Problem:
    def __init__(self, dtype, rows, batch, columns=64, scale=64.0, hard=False):
        torch.manual_seed(rows + batch + columns)
        self.dtype, self.rows, self.batch, self.stride = dtype, rows, batch, whole(batch, 16)
        self.weight = unit_rows(rows, rows, columns, dtype)
        self.embeddings = unit_rows(batch, self.stride, columns, dtype)
        # Below, in and above the chunk; rows may end in the middle of a tile.
        self.labels = FIRST + torch.randint(-2, rows + 2, (batch,))
        self.labels[::5] = -1
        self.scale = torch.tensor(scale)
        self.threshold = self.coefficients = None
        if hard:  # some below 0, where absent rows and padding would be transformed too
            self.threshold = torch.linspace(-0.3, 0.3, batch)
            self.coefficients = torch.tensor([-0.4, 0.7, 0.25])

    def arguments(self):
        of_samples = self.labels, FIRST, self.scale, self.threshold, self.coefficients
        return self.weight, self.embeddings, *of_samples

    def terms(self, save=True):
        saved_dtype = torch.float32 if self.dtype == torch.float32 else torch.int16
        saved = torch.full((self.rows, self.stride), 77, dtype=saved_dtype) if save else None
        target_cosine = torch.full((self.batch,), 7.0)
        class_tiles = count(self.rows, TILE_CLASSES)
        partials = torch.full((class_tiles, 2, self.stride), 7.0)
        ops.fused_terms(*self.arguments(), saved, target_cosine, partials)
        return saved, target_cosine, partials

    def slopes(self, grad_target_cosine, grad_nlse, nlse):
        slopes = torch.full((self.rows, self.stride), 7.0, dtype=self.dtype)
        tiles = count(self.rows, TILE_CLASSES) * count(self.stride, TILE_SAMPLES)
        scale_partials = torch.full((tiles,), 7.0, dtype=torch.float64)
        ops.fused_slopes(
            *self.arguments(), grad_target_cosine, grad_nlse, nlse, slopes, scale_partials
        )
        return slopes, scale_partials

    # What is expected, (rows, batch) in float64.

    def products(self):
        return self.weight.double() @ self.embeddings[: self.batch].double().T

    def is_target(self):
        return FIRST + torch.arange(self.rows)[:, None] == self.labels

    def transform(self, cosine):
        """Return the hard-negative transform and its derivative."""
        if self.threshold is None:
            return cosine, torch.ones_like(cosine)
        a, b, d = self.coefficients.double()
        hard = cosine > self.threshold.double()
        value = torch.where(hard, a * cosine**2 + b * cosine + d, cosine)
        return value, torch.where(hard, 2 * a * cosine + b, 1.0)

    def logits(self):
        logits = self.scale.double() * self.transform(self.products())[0]
        return logits.masked_fill(self.is_target(), -torch.inf)


SHAPES = [  # rows, batch, columns, scale, hard
    (1, 3, 32, 64.0, True),
    (7, 16, 64, 64.0, False),
    (127, 120, 64, 500.0, False),
    (128, 128, 32, 64.0, True),
    (129, 130, 64, 64.0, False),
    (300, 144, 64, 64.0, True),
    (40, 20, 512, 500.0, True),
    (20, 10, 1000, 64.0, False),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_terms(dtype, shape):
    problem = Problem(dtype, *shape)
    saved, target_cosine, partials = problem.terms()
    one, step = (1, 1e-6) if dtype == torch.float32 else (ONE, 0.51)
    cosines = saved[:, : problem.batch].double()
    torch.testing.assert_close(cosines, one * problem.products(), rtol=0, atol=step)
    assert not saved[:, problem.batch :].any()

    logits = problem.logits()
    for tile, rows in enumerate(logits.split(TILE_CLASSES)):
        peak, total = partials[tile, :, : problem.batch].double()
        torch.testing.assert_close(peak, rows.amax(0), rtol=1e-6, atol=1e-4)
        relative = (rows - peak.nan_to_num(neginf=0.0)).exp().sum(0)
        torch.testing.assert_close(total, relative, rtol=3e-4, atol=0)

    has_target = problem.is_target().any(0)
    expected = torch.where(problem.is_target(), problem.products(), 0.0).sum(0).float()
    torch.testing.assert_close(target_cosine[has_target], expected[has_target], rtol=0, atol=1e-6)
    assert (target_cosine[~has_target] == 7).all()

    unsaved = problem.terms(save=False)
    assert unsaved[1].equal(target_cosine)
    assert unsaved[2].equal(partials)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_slopes(dtype, shape):
    problem = Problem(dtype, *shape)
    logits, scale = problem.logits(), problem.scale.double()
    # Such that terms are probabilities, as they are in a backward pass.
    nlse = logits.logsumexp(0).float().nan_to_num(neginf=torch.inf)
    upstream = [
        pad(x, (0, problem.stride - problem.batch)) for x in (*torch.randn(2, len(nlse)), nlse)
    ]
    grad_target_cosine, grad_nlse, _ = (x[: problem.batch].double() for x in upstream)
    slopes, scale_partials = problem.slopes(*upstream)

    value, slope = problem.transform(problem.products())
    term = grad_nlse * (logits - nlse.double()).exp()  # 0 at targets
    expected = torch.where(problem.is_target(), grad_target_cosine, term * scale * slope)
    rounding = {torch.bfloat16: 2**-8, torch.float16: 2**-10, torch.float32: 3e-4}[dtype]
    ours = slopes[:, : problem.batch].double()
    torch.testing.assert_close(ours, expected, rtol=1.2 * rounding, atol=1e-7)
    assert not slopes[:, problem.batch :].any()

    grad_scale = pad(
        term * value, (0, -problem.batch % TILE_SAMPLES, 0, -problem.rows % TILE_CLASSES)
    )
    blocks = grad_scale.unfold(0, TILE_CLASSES, TILE_CLASSES).unfold(1, TILE_SAMPLES, TILE_SAMPLES)
    torch.testing.assert_close(scale_partials, blocks.sum((2, 3)).flatten(), rtol=3e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_nan_class_makes_all_samples_nan_except_its_own(dtype):
    problem = Problem(dtype, 140, 20)
    clean = problem.terms()
    problem.weight[135] = torch.nan
    problem.labels[3] = FIRST + 135
    saved, target_cosine, partials = problem.terms()
    others = torch.arange(20) != 3
    assert partials[0].equal(clean[2][0])
    assert partials[1, 0, :20].isfinite().all()  # the greatest of the others
    assert partials[1, 1, :20].isnan().equal(others)
    assert target_cosine.isnan().nonzero().tolist() == [[3]]
    assert not saved[:, 20:].any()
    invalid = saved[135, :20]
    assert invalid.isnan().all() if dtype == torch.float32 else (invalid == -32768).all()

    upstream = [pad(torch.full((20,), x), (0, 12)) for x in (0.5, 0.25, 60.0)]
    slopes, scale_partials = problem.slopes(*upstream)
    assert slopes[:135].isfinite().all()
    assert slopes[135, :20].isnan().equal(others)
    assert slopes[135, 3] == 0.5
    assert not slopes[:, 20:].any()
    assert scale_partials.isnan().tolist() == [False, True]


def test_a_sample_whose_only_class_is_its_target_has_no_terms():
    problem = Problem(torch.bfloat16, 1, 2)
    problem.labels[:] = torch.tensor([FIRST, -1])
    _, _, partials = problem.terms()
    assert partials[0, :, 0].tolist() == [-torch.inf, 0.0]
    assert partials[0, 1, 1] == 1


def test_cosines_beyond_one_are_saved_as_one():
    problem = Problem(torch.float16, 130, 16)
    problem.weight[:16] = problem.embeddings * 1.01
    problem.weight[16:32] = -problem.weight[:16]
    problem.labels[:] = -1
    saved = problem.terms()[0]
    assert saved[:16].diagonal().eq(ONE).all()
    assert saved[16:32].diagonal().eq(-ONE).all()


def test_the_end_of_matrices_of_more_than_2_to_the_31_elements(monkeypatch):
    """Only the last tile runs, so that little memory is touched."""
    monkeypatch.setenv("HOST_RUN_BLOCKS", "last")
    monkeypatch.setenv("HOST_RUN_MAX_BLOCKS", str(2**31 - 1))
    rows, batch = 2**23 + 37, 272
    small = Problem(torch.bfloat16, 37, batch, 512)
    last, sample = rows - 37, 256 + 11  # the last tile has 37 classes and 16 samples
    small.labels[:] = -1
    small.labels[sample] = FIRST + 5
    large = object.__new__(Problem)
    large.__dict__ |= small.__dict__ | {"rows": rows, "labels": small.labels + last}
    large.weight = torch.empty(rows, 512, dtype=torch.bfloat16)
    large.weight[last:] = small.weight
    upstream = torch.randn(batch), torch.rand(batch), torch.full((batch,), 60.0)

    outputs = []
    for problem in (small, large):
        saved = torch.empty(problem.rows, batch, dtype=torch.int16)
        slopes = torch.empty(problem.rows, batch, dtype=torch.bfloat16)
        target_cosine = torch.zeros(batch)
        class_tiles = count(problem.rows, TILE_CLASSES)
        partials = torch.empty(class_tiles, 2, batch)
        grad_scale = torch.empty(class_tiles * 3, dtype=torch.float64)
        ops.fused_terms(*problem.arguments(), saved, target_cosine, partials)
        ops.fused_slopes(*problem.arguments(), *upstream, slopes, grad_scale)
        matrices = [x[-37:, 256:] for x in (saved, slopes)]
        outputs.append([*matrices, target_cosine, partials[-1, :, 256:], grad_scale[-1:]])
    assert outputs[0][2].nonzero().tolist() == [[sample]]
    for ours, expected in zip(*outputs[::-1], strict=True):
        assert ours.equal(expected)
