from __future__ import annotations

import roofline
import torch
from torch.nn import functional as F

from fairloss_ext import distractor_ranks

LETTERS = "PDMT"
SIZES = [(500, 512, 50_000, 5000)]
FULL_SIZES = [(3530, 512, 1_000_000, 20_000)]  # FaceScrub's probes in MegaFace's million
TAIL_RATE = 1e-6  # the false acceptance rate whose threshold the tail holds
NEAREST = 1000  # what searches keep of every probe, which gives ranks up to this one


def bench_forward(compare, size, note):
    probe_count, dim, distractor_count, trials = size
    probes = F.normalize(torch.randn(probe_count, dim))
    distractors = F.normalize(torch.randn(distractor_count, dim))
    index, scores = torch.randint(probe_count, (trials,)), torch.rand(trials) / 4
    tail = max(1, round(TAIL_RATE * probe_count * distractor_count))
    candidates = {
        "ours": lambda: distractor_ranks(probes, distractors, index, scores, tail),
        "faiss": faiss_search(probes, distractors),
    }
    if size in SIZES:
        candidates["top-k"] = lambda: nearest(probes, distractors)
        highest = candidates["ours"]()[1][0].item()
        for name in ("faiss", "top-k"):
            assert abs(candidates[name]()[0].max().item() - highest) < 1e-5, name
    compare(candidates | {"bound": roofline.one_product(probes, distractors, note)})


def faiss_search(probes, distractors):
    import faiss

    index = faiss.IndexFlatIP(distractors.shape[1])
    index.add(distractors.numpy())

    def search():
        faiss.omp_set_num_threads(torch.get_num_threads())
        return index.search(probes.numpy(), NEAREST)

    return search


def nearest(probes, distractors, chunk=8192):
    """Search the nearest distractors of every probe in plain torch, without the (P, M) matrix."""
    similarity = probes.new_empty(len(probes), NEAREST + chunk)  # the best so far, then a chunk
    index = torch.empty(similarity.shape, dtype=torch.int64)
    best = similarity[:, :NEAREST].fill_(float("-inf"))
    for first in range(0, len(distractors), chunk):
        rows = distractors[first : first + chunk]
        end = NEAREST + len(rows)
        torch.mm(probes, rows.T, out=similarity[:, NEAREST:end])
        index[:, NEAREST:end] = torch.arange(first, first + len(rows))
        values, position = similarity[:, :end].topk(NEAREST)
        index[:, :NEAREST] = index.gather(1, position)
        best.copy_(values)
    return best.clone(), index[:, :NEAREST].clone()
