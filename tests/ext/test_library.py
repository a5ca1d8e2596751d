"""The choice of kernels for a tensor, and the errors of torch that pass through an op."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import fairloss_ext
from fairloss_ext import _architectures, _library, margin_logits


@pytest.mark.parametrize(
    ("built", "capability", "covered"),
    [
        (["80"], (8, 0), True),
        (["80"], (8, 9), True),  # code for a smaller minor number
        (["86"], (8, 0), False),
        (["80"], (9, 0), False),  # another architecture, and no PTX
        (["80+PTX"], (9, 0), True),
        (["80+PTX"], (7, 5), False),
        (["80", "90", "100+PTX"], (12, 0), True),
        (["90a"], (9, 0), True),
        (["100a"], (10, 3), False),
        (["90a+PTX"], (10, 0), False),  # PTX with a letter is for that architecture only
        (["100f"], (10, 3), True),
        (["100f+PTX"], (12, 0), False),
        ([], (8, 0), False),
    ],
)
def test_a_build_covers_the_gpus_of_its_architectures(built, capability, covered):
    built = _architectures.parse(built)
    assert _architectures.covers(built, *capability) == covered
    compiled = torch.compile(
        lambda x: x + 1 if _architectures.covers(built, *capability) else x,
        backend="eager",
        fullgraph=True,
    )
    assert compiled(torch.zeros(1)).item() == covered


@pytest.mark.parametrize(
    ("built", "reason"),
    [
        ([], "built without CUDA kernels"),
        (["90"], r"no kernels for compute capability 7\.5"),
        (["75"], None),
    ],
)
def test_a_gpu_without_kernels_gets_plain_torch_and_a_warning(monkeypatch, built, reason):
    gpu = SimpleNamespace(major=7, minor=5)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: gpu)
    monkeypatch.setattr(_library, "failure", None)
    monkeypatch.setattr(_library, "_architectures", _architectures.parse(built))
    monkeypatch.setattr(_library, "_warned", False)
    monkeypatch.setitem(_library._devices, "margin_loss", frozenset({"cuda"}))
    tensor = SimpleNamespace(device=torch.device("cuda"))
    if reason is None:
        assert _library.serves("margin_loss", tensor)
        return
    with pytest.warns(RuntimeWarning, match=reason):
        assert not _library.serves("margin_loss", tensor)


@pytest.mark.skipif(_library.failure is not None, reason="plain torch runs")
def test_an_error_of_torch_keeps_its_message():
    """The size of the matrix in bytes is no int64."""
    cosine, labels = torch.zeros(1, 1).expand(4, 2**60), torch.zeros(4, dtype=torch.int64)
    has_message = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 13)  # of the error
    with pytest.raises(RuntimeError, match="overflow" if has_message else "may say on stderr why"):
        margin_logits(cosine, labels, 0.3)


@pytest.mark.parametrize(
    "message",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB.",
        "Allocation on device 0 would exceed allowed memory. (out of memory)",  # cudaMallocAsync
    ],
)
def test_out_of_memory_on_a_gpu_is_torch_s_own_exception(monkeypatch, message):
    def fail(*_):
        raise RuntimeError(message)

    monkeypatch.setattr(torch.ops.fairloss, "margin_loss", fail, raising=False)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        _library.call("margin_loss")
    assert str(caught.value) == message
    monkeypatch.setattr(torch.ops.fairloss, "margin_loss", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        _library.call("margin_loss")


MATRICES = {
    "embeddings": torch.ones(4, 3),
    "weight": torch.ones(5, 3),
    "labels": torch.tensor([0, 4, -1, 2]),
}
LOSS = {
    "target_cosine": torch.zeros(4),
    "negative_logsumexp": torch.zeros(4),
    "labels": torch.tensor([0, 4, -1, 2]),
    "margins": torch.zeros(5),
}
GOOD = {
    "cosine_partition": MATRICES,
    "margin_softmax_loss": MATRICES | {"margins": 0.5},
    "margin_loss": LOSS,
    "margin_logits": {
        "cosine": torch.zeros(4, 5),
        "labels": torch.tensor([0, 4, -1, 2]),
        "margins": torch.zeros(5),
    },
    "distractor_ranks": {
        "probes": torch.ones(2, 3),
        "distractors": torch.ones(5, 3),
        "probe_index": torch.tensor([1, 0]),
        "scores": torch.zeros(2),
    },
    "class_statistics": {
        "embeddings": torch.ones(4, 3),
        "labels": torch.tensor([0, 4, -1, 2]),
        "num_classes": 5,
    },
    "sampled_classes": {"labels": torch.tensor([0, 4]), "num_classes": 5, "samples": 3, "step": 0},
}
BAD_MATRICES = [
    {"embeddings": torch.ones(4, 5), "weight": torch.ones(7, 16)},
    {"embeddings": torch.ones(4, 3, dtype=torch.int64)},
    {"embeddings": torch.ones(3)},
    {"weight": torch.ones(5)},
    {"weight": torch.ones(5, 3, dtype=torch.int32)},
    {"weight": torch.ones(5, 1, 3)},
    {"labels": torch.tensor([0])},
    {"labels": torch.tensor([0, 5, 0, 0])},
    {"labels": torch.zeros(4)},
    {"scale": torch.ones(2)},
]
BAD = {
    "cosine_partition": [
        *BAD_MATRICES,
        {"hard_threshold": torch.zeros(4)},
        {"hard_coefficients": torch.zeros(3)},
        {"hard_threshold": torch.zeros(3), "hard_coefficients": torch.zeros(3)},
        {"hard_threshold": torch.zeros(4), "hard_coefficients": torch.zeros(2)},
    ],
    "margin_softmax_loss": [
        *BAD_MATRICES,
        {"margins": torch.zeros(4)},
        {"margins": None, "sample_margins": torch.zeros(3)},
    ],
    "margin_loss": [
        {"target_cosine": torch.zeros(2, 2)},
        {"target_cosine": torch.zeros(4).half()},
        {"target_cosine": torch.zeros(4).half(), "negative_logsumexp": torch.zeros(4).half()},
        {"negative_logsumexp": torch.zeros(3)},
        {"negative_logsumexp": torch.zeros(4).double()},
        {"labels": torch.tensor([0])},
        {"labels": torch.tensor([0, 5, 0, 0])},
        {"margins": None, "sample_margins": torch.zeros(3)},
        {"margins": None, "sample_margins": torch.zeros(3, 3)},
        {"groups": torch.tensor([0, 5, 0, 0, 0])},
    ],
    "margin_logits": [
        {"cosine": torch.zeros(4)},
        {"labels": torch.tensor([0])},
        {"labels": torch.tensor([0, 5, 0, 0])},
        {"groups": torch.tensor([0, 5, 0, 0, 0])},
    ],
    "distractor_ranks": [
        {"distractors": torch.ones(5, 4)},
        {"distractors": torch.ones(3)},
        {"distractors": torch.full((5, 3), torch.nan)},
        {"probes": torch.ones(2, 3, dtype=torch.int64)},
        {"probes": torch.full((2, 3), torch.inf)},
        {"probe_index": torch.tensor([0, 2])},
        {"probe_index": torch.tensor([[0], [1]])},
        {"probe_index": torch.tensor(0)},
        {"scores": torch.zeros(3)},
        {"scores": torch.tensor([0.0, torch.nan])},
        {"tail": 11},
    ],
    "class_statistics": [
        {"embeddings": torch.ones(3)},
        {"embeddings": torch.ones(4, 3, dtype=torch.int64)},
        {"labels": torch.tensor([0])},
        {"labels": torch.tensor([0, 5, 0, 0])},
        {"num_classes": 0},
    ],
    "sampled_classes": [
        {"labels": torch.tensor([0, 5])},
        {"labels": torch.zeros(2, 2, dtype=torch.int64)},
        {"num_classes": 0},
        {"samples": 6},
    ],
}


@pytest.mark.cpu_only
@pytest.mark.skipif(_library.failure is not None, reason="plain torch runs")
@pytest.mark.parametrize(("name", "change"), [(n, change) for n in BAD for change in BAD[n]])
def test_kernels_and_plain_torch_raise_the_same_error(monkeypatch, name, change):
    messages = []
    monkeypatch.setattr(_library, "_warned", True)
    for failure in (None, "not built"):
        monkeypatch.setattr(_library, "failure", failure)
        getattr(fairloss_ext, name)(**GOOD[name])
        with pytest.raises(ValueError, match=r"^\w+: expected .*, got ") as caught:
            getattr(fairloss_ext, name)(**(GOOD[name] | change))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
