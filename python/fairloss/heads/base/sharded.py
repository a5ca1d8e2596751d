"""Classes divided among the ranks of a process group: a batch and its softmax over all of them.

Every rank has the weights of some classes and sees the samples of all ranks. Two numbers of a
sample join the ranks: the target cosine is a sum, as only one rank has the class, and the
log-sum-exp of the other classes is one of log-sum-exps. The loss from them is the same everywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel
from typing_extensions import Self

from fairloss.checks import check_integer, expect
from fairloss.ranks import batch_lengths, gather_rows, run_eagerly

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

OUTSIDE = (
    "the head outside of DistributedDataParallel, which would give every rank the classes of rank 0"
)
# Rows are drawn in blocks, of all classes, and each rank keeps its rows: the first weights are the
# same for any number of ranks. 2^14 rows of 512 are 32 MiB.
ROWS_OF_A_DRAW = 1 << 14


@dataclass(frozen=True)
class ClassShard:
    """The classes of this rank, by the rule of `torch.chunk`, as of a DTensor's ``Shard(0)``.

    Each rank has C / W classes, rounded up, as long as there are classes: (3, 3, 3, 1) of 10.

    Attributes:
        num_classes: C.
        group: of W ranks.
    """

    num_classes: int
    group: "distributed.ProcessGroup"

    def __post_init__(self) -> None:
        check_integer("num_classes", self.num_classes)
        is_group = isinstance(self.group, distributed.ProcessGroup)
        expect(is_group, "process_group", "a group with this rank in it", repr(self.group))

    def __deepcopy__(self, memo: object) -> Self:
        return self  # a group cannot be copied

    @property
    def ranks(self) -> int:
        """W."""
        ranks: int = distributed.get_world_size(self.group)
        return ranks

    @property
    def classes(self) -> slice:
        """The classes of this rank."""
        size = -(-self.num_classes // self.ranks)
        start: int = min(distributed.get_rank(self.group) * size, self.num_classes)
        return slice(start, min(start + size, self.num_classes))

    def __len__(self) -> int:
        """Return the number of classes of this rank."""
        count: int = self.classes.stop - self.classes.start
        return count

    def distribute(self, rows: Tensor) -> "DTensor":
        """Return the (len(self), ...) rows of all ranks as one DTensor, without a copy."""
        from torch.distributed.tensor import DTensor, Shard  # slow to import

        mesh = distributed.device_mesh.DeviceMesh.from_group(self.group, rows.device.type)
        whole = torch.empty(self.num_classes, *rows.shape[1:], device="meta")
        return DTensor.from_local(
            rows, mesh, [Shard(0)], run_check=False, shape=whole.shape, stride=whole.stride()
        )

    def localize(self, values: Any) -> Any:
        """Return the rows of this rank of a (C, ...) tensor, or of what `distribute` returned."""
        if not isinstance(values, Tensor) or not values.dim() or len(values) != self.num_classes:
            return values
        if hasattr(values, "to_local"):
            return values.to_local()
        return values[self.classes].clone()  # a view would keep all rows in memory

    def part(self, classes: Tensor) -> tuple[Tensor, int]:
        """Return those of ascending `classes` that this rank has, from 0, and where they begin."""
        mine = self.classes
        first, last = torch.searchsorted(
            classes, torch.tensor([mine.start, mine.stop], device=classes.device)
        ).tolist()
        return classes[first:last] - mine.start, first

    def draw(self, weight: Tensor, deviation: float) -> None:
        """Fill (len(self), D) rows with those of a normal draw of (C, D)."""
        mine = self.classes
        for start in range(0, self.num_classes, ROWS_OF_A_DRAW):
            rows = weight.new_empty(min(ROWS_OF_A_DRAW, self.num_classes - start), weight.shape[1])
            rows.normal_(0, deviation)
            first, last = max(start, mine.start), min(start + len(rows), mine.stop)
            if first < last:
                weight[first - mine.start : last - mine.start] = rows[first - start : last - start]

    @run_eagerly
    def gather(
        self, embeddings: Tensor, labels: Tensor, sample_weights: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Concatenate the batches of all ranks, whose sizes may differ.

        The gradient of the embeddings is the sum over ranks. Each rank has the loss of the whole
        batch, so with losses that all ranks compute alike it is W times that of one process, and
        `DistributedDataParallel` makes it right by its average.
        """
        parallel = DistributedDataParallel._get_active_ddp_module()
        expect(parallel is None, "process_group", OUTSIDE, "the head inside")
        lengths = batch_lengths(len(labels), labels.device, self.group)
        rows = embeddings
        if sample_weights is not None:
            rows = torch.cat([embeddings, sample_weights[:, None]], dim=1)
        rows, labels = _Gather.apply(rows, labels, lengths, self.group)  # type: ignore[no-untyped-call]
        if sample_weights is None:
            return rows, labels, None
        return rows[:, :-1].to(embeddings.dtype), labels, rows[:, -1]

    @run_eagerly
    def split(self, embeddings: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return both as they are, for a computation with the classes of this rank alone.

        Its gradients are parts of a sum over ranks. That of the scale is summed here, and that of
        the embeddings by `gather`, times W as the gradients that every rank has in full.
        """
        if scale.requires_grad:
            scale = _MapGradient.apply(scale, self.sum)  # type: ignore[no-untyped-call]
        ranks = self.ranks
        embeddings = _MapGradient.apply(embeddings, lambda grad: grad * ranks)  # type: ignore
        return embeddings, scale

    @run_eagerly
    def join(self, target_cosine: Tensor, negative_logsumexp: Tensor) -> tuple[Tensor, Tensor]:
        """Compute from the results of `cosine_partition` on each rank those of all classes."""
        return _Join.apply(target_cosine, negative_logsumexp, self.group)  # type: ignore

    @run_eagerly
    @torch.no_grad()
    def sum(self, values: Tensor) -> Tensor:
        """Sum the values of all ranks, without gradient."""
        total = values.clone()
        distributed.all_reduce(total, group=self.group)
        return total

    @run_eagerly
    @torch.no_grad()
    def share(self, values: Tensor) -> Tensor:
        """Replace the values, in place, by those of the first rank."""
        distributed.broadcast(values, group=self.group, group_src=0)
        return values

    def share_initial(self, values: Tensor) -> Tensor:
        """Return the values of the first rank, on the CPU; NCCL has no collective of CPU tensors.

        A module is made on the CPU, before it is moved to the device of the group.
        """
        shared = [values.detach().cpu()]
        distributed.broadcast_object_list(shared, group=self.group, group_src=0)
        return shared[0]


def distribute_state(optimizer: torch.optim.Optimizer, weight: Tensor, shard: ClassShard) -> None:
    """Let states of the optimizer hold DTensors where they have a number for each of `weight`."""
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    has_weight = any(each is weight for each in parameters)
    expect(has_weight, "optimizer", "one of the class weights", "one of other parameters")

    def convert(state: dict[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        index = next(index for index, each in enumerate(parameters) if each is weight)
        entries = {name: change(value) for name, value in state["state"].get(index, {}).items()}
        return {**state, "state": state["state"] | ({index: entries} if entries else {})}

    def distribute(value: Any) -> Any:
        is_like = isinstance(value, Tensor) and value.shape == weight.shape
        return shard.distribute(value) if is_like else value

    optimizer.register_state_dict_post_hook(lambda _, state: convert(state, distribute))
    optimizer.register_load_state_dict_pre_hook(lambda _, state: convert(state, shard.localize))


def full_weight(weight: Any) -> Any:
    """Return the whole of a DTensor, which all ranks of its mesh call; another value as it is."""
    return weight.full_tensor() if hasattr(weight, "full_tensor") else weight


def local_labels(labels: Tensor, first: int, count: int) -> Tensor:
    """Return (B,) labels as positions among `count` classes from `first` on; -1: another class."""
    position = labels - first
    return torch.where((position >= 0) & (position < count), position, -1)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, labels: Tensor, lengths: list[int], group: Any
    ) -> tuple[Tensor, ...]:
        ctx.lengths, ctx.group = lengths, group
        return gather_rows((rows, labels), lengths, group)

    @staticmethod
    def backward(ctx: Any, grad_rows: Tensor, _: None) -> tuple[Tensor | None, ...]:
        longest = max(ctx.lengths)
        parts = grad_rows.new_zeros(len(ctx.lengths), longest, grad_rows.shape[1])
        for part, gradient in zip(parts, grad_rows.split(ctx.lengths), strict=True):
            part[: len(gradient)] = gradient
        total = torch.empty_like(parts[0])
        distributed.reduce_scatter(total, [*parts], group=ctx.group)
        return total[: ctx.lengths[distributed.get_rank(ctx.group)]], None, None, None


class _MapGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.change = change
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.change(gradient), None


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, target_cosine: Tensor, negative_logsumexp: Tensor, group: Any
    ) -> tuple[Tensor, Tensor]:
        highest = negative_logsumexp.clone()
        distributed.all_reduce(highest, distributed.ReduceOp.MAX, group=group)
        highest = torch.where(highest.isfinite(), highest, 0)  # -inf: one class in all
        sums = torch.stack([target_cosine, (negative_logsumexp - highest).exp()])
        distributed.all_reduce(sums, group=group)
        joined = highest + sums[1].log()
        ctx.save_for_backward(negative_logsumexp, joined)
        return sums[0].clone(), joined

    @staticmethod
    def backward(ctx: Any, grad_target: Tensor, grad_joined: Tensor) -> tuple[Tensor | None, ...]:
        negative_logsumexp, joined = ctx.saved_tensors
        share = (negative_logsumexp - joined).exp()
        share = torch.where(negative_logsumexp.isneginf(), 0, share)  # no class on this rank
        return grad_target, grad_joined * share, None
