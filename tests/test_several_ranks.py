"""Statistics of the images of several ranks, beside those of one process."""

from __future__ import annotations

import pytest
import torch
from torch import distributed, multiprocessing
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from fairloss.metrics import ClassStatistics
from fairloss_ext import class_statistics

IMAGES, CLASSES, DIM = 37, 7, 6


def refusal(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except ValueError as error:
        return str(error)
    return "no error"


def labeled_images():
    """Embeddings and labels: a class without images, and images without a class."""
    generator = torch.Generator().manual_seed(5)
    embeddings = torch.randn(IMAGES, DIM, generator=generator)
    embeddings[3] = 0
    return embeddings, torch.randint(-1, CLASSES - 1, (IMAGES,), generator=generator)


def streamed(batches, **options):
    """Statistics of batches, and the state of this rank before and after they are computed."""
    statistics = ClassStatistics(CLASSES, DIM, **options)
    for batch in batches:
        statistics.update(*batch)
    before = statistics.sums.clone(), statistics.counts.clone()
    result = statistics.compute(batches)
    return result, before, (statistics.sums, statistics.counts)


def statistics_of(rank, world):
    """Statistics of all ranks from parts of the images, one of them maybe without any."""
    group, (embeddings, labels) = distributed.group.WORLD, labeled_images()
    results = {}
    for name, cuts in {"uneven": [0, 5, 20, 30, IMAGES], "empty": [0, IMAGES]}.items():
        bounds = [*cuts[:world], IMAGES, IMAGES, IMAGES]
        part = slice(bounds[rank], bounds[rank + 1])
        batches = list(zip(embeddings[part].split(4), labels[part].split(4), strict=True))
        results[name] = streamed(batches, process_group=group)
    for shuffle in (False, True):
        data = TensorDataset(embeddings, labels)
        sampler = DistributedSampler(data, shuffle=shuffle)
        batches = list(DataLoader(data, batch_size=4, sampler=sampler))
        results["padded", shuffle] = streamed(batches, process_group=group, images=len(data))
    return results


def statistics_errors(rank):
    statistics = ClassStatistics(CLASSES, DIM, process_group=distributed.group.WORLD)
    batch = labeled_images()
    statistics.update(*batch)
    return [
        refusal(statistics.compute, None if rank else [batch]),
        refusal(statistics.compute, [batch] * (1 + rank)),
    ]


def work(rank, world, folder):
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    results = {"statistics": statistics_of(rank, world), "errors": statistics_errors(rank)}
    distributed.destroy_process_group()
    torch.save(results, f"{folder}/{rank}.pt")


@pytest.fixture(
    scope="module", params=[2, *(pytest.param(ranks, marks=pytest.mark.slow) for ranks in (3, 4))]
)
def results(request, tmp_path_factory):
    """The results of each rank."""
    folder = tmp_path_factory.mktemp("ranks")
    multiprocessing.spawn(work, (request.param, str(folder)), nprocs=request.param)
    return [torch.load(folder / f"{n}.pt", weights_only=False) for n in range(request.param)]


def test_statistics_are_those_of_the_images_of_all_ranks(results):
    """Padding of a sampler is counted once: 37 images are no multiple of the ranks."""
    expected = class_statistics(*labeled_images(), CLASSES)
    for name in results[0]["statistics"]:
        first = results[0]["statistics"][name][0]
        torch.testing.assert_close(first, expected, rtol=1e-6, atol=1e-6, equal_nan=True)
        for result in results[1:]:  # to the bit
            statistics = result["statistics"][name][0]
            torch.testing.assert_close(statistics, first, rtol=0, atol=0, equal_nan=True)


def test_statistics_do_not_change_the_state_of_a_rank(results):
    for result in results:
        for _, before, after in result["statistics"].values():
            torch.testing.assert_close(after, before, rtol=0, atol=0)


def test_every_rank_gets_the_error_of_a_second_pass(results):
    labeled = int((labeled_images()[1] >= 0).sum())
    ranks = len(results)
    for result in results:
        missing, other = result["errors"]
        assert (
            missing == f"second_pass: expected one on all ranks or on none, got one on 1 of {ranks}"
        )
        assert f"got {labeled * sum(range(1, ranks + 1))} images" in other
