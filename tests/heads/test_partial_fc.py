"""Class weights from the files of insightface's PartialFC."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fairloss.heads import CosFace, read_partial_fc

DIM = 4


def write(folder, sizes, name="softmax_{rank}.pt", wrap=lambda state: state):
    """Write the weights of ranks of these numbers of classes; return the pattern and all."""
    whole = torch.randn(sum(sizes), DIM)
    for rank, part in enumerate(whole.split(sizes)):
        torch.save(wrap({"weight": part.clone()}), folder / name.format(rank=rank))
    return folder / name, whole


@pytest.mark.parametrize("sizes", [[3, 3, 2, 2], [1] * 12])
def test_files_are_joined_by_the_number_of_the_rank(tmp_path, sizes):
    pattern, whole = write(tmp_path, sizes)
    assert torch.equal(read_partial_fc(pattern)["weight"], whole)


def test_a_head_takes_the_classes_of_training_checkpoints(tmp_path):
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1, momentum=0.9)

    def checkpoint(state):
        others = {
            "epoch": 1,
            "global_step": 4,
            "state_dict_backbone": nn.Linear(2, 2).state_dict(),
            "state_optimizer": optimizer.state_dict(),
            "state_lr_scheduler": {"base_lrs": [0.1], "last_epoch": 4, "_last_lr": [0.1]},
        }
        return {**others, "state_dict_softmax_fc": state}

    pattern, whole = write(tmp_path, [3, 2], "checkpoint_gpu_{rank}.pt", checkpoint)
    for take in (CosFace.load_state_dict, CosFace.warm_start):
        head = CosFace(5, DIM)
        take(head, read_partial_fc(str(pattern)))
        assert torch.equal(head.weight, whole)


def test_files_of_2021_hold_the_weights_alone_beside_their_momentum(tmp_path):
    name = "rank_{rank}_softmax_weight.pt"
    pattern, whole = write(tmp_path, [3, 2], name, lambda state: state["weight"])
    write(tmp_path, [3, 2], "rank_{rank}_softmax_weight_mom.pt", lambda state: state["weight"])
    assert torch.equal(read_partial_fc(pattern)["weight"], whole)


def test_other_files_are_refused_by_name(tmp_path):
    pattern, _ = write(tmp_path, [3, 3, 2])
    (tmp_path / "softmax_1.pt").unlink()
    with pytest.raises(ValueError, match=r"^pattern: expected files .*, got ranks \[0, 2\]$"):
        read_partial_fc(pattern)
    torch.save({"weight": torch.ones(1, DIM)}, tmp_path / "softmax_1.pt")
    with pytest.raises(ValueError, match=r"^pattern: expected files of \[2, 2, 2\] .*\[3, 1, 2\]$"):
        read_partial_fc(pattern)
    torch.save({"bias": torch.ones(1)}, tmp_path / "softmax_1.pt")
    with pytest.raises(ValueError, match=r"^pattern: .*softmax_1.pt with class weights .* none$"):
        read_partial_fc(pattern)
    torch.save({"weight": nn.Linear(2, 2)}, tmp_path / "softmax_1.pt")  # code, which may be any
    with pytest.raises(ValueError, match=r"softmax_1.pt: cannot be read, or damaged"):
        read_partial_fc(pattern)
    for other, got in ((tmp_path / "none_{rank}.pt", r"ranks \[\]"), ("softmax.pt", "softmax.pt")):
        with pytest.raises(ValueError, match=rf"^pattern: expected .*, got {got}$"):
            read_partial_fc(other)
