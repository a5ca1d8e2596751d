"""Statistics, embeddings and commands of several ranks, beside those of one process."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from datetime import timedelta
from unittest import mock

import pytest
import torch
from cli_cases import write_agedb_list, write_checkpoint
from command import fairloss, succeed
from sharded_cases import refusal
from synthetic import write_folder
from torch import distributed, multiprocessing
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from fairloss.data import to_input
from fairloss.heads import CosFace
from fairloss.metrics import ClassStatistics
from fairloss.plan import PlanConfig, step_collectives
from fairloss.ranks import torchrun_ranks
from fairloss.threads import torch_threads
from fairloss.training.parallel import StepFlags, seed_step
from fairloss_ext import class_statistics

IMAGES, CLASSES, DIM = 37, 7, 6


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


def collectives_of_a_step():
    """Names and bytes of the collectives of a head, and those of the plan."""
    calls = []

    def record(name, call):
        def run(output, *given, **options):
            values = output if name == "all_reduce" else given[0]
            tensors = values if isinstance(values, list) else [values]
            calls.append((name, sum(each.nbytes for each in tensors)))
            return call(output, *given, **options)

        return run

    head = CosFace(10, 16, process_group=distributed.group.WORLD)
    with ExitStack() as stack:
        for name in ("all_gather", "all_reduce", "reduce_scatter"):
            call = record(name, getattr(distributed, name))
            stack.enter_context(mock.patch(f"torch.distributed.{name}", call))
        head(torch.randn(6, 16, requires_grad=True), torch.arange(6)).backward()
    config = PlanConfig(10, distributed.get_world_size(), embedding_size=16, batch_size=6)
    return calls, [(each.name, each.bytes) for each in step_collectives(config)]


def embed_options(folder, name):
    data = ("--data", folder / "faces", "--checkpoint", folder / "run/model.pt")
    return ("embed", *data, "--output", folder / name)


def pair_options(folder, name):
    data = ("--data", folder / "faces", "--checkpoint", folder / "run/model.pt")
    pairs = ("--pairs", folder / "pairs.txt", "--layout", "agedb")
    return ("evaluate", "pairs", *data, *pairs, "--output", folder / name)


def all_pair_options(folder, name):
    data = ("--data", folder / "faces", "--checkpoint", folder / "run/model.pt")
    return ("evaluate", "pairs", *data, "--output", folder / name)


COMMANDS = {"f.npy": embed_options, "pairs.json": pair_options, "all.json": all_pair_options}


def run_commands(folder, prefix):
    """The outputs on the terminal of each command, which writes `prefix-name`."""
    with ExitStack() as stack:
        for module in ("training.feature_file", "cli.evaluate._source"):
            stack.enter_context(mock.patch(f"fairloss.{module}.BATCH", 7))
        return {
            name: succeed(*options(folder, f"{prefix}-{name}")).stdout
            for name, options in COMMANDS.items()
        }


def stopped_and_resumed(folder, rank):
    """The error of a damaged image, and how many images this rank embeds after it."""
    image = folder / "faces/id3/015.png"
    if rank == 0:
        content = image.read_bytes()
        image.write_bytes(b"damaged")
    distributed.barrier()
    with mock.patch("fairloss.training.feature_file.BATCH", 5):
        stopped = fairloss(*embed_options(folder, "resumed.npy"))
        distributed.barrier()
        if rank == 0:
            image.write_bytes(content)
        distributed.barrier()
        with mock.patch("fairloss.models.embedding.to_input", wraps=to_input) as embedded:
            succeed(*embed_options(folder, "resumed.npy"))
    return stopped.stderr, sum(len(call.args[0]) for call in embedded.call_args_list)


def command_errors(folder, rank):
    """The errors of commands: of every rank, and of the first one, whose disk is full."""
    data, checkpoint = ("--data", folder / "faces"), ("--checkpoint", folder / "none.pt")
    names = "embed", "evaluate pairs"
    errors = {
        name: fairloss(*name.split(), *data, *checkpoint, "--output", folder / "errors/f.npy")
        for name in names
    }

    def fill(name):
        full = mock.Mock(side_effect=OSError("output: no space left") if rank == 0 else None)
        return mock.patch(f"fairloss.training.feature_file.{name}", full)

    for name in ("_write_rows", "write_manifest", "os.replace"):
        with fill(name):
            errors[name] = fairloss(*embed_options(folder, "errors/full.npy"))
    with fill("write_atomic"):
        errors["write_atomic"] = fairloss(*embed_options(folder, "errors/full"), "--suffix", ".bin")
    return {name: (done.returncode, done.stderr) for name, done in errors.items()}


def first_of_two_errors(rank):
    """The error of a rank that is the first to have one, or that has one after it."""
    try:
        with torchrun_ranks():
            if rank == 0:
                raise OSError("\udcff: no space left")  # of a path that is no UTF-8
            distributed.barrier()
            raise ValueError("lost connection")
    except Exception as error:
        if rank == 0:
            distributed.barrier()
        return type(error).__name__, str(error)


def step_flags(rank):
    """Flags that ranks share in a step: rank 0 is not finite, and all have a signal."""
    flags = StepFlags(torch.device("cpu"))
    flags.received = lambda: 2 + rank
    finite = flags.share(True), flags.share(rank != 0)
    seed_step(7, 3)
    return finite, flags.signal, float(torch.rand(()))


def work(rank, world, port, folder):
    torch.set_num_threads(1)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= address | {"RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": str(world)}
    refused = fairloss("data", "orl", folder / "orl").stderr
    if rank == 0:
        with mock.patch.dict(os.environ, WORLD_SIZE="1"), torchrun_ranks():
            pass  # alone, before there is a group
    # a rank that waits for one that has failed is an error
    with mock.patch("fairloss.ranks.TIMEOUT", timedelta(seconds=200)), torchrun_ranks():
        results = {
            "statistics": statistics_of(rank, world),
            "errors": statistics_errors(rank),
            "collectives": collectives_of_a_step(),
            "commands": run_commands(folder, "ranks"),
            "resumed": stopped_and_resumed(folder, rank),
            "refused": refused,
            "step flags": step_flags(rank),
            "command errors": command_errors(folder, rank),
            "first error": first_of_two_errors(rank),
        }
    assert not distributed.is_initialized()
    torch.save(results, folder / f"{rank}.pt")


@pytest.fixture(
    scope="module", params=[2, *(pytest.param(ranks, marks=pytest.mark.slow) for ranks in (3, 4))]
)
def folder(request, tmp_path_factory):
    """The files of this number of ranks."""
    folder = tmp_path_factory.mktemp("ranks")
    faces = write_folder(folder / "faces", [4] * 20, size=8)
    write_checkpoint(folder / "run", seed=0)
    write_agedb_list(faces, folder / "pairs.txt")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(work, (request.param, port, folder), nprocs=request.param)
    return folder


@pytest.fixture(scope="module")
def results(folder):
    """The results of each rank."""
    files = sorted(folder.glob("*.pt"))
    return [torch.load(file, weights_only=False) for file in files]


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


def test_collectives_of_a_step_are_those_of_the_plan(results):
    for result in results:
        counted, planned = result["collectives"]
        assert counted == planned


def test_commands_write_what_one_process_writes(folder, results):
    with torch_threads(1):  # as the ranks: bits depend on it
        expected = run_commands(folder, "one")
    for name in COMMANDS:
        assert (folder / f"ranks-{name}").read_bytes() == (folder / f"one-{name}").read_bytes()
    first, *others = (result["commands"] for result in results)
    shown = {name: text.replace("ranks-", "one-") for name, text in first.items()}
    assert shown == expected
    for outputs in others:
        assert not any(outputs.values())
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_an_image_that_one_rank_cannot_read_ends_all_which_resume(folder, results):
    stopped, embedded = zip(*(result["resumed"] for result in results), strict=True)
    reported = ["015.png: cannot be read as an image" in error for error in stopped]
    assert sum(reported) == 1
    before = 3 // len(results) * len(results) * 5  # in whole rounds before the fourth batch
    assert sum(embedded) == 80 - before
    whole, resumed = (folder / name for name in ("one-f.npy", "resumed.npy"))
    assert whole.read_bytes() == resumed.read_bytes()


def test_a_command_without_ranks_is_refused_in_several_processes(folder, results):
    first, *others = (result["refused"] for result in results)
    assert first.startswith("error: torchrun: expected one process, ")
    assert not any(others)
    assert not (folder / "orl").exists()


def test_ranks_share_the_flags_of_a_step_and_have_other_dropout(results):
    finite, signals, random = zip(*(result["step flags"] for result in results), strict=True)
    assert set(finite) == {(True, False)}
    assert set(signals) == {2 + len(results) - 1}
    assert len(set(random)) == len(results)


def test_an_error_of_a_command_ends_all_ranks_and_is_reported_once(results):
    for name in results[0]["command errors"]:
        codes, reports = zip(*(result["command errors"][name] for result in results), strict=True)
        assert set(codes) == {2}, name
        message = "no space left" if "_" in name or "." in name else "none.pt does not exist"
        assert message in "".join(reports)
        assert "".join(reports).count("error: ") == 1, reports


def test_a_rank_with_a_later_error_raises_the_first_one_of_another(results):
    first, *others = (result["first error"] for result in results)
    assert first == ("OSError", "\udcff: no space left")
    assert set(others) == {("RankError", "\\udcff: no space left")}
