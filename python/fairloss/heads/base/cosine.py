"""The base of every head whose loss is a margin softmax over class cosines."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Unpack

from fairloss.checks import check_choice, check_number, check_positive, expect
from fairloss.collectives import check_one_rank
from fairloss.heads.base.head import Head
from fairloss.heads.base.options import CosineOptions, show_options
from fairloss.heads.base.sampling import class_positions, draw_classes
from fairloss.heads.base.sharded import class_shard, local_labels
from fairloss_ext import cosine_partition, margin_loss
from fairloss_ext.options import COMPUTE_DTYPES, EXTENSIONS, KINDS, MARGIN_GRADS, Kind

ONE_RANK = (
    "1 with several ranks, whose row-sparse gradients are not averaged (or sparse=False, or one "
    "process without DistributedDataParallel, and fairloss.optim.RowSGD)"
)


@show_options
class CosineHead(Head):
    """Class weights on the unit sphere and a margin softmax over them.

    ``loss_i = -log( e^{s phi(theta_y)} / (e^{s phi(theta_y)} + sum_{j != y} e^{s cos theta_j}) )``,
    computed by `fairloss_ext.cosine_partition` and `fairloss_ext.margin_loss`. A subclass passes
    the margins of its classes, or defines those of samples (`sample_margins`).

    Args:
        num_classes: C.
        embedding_size: D.
        margins: a number for all classes, or (C,) one a class; with kind "combined" (3,) or (C, 3).
        kind: "arc" (radians), "cos" (cosine), "sphere" (factor on the angle) or "combined".
        options: see `CosineOptions`.

    Attributes:
        weight: (C, D) raw class weights, see `Head`.
        margins: buffer, float32.
        scale: buffer, float32.
        step: buffer, float64, with sampled classes only: forward passes in training mode so far, so
            that a resumed run draws what an uninterrupted one would have drawn.
    """

    defaults: ClassVar[CosineOptions] = {
        "scale": 64.0,
        "extension": "linear",
        "margin_grad": "exact",
        "reduction": "mean",
        "ignore_index": -1,
        "initial_norm": None,
        "sample_rate": 1.0,
        "sample_seed": 0,
        "sparse": True,
        "workspace": "auto",
        "compute_dtype": None,
        "fused": False,
        "process_group": None,
        "device_mesh": None,
    }
    scaled = True
    moving: ClassVar[tuple[str, ...]] = ("step",)
    margins: Tensor
    scale: Tensor
    step: Tensor

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        margins: Tensor | Sequence[float] | float,
        *,
        kind: Kind,
        **options: Unpack[CosineOptions],
    ) -> None:
        settings = CosineHead.defaults | self.defaults | options
        shard = class_shard(num_classes, settings["process_group"], settings["device_mesh"])
        if shard is not None:
            self.shard = shard
        super().__init__(
            num_classes,
            embedding_size,
            reduction=settings["reduction"],
            ignore_index=settings["ignore_index"],
            initial_norm=settings["initial_norm"],
        )
        check_choice("kind", kind, KINDS)
        check_positive("scale", settings["scale"])
        check_choice("extension", settings["extension"], EXTENSIONS)
        check_choice("margin_grad", settings["margin_grad"], MARGIN_GRADS)
        check_choice("compute_dtype", settings["compute_dtype"], (None, *COMPUTE_DTYPES))
        check_number("sample_rate", settings["sample_rate"], 0, 1, open_low=True)
        check_choice("sparse", settings["sparse"], (True, False))
        self.kind, self.extension, self.margin_grad = (
            kind,
            settings["extension"],
            settings["margin_grad"],
        )
        self.sample_rate, self.sample_seed = settings["sample_rate"], settings["sample_seed"]
        self.sparse = settings["sparse"]
        self.workspace, self.compute_dtype = settings["workspace"], settings["compute_dtype"]
        self.fused = settings["fused"]
        self.register_state("scale", settings["scale"])
        self._check_margins(self.register_state("margins", margins), margins)
        if self.sample_rate < 1:
            self.register_count("step")

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Compute (B,) losses, 0 where the label is -1."""
        weight: Tensor = self.weight
        margins, first = self.margins, 0
        if self.shard is not None:
            first = self.shard.classes.start
        if self.training and self.sample_rate < 1:
            weight, margins, labels, first = self._sample(labels)
        weight, margins = self.average_gradient(weight), self.average_gradient(margins)
        target_cosine, negative_logsumexp = self.partition(embeddings, weight, labels, first)
        return self.target_losses(embeddings, target_cosine, negative_logsumexp, labels, margins)

    def target_losses(
        self,
        embeddings: Tensor,
        target_cosine: Tensor,
        negative_logsumexp: Tensor,
        labels: Tensor,
        margins: Tensor,
    ) -> Tensor:
        """Compute (B,) losses from two numbers of each sample; `margins` are those of classes."""
        sample_margins = self.sample_margins(embeddings, target_cosine, labels)
        return margin_loss(
            target_cosine,
            negative_logsumexp,
            labels,
            margins if sample_margins is None else None,
            kind=self.kind,
            scale=self.average_gradient(self.step_scale()),
            extension=self.extension,
            margin_grad=self.margin_grad,
            sample_margins=sample_margins,
        )

    def partition(
        self, embeddings: Tensor, weight: Tensor, labels: Tensor, first: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Compute target cosine and log-sum-exp of the other classes, (B,) each.

        Args:
            embeddings: (B, D).
            weight: of the classes of this rank.
            labels: (B,), as positions among the classes of all ranks.
            first: position of the first class of this rank.
        """
        threshold, coefficients = self.hard_negatives(embeddings, weight, labels, first)
        scale = self.average_gradient(self.step_scale())
        if self.shard is not None:
            embeddings, scale = self.shard.split(embeddings, scale)
            labels = local_labels(labels, first, len(weight))
        target_cosine, negative_logsumexp = cosine_partition(
            embeddings,
            weight,
            labels,
            scale,
            hard_threshold=threshold,
            hard_coefficients=coefficients,
            workspace=self.workspace,
            compute_dtype=self.compute_dtype,
            fused=self.fused,
        )
        if self.shard is not None:
            return self.shard.join(target_cosine, negative_logsumexp)
        return target_cosine, negative_logsumexp

    def hard_negatives(
        self, embeddings: Tensor, weight: Tensor, labels: Tensor, first: int
    ) -> tuple[Tensor, Tensor | Sequence[float]] | tuple[None, None]:
        """Return (B,) thresholds of hard negatives and the (a, b, d) of their transform.

        See `fairloss_ext.cosine_partition`; (None, None): no negative is transformed. The arguments
        are those of `partition`.
        """
        return None, None

    def step_scale(self) -> Tensor:
        """Return the scale that this step's gradient keeps."""
        return self.scale

    def sample_margins(
        self, embeddings: Tensor, target_cosine: Tensor, labels: Tensor
    ) -> Tensor | None:
        """Return (B,) or (B, 3) margins of samples in place of those of classes, or None."""
        return None

    def plain_logits(self, embeddings: Tensor) -> Tensor:
        """Compute scaled cosines, (B, C)."""
        return self.scale * self.cosines(embeddings)

    def class_margins(self) -> Tensor:
        """Return `margins`; NaN where they are triples."""
        return torch.tensor(torch.nan) if self.kind == "combined" else self.margins.detach()

    def _sample(self, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
        """Return what is of the classes drawn for this step.

        Returns:
            The weight of those of this rank, (S, D), the margins of all, the labels (B,) as
            positions among all, and the position of the first of this rank.
        """
        if self.shard is None and self.sparse and not torch.compiler.is_compiling():
            check_one_rank("sample_rate", ONE_RANK, self.sample_rate)
        (batch,) = self.gather_ranks(labels)
        step = self.step.round().long()
        classes = draw_classes(batch, self.num_classes, self.sample_rate, step, self.sample_seed)
        labels = class_positions(classes, labels)
        self._update("step", self.step + 1)
        one_for_all = self.margins.dim() == (1 if self.kind == "combined" else 0)
        margins = self.margins if one_for_all else self.margins[classes]
        first = 0
        if self.shard is not None:
            classes, first = self.shard.part(classes)
        rows = F.embedding(classes, self.weight, sparse=self.sparse)
        return rows, margins, labels, first

    def fits_margins(self, other: "CosineHead") -> bool:
        """Return whether `warm_start` takes over margins: those of classes, of the same loss."""
        per_class = self.margins.dim() == 1 and self.kind != "combined"
        return per_class and type(other) is type(self) and other.kind == self.kind

    def _take_margins(self, other: Head, is_old: Tensor, rows: Tensor) -> None:
        if isinstance(other, CosineHead) and self.fits_margins(other):
            margins = other.margins.expand(other.num_classes)[rows.to(other.margins.device)]
            self.margins[is_old] = margins.to(self.margins)

    def _check_margins(self, table: Tensor, margins: Tensor | Sequence[float] | float) -> None:
        """Raise ValueError unless `table`, from `margins`, is finite and of a valid shape."""
        one = (3,) if self.kind == "combined" else ()
        shapes = one, (self.num_classes, *one)
        expected = f"shape {shapes[0]} or {shapes[1]}"
        expect(table.shape in shapes, "margins", expected, tuple(table.shape))
        expect(table.isfinite().all(), "margins", "finite numbers", margins)

    def extra_repr(self) -> str:
        """Return the arguments that `repr` shows."""
        sampled = f", sample_rate={self.sample_rate:g}" if self.sample_rate < 1 else ""
        scale = "on the meta device" if self.scale.is_meta else f"{self.scale.item():g}"
        return f"{super().extra_repr()}, kind={self.kind}, scale={scale}{sampled}"
