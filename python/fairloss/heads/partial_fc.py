"""Class weights that the ranks of insightface's PartialFC saved."""

import glob
import os
import re
from pathlib import Path

import torch
from torch import Tensor

from fairloss.checks import expect
from fairloss.io.state import read_saved

CHECKPOINT_ENTRY = "state_dict_softmax_fc"


def read_partial_fc(pattern: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the class weights of all ranks, for `load_state_dict` or `warm_start` of a head.

    The file of a rank is a checkpoint of insightface's training, ``checkpoint_gpu_{rank}.pt``, the
    state of `PartialFC`, ``softmax_fc_gpu_{rank}.pt``, or, from versions of 2021, the matrix
    (num_local, D) alone, ``rank_{rank}_softmax_weight.pt``. Of a checkpoint the weights alone are
    read, and memory is that of the whole matrix.

    Args:
        pattern: path with {rank} for the rank, as in "run/checkpoint_gpu_{rank}.pt".

    Returns:
        ``{"weight": (C, D)}``, on the CPU.

    Raises:
        ValueError: a file is missing, damaged or without class weights, or the numbers of classes
            are not those of PartialFC: C / W, and one more on each of the first ``C mod W`` ranks.
    """
    files = _files(os.fspath(pattern))
    parts = [_weight(path) for path in files]
    sizes = [len(part) for part in parts]
    classes, ranks = sum(sizes), len(sizes)
    split = [classes // ranks + (rank < classes % ranks) for rank in range(ranks)]
    expect(sizes == split, "pattern", f"files of {split} classes, as of {ranks} ranks", sizes)
    return {"weight": torch.cat(parts)}


def _files(pattern: str) -> list[Path]:
    """Return the files of ranks 0 to W - 1: by number, as text sorts 10 before 2."""
    before, field, after = pattern.partition("{rank}")
    expect(field, "pattern", "a path with {rank}", pattern)
    number = re.compile(re.escape(before) + r"(\d+)" + re.escape(after))
    paths = glob.glob(f"{glob.escape(before)}*{glob.escape(after)}")
    files = {int(match[1]): Path(path) for path in paths if (match := number.fullmatch(path))}
    complete = sorted(files) == list(range(max(files, default=0) + 1))
    expect(complete, "pattern", f"files {pattern} of ranks from 0 on", f"ranks {sorted(files)}")
    return [files[rank] for rank in range(len(files))]


def _weight(path: Path) -> Tensor:
    state = read_saved(path, mapped=True)
    is_dict = isinstance(state, dict)
    weight: Tensor = state.get(CHECKPOINT_ENTRY, state).get("weight") if is_dict else state
    is_matrix = isinstance(weight, Tensor) and weight.dim() == 2
    got = tuple(weight.shape) if isinstance(weight, Tensor) else "none"
    expect(is_matrix, "pattern", f"{path} with class weights (num_local, D)", got)
    return weight
