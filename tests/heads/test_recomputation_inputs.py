"""A forward pass that torch recomputes gives what the plain one gives, and moves state once."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.utils.checkpoint import checkpoint

from fairloss import heads
from fairloss.optim import RowSGD

CLASSES, DIM, BATCH = 40, 16, 12


def plain(function, *arguments):
    return function(*arguments)


recomputed = partial(checkpoint, use_reentrant=False)
reentrant = partial(checkpoint, use_reentrant=True)


def batch(seed, length=30.0):
    generator = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(BATCH, DIM, generator=generator)
    labels = torch.randint(0, CLASSES, (BATCH,), generator=generator)
    return (length * nn.functional.normalize(embeddings)).requires_grad_(), labels


def state(module):
    return {name: value.clone() for name, value in module.named_buffers()}


def gradients(*roots):
    grads = [root.grad for root in roots]
    return [grad.to_dense() if grad.is_sparse else grad.clone() for grad in grads]


def assert_same(ours, right):
    """Losses, gradients and buffers, each a list or a dict of tensors."""
    for part, right_part in zip(ours, right, strict=True):
        torch.testing.assert_close(part, right_part, rtol=1e-5, atol=1e-7)


def both(head, train, tool):
    """Results of `train(head, call)` with `call` a tool, and with a plain call of a copy."""
    right = copy.deepcopy(head)
    return train(head, tool), train(right, plain)


def one_batch(head, call):
    embeddings, labels = batch(1)
    loss = call(head, embeddings, labels)
    loss.backward()
    return [loss.detach()], gradients(embeddings, *head.parameters()), state(head)


def test_adaface_follows_two_microbatches_in_order_and_once_each():
    def train(head, call):
        (x, y), (other_x, other_y) = batch(1, length=15), batch(2, length=45)
        first, second = call(head, x, y), call(head, other_x, other_y)
        ((first + second) / 2).backward()
        losses = [first.detach(), second.detach()]
        return losses, gradients(x, other_x, head.weight), state(head)

    ours, right = both(heads.AdaFace(CLASSES, DIM, momentum=0.5), train, recomputed)
    assert_same(ours, right)
    # from 20 by halves of the way, first to 15 and then to 45
    torch.testing.assert_close(ours[2]["norm_mean"], torch.tensor(31.25))


def test_curricularface_moves_t_once_under_the_reentrant_tool():
    head = heads.CurricularFace(CLASSES, DIM, momentum=0.3)
    embeddings, labels = batch(1)
    x, w = embeddings.detach().double(), head.weight.detach().double()
    mean = nn.functional.cosine_similarity(x, w[labels]).mean()
    ours, right = both(head, one_batch, reentrant)
    assert_same(ours, right)
    torch.testing.assert_close(ours[2]["t"].double(), 0.7 * mean, rtol=1e-4, atol=1e-7)


def test_lsoftmax_anneals_once_where_the_backbone_is_recomputed_too():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = nn.Sequential(nn.Linear(DIM, DIM), nn.ReLU(), nn.Linear(DIM, DIM))
            self.head = heads.LSoftmax(CLASSES, DIM, base=5.0, gamma=1.0, power=1.0)

        def forward(self, inputs, labels):
            return self.head(self.backbone(inputs), labels)

    def train(net, call):
        losses, grads = [], []
        for seed in (1, 2, 3):
            inputs, labels = batch(seed)
            net.zero_grad()
            loss = call(net, inputs, labels)
            loss.backward()
            losses.append(loss.detach())
            grads += gradients(*net.parameters())
        return losses, grads, state(net)

    ours, right = both(Net(), train, recomputed)
    assert_same(ours, right)
    assert ours[2]["head.step"] == 3


def test_uniformface_moves_its_centers_once():
    head = heads.UniformFace(CLASSES, DIM)
    before, (embeddings, labels) = head.centers.clone().double(), batch(1)
    ours, right = both(head, one_batch, recomputed)
    assert_same(ours, right)
    for label in labels.unique():
        rows, center = embeddings.detach().double()[labels == label], before[label]
        after = center - 0.5 * (center - rows).sum(dim=0) / (1 + len(rows))
        torch.testing.assert_close(ours[2]["centers"][label].double(), after, rtol=1e-5, atol=1e-6)


def test_center_loss_keeps_the_gradient_to_the_centers_before_the_batch():
    loss = heads.CenterLoss(CLASSES, DIM, weight=2.0, reduction="sum")
    loss.centers.normal_()
    before, (embeddings, labels) = loss.centers.clone(), batch(1)
    ours, right = both(loss, one_batch, recomputed)
    assert_same(ours, right)
    expected = 2 * (embeddings.detach() - before[labels])
    torch.testing.assert_close(ours[1][0], expected)


@pytest.mark.parametrize("seed", [0, 3])
def test_two_views_with_the_same_labels_each_keep_their_drawn_classes(seed):
    def train(head, call):
        view, labels = batch(1)
        other = view.detach().flip(1).requires_grad_()
        first, second = call(head, view, labels), call(head, other, labels)
        second.backward()  # in the reverse order
        first.backward()
        losses = [first.detach(), second.detach()]
        return losses, gradients(view, other, head.weight), state(head)

    head = heads.ArcFace(CLASSES, DIM, sample_rate=0.2, sample_seed=seed)
    ours, right = both(head, train, recomputed)
    assert_same(ours, right)
    assert ours[2]["step"] == 2


def test_adacos_keeps_its_scale_where_one_graph_goes_backward_twice():
    def train(head, call):
        embeddings, labels = batch(1)
        loss = call(head, embeddings, labels)
        loss.backward(retain_graph=True)
        once = gradients(embeddings, head.weight)
        loss.backward()
        return [loss.detach()], once + gradients(embeddings, head.weight), state(head)

    ours, right = both(heads.AdaCos(CLASSES, DIM), train, recomputed)
    assert_same(ours, right)
    for once, twice in zip(ours[1][:2], ours[1][2:], strict=True):
        torch.testing.assert_close(twice, 2 * once)


def test_elasticface_plus_pairs_the_same_drawn_margins():
    def train(head, call):
        torch.manual_seed(4)
        return one_batch(head, call)

    head = heads.ElasticFace(CLASSES, DIM, sigma=0.3, plus=True)
    assert_same(*both(head, train, recomputed))


def test_three_accumulated_steps_of_sampled_classes_train_the_same_weights():
    def train(head, call):
        optimizer = RowSGD(head.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
        losses = []
        for step in range(3):
            optimizer.zero_grad()
            parts = [call(head, *batch(10 * step + part)) for part in range(2)]
            sum(parts).backward()
            optimizer.step()
            losses += [part.detach() for part in parts]
        return losses, [head.weight.detach()], state(head)

    head = heads.CosFace(CLASSES, DIM, scale=16.0, sample_rate=0.3, sample_seed=1)
    ours, right = both(head, train, recomputed)
    assert_same(ours, right)
    assert ours[2]["step"] == 6


def _rank(rank, store, results):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    embeddings, labels = batch(1)
    half = slice(BATCH // 2 * rank, BATCH // 2 * (rank + 1))
    loss = heads.CenterLoss(CLASSES, DIM)
    loss(embeddings[half], labels[half])
    torch.save(loss.centers, f"{results}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_centers_over_two_ranks_are_those_of_the_global_batch(tmp_path):
    mp.spawn(_rank, (str(tmp_path / "store"), str(tmp_path)), nprocs=2)
    one = heads.CenterLoss(CLASSES, DIM)
    one(*batch(1))
    for rank in range(2):
        torch.testing.assert_close(torch.load(tmp_path / f"{rank}.pt"), one.centers)
