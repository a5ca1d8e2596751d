"""Losses under torch.utils.checkpoint: as without it, in value, gradient and state."""

from __future__ import annotations

import copy
import pickle
import re

import pytest
import torch
from head_cases import CASES
from torch.utils.checkpoint import checkpoint

from fairloss.heads import AdaCos, AdaFace, ArcFace, CenterLoss, ElasticFace, RingLoss, UniformFace

CLASSES, DIM, BATCH = 40, 8, 12
COSINE = ["FairLoss", "AdaCos", "AdaFace", "CurricularFace", "ElasticFace", "LDAM"]
LOSSES = (
    {name: lambda case=case: case.make(CLASSES, DIM) for name, case in CASES.items()}
    | {
        f"{name} sampled": lambda name=name: CASES[name].make(CLASSES, DIM, sample_rate=0.2)
        for name in COSINE
    }
    | {
        "CenterLoss": lambda: CenterLoss(CLASSES, DIM),
        "UniformFace": lambda: UniformFace(CLASSES, DIM),
        "RingLoss": RingLoss,
    }
)
MOVING = ["AdaCos", "AdaFace sampled", "CurricularFace", "LSoftmax", "CenterLoss", "UniformFace"]
REENTRANT = pytest.mark.parametrize("reentrant", [False, True])


def batches(number=3):
    torch.manual_seed(5)
    return [
        (3 * torch.randn(BATCH, DIM), torch.randint(0, CLASSES, (BATCH,))) for _ in range(number)
    ]


def orders(losses):
    """Backward passes of one sum, in the order of the losses, in the opposite one, and twice."""

    def both():
        sum(losses).backward(retain_graph=True)
        sum(losses).backward()

    return {
        "sum": lambda: sum(losses).backward(),
        "first to last": lambda: [loss.backward() for loss in losses],
        "last to first": lambda: [loss.backward() for loss in reversed(losses)],
        "twice": both,
    }


def results(make, passes, reentrant=None, order="sum", whole=False, **options):
    """Gradients after some passes, and values, state and the next random number."""
    torch.manual_seed(2)
    model, loss = torch.nn.Linear(DIM, DIM), make()

    def run(x, y):
        return loss(model(x), y)

    torch.manual_seed(3)
    values = []
    for x, y in passes:
        x = x.clone().requires_grad_()  # a reentrant checkpoint needs an input with gradient
        if reentrant is None:
            values.append(run(x, y))
        elif whole:
            values.append(checkpoint(run, x, y, use_reentrant=reentrant, **options))
        else:
            values.append(checkpoint(loss, model(x), y, use_reentrant=reentrant, **options))
    orders(values)[order]()
    gradients = [p.grad for p in (*model.parameters(), *loss.parameters())]
    gradients = [g.to_dense() if g is not None else None for g in gradients]
    return gradients, [*values, *loss.buffers(), torch.rand(1)]


def assert_same(actual, expected):
    # Gradients of several passes are summed in another order.
    torch.testing.assert_close(actual[0], expected[0], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(actual[1], expected[1], rtol=0, atol=0)


@pytest.mark.parametrize("name", list(LOSSES))
def test_gradients_and_state_are_those_without_checkpoint(name):
    passes = batches()
    expected = results(LOSSES[name], passes)
    for reentrant, whole in ((False, False), (False, True), (True, True)):
        assert_same(results(LOSSES[name], passes, reentrant, whole=whole), expected)


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("order", ["first to last", "last to first", "twice"])
@REENTRANT
def test_the_order_of_the_backward_passes_does_not_matter(name, reentrant, order):
    (x, y), (z, _), _ = batches()
    passes = [(x, y), (z, y), (x, y)]  # the same labels, and the same embeddings too
    expected = results(LOSSES[name], passes, order=order)
    assert_same(results(LOSSES[name], passes, reentrant, order), expected)


@pytest.mark.parametrize("name", MOVING)
@REENTRANT
def test_two_calls_in_one_checkpoint_are_distinguished(name, reentrant):
    (x, y), (z, _), _ = batches()

    def views(loss):
        return lambda a, b: loss(a, y) + 2 * loss(b, y)

    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(1)
        loss, a, b = LOSSES[name](), x.clone().requires_grad_(), z.clone().requires_grad_()
        for _ in range(2):
            run = views(loss)
            value = checkpoint(run, a, b, use_reentrant=reentrant) if checkpointed else run(a, b)
            value.backward()
        gradients.append(([a.grad, b.grad], list(loss.buffers())))
    assert_same(*gradients)


@REENTRANT
def test_drawn_margins_are_repeated_without_the_state_of_the_generator(reentrant):
    def make():
        return ElasticFace(CLASSES, DIM)

    passes = batches()
    expected = results(make, passes)
    assert_same(results(make, passes, reentrant, preserve_rng_state=False), expected)


@pytest.mark.parametrize("name", list(LOSSES))
def test_eval_mode_moves_nothing(name):
    loss, ((x, y), *_) = LOSSES[name]().eval(), batches()
    before = copy.deepcopy(loss.state_dict())
    values = [(checkpoint(loss, x.requires_grad_(), y, use_reentrant=False)) for _ in range(2)]
    (sum(values) + 0 * x.sum()).backward()
    assert torch.equal(*values)
    for key, value in loss.state_dict().items():
        assert torch.equal(value, before[key])


def test_a_pass_that_is_not_remembered_is_refused():
    head, ((x, y), *_) = ArcFace(CLASSES, DIM, sample_rate=0.2), batches()
    x.requires_grad_().register_hook(lambda gradient: head(x + 1, y))
    loss = checkpoint(head, x, y, use_reentrant=False)
    with pytest.raises(RuntimeError, match="labels: expected those of one of the last 64 training"):
        loss.backward()
    assert head.step == 1


def test_passes_before_the_oldest_that_is_remembered_are_refused():
    (x, y), *_ = batches()
    loss = CenterLoss(CLASSES, DIM)
    inputs = [(x + number).requires_grad_() for number in range(5)]
    values = [checkpoint(loss, one, y, use_reentrant=True) for one in inputs]
    values[1].backward()
    with pytest.raises(RuntimeError, match="one of the last 4 training"):
        values[0].backward()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_remembers_no_pass(copied):
    head, ((x, y), *_) = AdaCos(CLASSES, DIM), batches()
    with torch.no_grad():
        head(x, y)
    assert pickled_size(copied(head)) == pickled_size(AdaCos(CLASSES, DIM))


def pickled_size(head):
    """Return the length of a pickle without the addresses of storages, whose digits vary."""
    return len(re.sub(rb"\d{9,}", b"", pickle.dumps(head)))


STATEFUL = [name for name, make in LOSSES.items() if {*make().moving} & {*make()._buffers}]


def slow_but(names, fast):
    return [n if n in fast else pytest.param(n, marks=pytest.mark.slow) for n in names]


@pytest.mark.parametrize("name", slow_but(STATEFUL, ["CenterLoss"]))
@REENTRANT
def test_a_loss_that_is_compiled_alone_is_refused_before_its_state_moves_twice(name, reentrant):
    (x, y), *_ = batches()
    loss, once = LOSSES[name](), LOSSES[name]()
    once.load_state_dict(loss.state_dict())
    once(x, y)
    compiled = torch.compile(loss, backend="eager")
    value = checkpoint(compiled, x.requires_grad_(), y, use_reentrant=reentrant)
    with pytest.raises(RuntimeError, match=f"{type(loss).__name__}: expected a call outside of"):
        value.backward()
    for name, buffer in once.named_buffers():
        torch.testing.assert_close(loss.get_buffer(name), buffer)


@pytest.mark.parametrize("name", slow_but(STATEFUL, ["AdaCos"]))
def test_a_compiled_function_that_holds_the_checkpoint_is_as_without(name):
    gradients = []
    for compiled in (False, True):
        (x, y), *_ = batches()
        torch.manual_seed(1)
        loss, x = LOSSES[name](), x.requires_grad_()

        def run(x, y, loss=loss):
            return checkpoint(loss, 2 * x, y, use_reentrant=False)

        (torch.compile(run, backend="aot_eager")(x, y) if compiled else loss(2 * x, y)).backward()
        gradients.append(([x.grad], list(loss.buffers())))
    assert_same(*gradients)


def test_plain_training_remembers_nothing():
    head, ((x, y), *_) = AdaFace(CLASSES, DIM), batches()
    head(x.requires_grad_(), y).backward()
    assert not head._recomputation._passes


def test_centered_embeddings_that_differ_by_rounding_are_recognized():
    head = AdaFace(10, 64)
    labels = torch.arange(8)
    noise = iter((0.0, 1e-7))

    def losses(x):
        rows = torch.nn.functional.layer_norm(x, (64,))
        return head(rows * (1 + next(noise) * torch.randn(8, 64)), labels)

    checkpoint(losses, torch.randn(8, 64, requires_grad=True), use_reentrant=False).backward()
    assert head.norm_mean < 20
