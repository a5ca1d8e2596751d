"""One contract for all heads: what they accept, and what they do with it."""

from __future__ import annotations

import copy
import pickle
import re
import warnings

import numpy as np
import pytest
import torch
from contract_cases import BATCH, DIM, EVERY, IGNORED, LABELS, ONCE, REGULARIZERS, make, rows, run
from head_cases import CASES
from oracles import worst

from fairloss import heads


@EVERY
def test_labels_of_any_integer_dtype_and_as_a_column(name):
    expected = run(make(name), rows(), LABELS)
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16):
        assert torch.equal(run(make(name), rows(), LABELS.to(dtype)), expected)
    assert torch.equal(run(make(name), rows(), LABELS[:, None].int()), expected)


@EVERY
def test_ignore_index_is_ignored_as_minus_1_is(name):
    expected = run(make(name), rows(), IGNORED)
    for index, dtype in ((-100, torch.int64), (255, torch.uint8)):
        labels = IGNORED.masked_fill(IGNORED < 0, index).to(dtype)
        assert torch.equal(run(make(name, ignore_index=index), rows(), labels), expected)
    assert torch.equal(run(make(name, ignore_index=-100), rows(), IGNORED), expected)


@EVERY
def test_what_is_no_tensor_of_the_kind_is_named(name):
    head = make(name)
    integers, floats = "a tensor of integers", "a tensor of floating-point numbers"
    for arguments, message in (
        ((rows(), LABELS.numpy()), f"labels: expected {integers}, got numpy.ndarray"),
        ((rows(), LABELS.tolist()), f"labels: expected {integers}, got list"),
        ((rows(), LABELS > 0), f"labels: expected {integers}, got torch.bool"),
        ((rows().numpy(), LABELS), f"embeddings: expected {floats}, got numpy.ndarray"),
        ((rows(), LABELS, (LABELS, LABELS)), "sample_weights: expected a tensor, got tuple"),
        ((rows(), LABELS[:, None].repeat(1, 2)), "labels: expected shape (6,), got (6, 2)"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            head(*arguments)
    with pytest.raises(ValueError, match=r"embeddings: expected shape .*, got \(6, 3, 1, 1\)"):
        head(rows()[..., None, None], LABELS)
    if not isinstance(head, (heads.AdaFace, heads.MagFace)):
        with pytest.raises(ValueError, match=f"norms: expected none, as {type(head).__name__}"):
            head(rows(), LABELS, norms=torch.ones(BATCH))


@EVERY
def test_strides_do_not_matter(name):
    apart = torch.zeros(BATCH, 2 * DIM)
    apart[:, ::2] = rows()
    labels = LABELS.repeat_interleave(2)[::2]
    assert torch.equal(run(make(name), apart[:, ::2], labels), run(make(name), rows(), LABELS))


@ONCE
@pytest.mark.parametrize("cast", [False, True])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-6), (torch.float32, 1e-4), (torch.float16, 0.02), (torch.bfloat16, 0.1)],
)
def test_any_precision_is_close_to_float64(name, dtype, tolerance, cast):
    """The dtype of the embeddings decides the accuracy; that of the module need not be theirs."""
    embeddings = rows().to(dtype).requires_grad_()
    plain = {"sigma": 0.0} if name.startswith("Elastic") else {}
    head = make(name, **plain)
    if cast and dtype == torch.float64:
        head.double()
    expected = run(make(name, **plain).double(), embeddings.detach().double(), LABELS)
    with torch.autocast("cpu", torch.bfloat16, enabled=cast and dtype != torch.float64):
        loss = run(head, embeddings, LABELS)
    loss.backward()
    assert worst(loss, expected) < tolerance
    assert embeddings.grad.dtype == dtype
    assert embeddings.grad.isfinite().all()
    if dtype == torch.float64:
        assert loss.dtype == dtype


# Their gradient is not that of the value: a slope of 1, or a margin that is a constant of it.
STRAIGHT_THROUGH = ("SphereFaceR", "SphereFace2")


@pytest.mark.parametrize("name", [n for n in [*CASES, *REGULARIZERS] if n not in STRAIGHT_THROUGH])
def test_gradients_in_float64_are_those_of_the_value(name):
    head = make(name, **({"sigma": 0.0} if name.startswith("Elastic") else {})).double()
    head.reduction = "sum"
    head.train(isinstance(head, heads.UniformFace))
    length = 120.0 if name == "AdaFace" else 12.0  # AdaFace's margin is constant beyond 100
    if isinstance(head, heads.RingLoss):
        head.radius.data.fill_(1.0)
    parameters = dict(head.named_parameters())
    buffers = dict(head.named_buffers())

    def loss(embeddings, *values):
        state = {key: value.clone() for key, value in buffers.items()}
        state |= dict(zip(parameters, values, strict=True))
        return torch.func.functional_call(head, state, (embeddings, IGNORED))

    inputs = rows(length).double().requires_grad_(), *parameters.values()
    assert torch.autograd.gradcheck(loss, inputs)


@pytest.mark.parametrize("head", [heads.AdaFace, heads.MagFace])
def test_unit_vectors_with_norms_are_the_raw_embeddings(head):
    norms = torch.linspace(8, 90, BATCH)
    units = rows(1.0)
    raw = (units * norms[:, None]).requires_grad_()
    both = [make(head.__name__) for _ in range(2)]
    expected = both[0](raw, LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss = both[1](units, LABELS.int(), norms=norms[:, None].double())
    torch.testing.assert_close(loss.float(), expected, rtol=1e-5, atol=0)
    for a, b in zip(both[0].buffers(), both[1].buffers(), strict=True):
        torch.testing.assert_close(a, b)
    with pytest.raises(ValueError, match=r"norms: expected shape \(6,\), got \(5,\)"):
        both[1](units, LABELS, norms=norms[:5])
    fresh = make(head.__name__)
    with pytest.warns(UserWarning, match=f"{head.__name__} reads the norms .* norms="):
        fresh(units, LABELS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fresh(units, LABELS)
        make(head.__name__)(raw, LABELS)


@EVERY
def test_copies_and_pickles_continue_alike(name):
    head = make(name)
    run(head, rows(), LABELS)
    others = copy.deepcopy(head), pickle.loads(pickle.dumps(head))
    expected = run(head, rows(seed=6), LABELS)
    for other in others:
        assert torch.equal(run(other, rows(seed=6), LABELS), expected)


@pytest.mark.parametrize("name", [*CASES, "RingLoss"])  # the others have no parameters
def test_accumulated_gradients_are_those_of_one_batch(name):
    both = [make(name, reduction="sum").eval() for _ in range(2)]
    for head in both:
        if isinstance(head, heads.RingLoss):
            head.radius.data.fill_(1.0)
    both[0](rows(), LABELS).backward()
    for part in range(0, BATCH, 2):
        both[1](rows()[part : part + 2], LABELS[part : part + 2]).backward()
    for a, b in zip(both[0].parameters(), both[1].parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-3, atol=1e-4)
    assert torch.nn.utils.clip_grad_norm_(both[0].parameters(), 1.0).isfinite()


# Their loss of a sample depends on the others of its batch: on statistics of it, or on pairs.
OF_THE_BATCH = ("AdaCos", "CurricularFace", "UniformFace", "RingLoss", "Triplet")


@EVERY
@pytest.mark.parametrize("training", [False, True])
def test_a_batch_of_one_sample(name, training):
    plain = {"sigma": 0.0} if name.startswith("Elastic") else {}
    head = make(name, reduction="none", **plain).train(training)
    first = copy.deepcopy(head)
    embeddings, labels = rows()[1:2].requires_grad_(), LABELS[1:2]
    loss = run(head, embeddings, labels)
    if loss.requires_grad:  # UniformFace in eval mode is one of its buffers alone
        loss.sum().backward()
        roots = [embeddings, *head.parameters()]
        assert all(root.grad.isfinite().all() for root in roots if root.grad is not None)
    assert all(tensor.isfinite().all() for tensor in head.buffers())
    if name not in OF_THE_BATCH or (not training and name != "Triplet"):
        torch.testing.assert_close(loss, run(first, rows(), LABELS)[1:2], rtol=1e-4, atol=1e-5)
    if name in CASES and training and name != "AdaFace":  # whose formula has a deviation
        x, weight = embeddings.detach().double(), first.weight.detach().double()
        assert worst(loss, CASES[name].losses(first, x, weight, labels)) < 1e-4
    elif name in ("Triplet", "RingLoss"):  # no pair; the radius is the length of the sample
        assert loss == 0


def test_integer_operators_refuse_other_kinds():
    from fairloss_ext import distractor_ranks

    with pytest.raises(ValueError, match="probe_index: expected a tensor of integers, got torch.f"):
        distractor_ranks(rows(), rows(), np.array([0.5]), np.array([0.1], np.float32))
