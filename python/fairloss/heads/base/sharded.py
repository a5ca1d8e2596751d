"""Classes divided among the ranks of a process group: a batch and its softmax over all of them.

Every rank has the weights of some classes and sees the samples of all ranks. Two numbers of a
sample join the ranks: the target cosine is a sum, as only one rank has the class, and the
log-sum-exp of the other classes is one of log-sum-exps. The loss from them is the same everywhere.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.nn.parallel import DistributedDataParallel
from typing_extensions import Self

from fairloss.checks import check_integer, expect
from fairloss.collectives import (
    are_same,
    batch_lengths,
    gather_integers,
    gather_ranks,
    gather_rows,
    run_eagerly,
)
from fairloss.heads.base.rank_functions import (
    gather_batch,
    gather_losses,
    join_partitions,
    map_gradient,
)
from fairloss.ranks import num_ranks, on_first_rank
from fairloss_ext._checks import check_range

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

OUTSIDE = (
    "the head outside of DistributedDataParallel, which would give every rank the classes of rank 0"
)
MESH = 'a DeviceMesh of one dimension, or of two named "data" and "class"'
ALIKE = "rows of the same number of bytes on every rank, with sample_weights on all or none"
VALID = "valid arguments on every rank"
REPLICAS = "the same on every rank of a data group"
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
        data_group: of R ranks that have the same classes, each in another group of W ranks.
        mesh: of these groups; None: of `group` alone.
    """

    num_classes: int
    group: "distributed.ProcessGroup"
    data_group: "distributed.ProcessGroup | None" = None
    mesh: "DeviceMesh | None" = None

    def __post_init__(self) -> None:
        check_integer("num_classes", self.num_classes)
        is_group = isinstance(self.group, distributed.ProcessGroup)
        expect(is_group, "process_group", "a group with this rank in it", repr(self.group))

    @classmethod
    def from_mesh(cls, num_classes: int, mesh: "DeviceMesh") -> Self:
        """Return the classes of this rank of a mesh of one dimension, or of "data" and "class"."""
        is_mesh = isinstance(mesh, DeviceMesh)
        expect(is_mesh, "device_mesh", MESH, repr(mesh))
        if mesh.ndim == 1:
            return cls(num_classes, mesh.get_group(), mesh=mesh)
        names = mesh.mesh_dim_names
        is_named = mesh.ndim == 2 and set(names or ()) == {"data", "class"}
        expect(is_named, "device_mesh", MESH, f"{mesh.ndim} dimensions named {names}")
        return cls(num_classes, mesh.get_group("class"), mesh.get_group("data"), mesh)

    def __deepcopy__(self, memo: object) -> Self:
        return self  # a group cannot be copied

    def __reduce__(self) -> Any:
        raise TypeError(
            "head: expected its state_dict() to be saved, got a pickle of a module whose classes "
            "ranks divide, and a process group cannot be pickled"
        )

    @property
    def option(self) -> str:
        """The option of the head that gave the ranks."""
        return "process_group" if self.mesh is None else "device_mesh"

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
        from torch.distributed.tensor import DTensor, Replicate, Shard  # slow to import

        mesh = self.mesh
        if mesh is None:
            mesh = distributed.device_mesh.DeviceMesh.from_group(self.group, rows.device.type)
        names = ("class",) if mesh.ndim == 1 else mesh.mesh_dim_names or ()
        placements = [Shard(0) if name == "class" else Replicate() for name in names]
        whole = torch.empty(self.num_classes, *rows.shape[1:], device="meta")
        return DTensor.from_local(
            rows, mesh, placements, run_check=False, shape=whole.shape, stride=whole.stride()
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
        """Fill (len(self), D) rows with those of a normal draw of (C, D), equal on replicas."""
        mine = self.classes
        for start in range(0, self.num_classes, ROWS_OF_A_DRAW):
            rows = weight.new_empty(min(ROWS_OF_A_DRAW, self.num_classes - start), weight.shape[1])
            rows.normal_(0, deviation)
            first, last = max(start, mine.start), min(start + len(rows), mine.stop)
            if first < last:
                drawn = rows[first - start : last - start]
                if self.data_group is not None and not weight.is_meta:
                    drawn = share_initial(drawn, self.data_group)
                weight[first - mine.start : last - mine.start] = drawn

    @contextmanager
    def report_errors(self, *values: Any) -> Iterator[None]:
        """Let all ranks raise an error if this one does, instead of `gather`, where they wait."""
        try:
            yield
        except Exception:
            tensors = [value for value in values if isinstance(value, Tensor)]
            device = tensors[0].device if tensors else torch.device("cpu")
            self._share_sizes(torch.tensor([-1, 0, 0], device=device))
            raise

    def _share_sizes(self, sizes: Tensor) -> tuple[list[list[int]], list[int]]:
        """Return the (length, row bytes, needs gradient) of ranks, and the lengths of all groups.

        A length of -1 is an error of that rank, or of a rank of that group.
        """
        gathered = gather_integers(sizes, self.group)
        lengths, row_bytes = [row[0] for row in gathered], {row[1] for row in gathered}
        total = -1 if min(lengths) < 0 or len(row_bytes) > 1 else sum(lengths)
        if self.data_group is None:
            return gathered, [total]
        totals = gather_integers(sizes.new_tensor([total]), self.data_group)
        return gathered, [row[0] for row in totals]

    def _gather_sizes(self, rows: Tensor, labels: Tensor) -> tuple[list[int], list[int], bool]:
        """Return the lengths of the batches of the group, those of all groups, and a flag.

        It says whether any batch of the group needs a gradient.

        Raises:
            ValueError: on all ranks, where one has a label out of range or another error.
        """
        in_range = ((labels >= -1) & (labels < self.num_classes)).all()
        needs_gradient = rows.requires_grad and torch.is_grad_enabled()
        row_bytes = rows.shape[1] * rows.element_size()
        sizes = torch.tensor([len(labels), row_bytes, needs_gradient], device=labels.device)
        sizes[0].masked_fill_(~in_range, -1)
        gathered, totals = self._share_sizes(sizes)
        lengths, widths, gradients = zip(*gathered, strict=True)
        if lengths[distributed.get_rank(self.group)] < 0:
            check_range("labels", labels, -1, self.num_classes, synchronize=True)
        invalid = [rank for rank, length in enumerate(lengths) if length < 0]
        expect(not invalid, "embeddings", VALID, f"an error on ranks {invalid} of the group")
        expect(len(set(widths)) == 1, "embeddings", ALIKE, f"rows of {sorted(set(widths))} bytes")
        expect(min(totals) >= 0, "embeddings", VALID, "an error in another class group")
        return list(lengths), totals, any(gradients)

    @run_eagerly
    def gather(
        self, embeddings: Tensor, labels: Tensor, sample_weights: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None, list[int]]:
        """Concatenate the batches of the ranks of the group, whose sizes may differ.

        Beside them return the lengths of the batches of all groups, for `gather_losses`.

        The gradient of the embeddings is the sum over ranks. Each rank has the loss of the whole
        batch, so with losses that all ranks compute alike it is W times that of one process, and
        `DistributedDataParallel` makes it right by its average.
        """
        parallel = DistributedDataParallel._get_active_ddp_module()
        expect(parallel is None, self.option, OUTSIDE, "the head inside")
        rows = embeddings
        if sample_weights is not None:
            rows = torch.cat([embeddings, sample_weights[:, None]], dim=1)
        lengths, totals, needs_gradient = self._gather_sizes(rows, labels)
        if needs_gradient and torch.is_grad_enabled() and not rows.requires_grad:
            # Its backward pass is a collective, which all ranks make if one does.
            rows = rows.detach().requires_grad_()
        rows, labels = gather_batch(rows, labels, lengths, self.group)
        if sample_weights is None:
            return rows, labels, None, totals
        return rows[:, :-1].to(embeddings.dtype), labels, rows[:, -1], totals

    @run_eagerly
    def split(self, embeddings: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Return both as they are, for a computation with the classes of this rank alone.

        Its gradients are parts of a sum over the group. That of the scale is summed here, and
        that of the embeddings by `gather`, times W as the gradients that every rank has in full.
        """
        if scale.requires_grad:
            scale = map_gradient(scale, self.sum)
        ranks = self.ranks
        embeddings = map_gradient(embeddings, lambda grad: grad * ranks)
        return embeddings, scale

    @run_eagerly
    def join(self, target_cosine: Tensor, negative_logsumexp: Tensor) -> tuple[Tensor, Tensor]:
        """Compute from the results of `cosine_partition` on each rank those of all classes."""
        return join_partitions(target_cosine, negative_logsumexp, self.group)

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
        """Replace the values, in place, by those of the first of all ranks."""
        for group in self._groups():
            distributed.broadcast(values, group=group, group_src=0)
        return values

    def share_initial(self, values: Tensor) -> Tensor:
        """Return the values of the first of all ranks, on the CPU."""
        for group in self._groups():
            values = share_initial(values, group)
        return values

    @torch.no_grad()
    def share_state(self, module: nn.Module) -> None:
        """Give all ranks the state of the first one, beside the class weights.

        Raises:
            ValueError: these differ among replicas.
        """
        weight = module.get_parameter("weight")
        if self.data_group is not None:
            same = torch.tensor([are_same([weight], self.data_group)], device=weight.device)
            everywhere = all(each for (each,) in gather_integers(same.long(), self.group))
            expect(everywhere, "weight", REPLICAS, "weights that differ")
        for values in (*module.parameters(), *module.buffers()):
            if values is not weight:
                self.share(values)

    def _groups(self) -> list["distributed.ProcessGroup"]:
        return [self.group] if self.data_group is None else [self.group, self.data_group]

    def gather_replicas(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Concatenate (n, ...) values of the batches of all groups, without gradient."""
        return values if self.data_group is None else gather_ranks(*values, group=self.data_group)

    @run_eagerly
    def whole_batch(self, values: Tensor) -> tuple[Tensor, slice]:
        """Return `gather_replicas` of (n,) values, and where those of this group are in it."""
        if self.data_group is None:
            return values, slice(None)
        lengths = batch_lengths(len(values), values.device, self.data_group)
        start = sum(lengths[: distributed.get_rank(self.data_group)])
        (whole,) = gather_rows((values,), lengths, self.data_group)
        return whole, slice(start, start + len(values))

    @run_eagerly
    def average_gradient(self, values: Tensor) -> Tensor:
        """Return the values as they are; their gradient is the mean over the data group."""
        if self.data_group is None or not values.requires_grad:
            return values
        group, ranks = self.data_group, num_ranks(self.data_group)

        def average(gradient: Tensor) -> Tensor:
            mean = (gradient / ranks).contiguous()
            distributed.all_reduce(mean, group=group)
            return mean

        return map_gradient(values, average)

    @run_eagerly
    def gather_losses(
        self, losses: Tensor, labels: Tensor, lengths: list[int]
    ) -> tuple[Tensor, Tensor]:
        """Concatenate the losses and labels of all groups, the first data rank's before.

        The gradient of the losses is times R: that of weights is averaged over the data group, and
        that of the embeddings by `DistributedDataParallel`.
        """
        if self.data_group is None:
            return losses, labels
        return gather_losses(losses, labels, lengths, self.data_group)


def class_shard(num_classes: int, group: Any, mesh: Any) -> ClassShard | None:
    """Return the classes of this rank of a group or of a mesh; None without either."""
    if mesh is None:
        return None if group is None else ClassShard(num_classes, group)
    expect(group is None, "process_group", "none beside device_mesh", "a group")
    return ClassShard.from_mesh(num_classes, mesh)


def share_initial(values: Tensor, group: "distributed.ProcessGroup") -> Tensor:
    """Return the values of the first rank, on the CPU; NCCL has no collective of CPU tensors.

    A module is made on the CPU, before it is moved to the device of the group.
    """
    return on_first_rank(lambda: values.detach().cpu(), group)


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
