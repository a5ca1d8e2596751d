"""The base of every loss with class weights."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Unpack

from fairloss.checks import check_integer, check_positive, check_shape, expect
from fairloss.heads.base.checks import check_embeddings
from fairloss.heads.base.options import RANKS, HeadOptions, show_options
from fairloss.heads.base.sample_loss import SampleLoss, as_precise
from fairloss.heads.base.sharded import distribute_state, full_weight
from fairloss_ext._arguments import as_integers
from fairloss_ext._checks import check_range
from fairloss_ext.numerics import full_precision, unit_rows


@show_options
class Head(SampleLoss):
    """A loss with a weight vector for each class.

    Args:
        num_classes: C.
        embedding_size: D.
        options: see `HeadOptions`.

    Attributes:
        weight: (C, D) raw class weights, N(0, 0.01) as in insightface, or of norm `initial_norm`;
            where ranks divide the classes those of this rank alone.
        margin: margin to report where all classes have the same, else NaN.
        sample_rate: part of the classes that a training step compares with.
        count_cuts: between the bins of image counts, where the head has given ones; see `FairLoss`.
        defaults: options of the class and their defaults.
        scaled: whether the class takes a `scale`.
    """

    defaults: ClassVar[HeadOptions] = {
        "reduction": "mean",
        "ignore_index": -1,
        "initial_norm": None,
    }
    scaled: ClassVar[bool] = False
    margin: float = math.nan
    sample_rate: float = 1.0
    sparse: bool = True  # where sample_rate is below 1
    count_cuts: tuple[float, float] | None = None
    initial_norm: float | None = None  # of modules pickled before it was an option

    def __init__(
        self, num_classes: int, embedding_size: int, **options: Unpack[HeadOptions]
    ) -> None:
        settings = Head.defaults | self.defaults | options
        super().__init__(settings["reduction"], settings["ignore_index"])
        check_integer("num_classes", num_classes)
        rows = num_classes if self.shard is None else len(self.shard)
        weight = torch.empty(rows, check_integer("embedding_size", embedding_size))
        self.weight = nn.Parameter(weight)
        self.initial_norm = settings["initial_norm"]
        if self.initial_norm is not None:
            check_positive("initial_norm", self.initial_norm)
        self._draw_weight()

    @property
    def row_sparse(self) -> bool:
        """True if training steps give the weights row-sparse gradients."""
        return self.sample_rate < 1 and self.sparse

    def reset_parameters(self) -> None:
        """Draw the class weights anew and give every other tensor its first value."""
        super().reset_parameters()
        self._draw_weight()

    @torch.no_grad()
    def _draw_weight(self) -> None:
        if self.shard is None:
            nn.init.normal_(self.weight, 0, 0.01)
        else:
            self.shard.draw(self.weight, 0.01)
        if self.initial_norm is not None:
            self.weight.copy_(self.initial_norm * unit_rows(self.weight))

    @property
    def num_classes(self) -> int:
        """C."""
        return self.weight.shape[0] if self.shard is None else self.shard.num_classes

    @property
    def embedding_size(self) -> int:
        """D."""
        return self.weight.shape[1]

    def logits(self, embeddings: Tensor) -> Tensor:
        """Compute (B, C) logits without margin, for accuracy and for prediction."""
        all_classes = "none where logits are computed, which take the classes of all ranks"
        option = "process_group" if self.shard is None else self.shard.option
        expect(self.shard is None, option, all_classes, RANKS[option])
        check_embeddings(embeddings, self.embedding_size)
        with full_precision(embeddings.device):
            return self.plain_logits(as_precise(embeddings))

    def plain_logits(self, embeddings: Tensor) -> Tensor:
        """Compute `logits` of embeddings in float32 or float64."""
        raise NotImplementedError

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Compute the (B, C) cosines of embeddings in float32 or float64 with the class weights."""
        return F.linear(unit_rows(embeddings), unit_rows(self.weight.to(embeddings.dtype)))

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a state, or class weights alone: ``{"weight": (C, D)}`` keeps the rest."""
        try:
            return super().load_state_dict(state_dict, strict, assign)
        except RuntimeError as error:
            hint = "warm_start takes over the class weights of another head or of its state."
            raise RuntimeError(f"{error}\n{hint}") from error

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        *more: Any,
    ) -> None:
        """Load this head's part of a state; where that is the weights alone, none is missing."""
        before, weight = list(missing_keys), f"{prefix}weight"
        if self.shard is not None and weight in state_dict:
            state_dict = {**state_dict, weight: self.shard.localize(state_dict[weight])}
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, *more
        )
        if [key for key in state_dict if key.startswith(prefix)] == [weight]:
            missing_keys[:] = before

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Save the class weights, where ranks divide them, as one DTensor of (C, D)."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.shard is not None:
            weight = f"{prefix}weight"
            destination[weight] = self.shard.distribute(destination[weight])

    def distribute_state(self, optimizer: torch.optim.Optimizer) -> None:
        """Let the states of an optimizer of this head be saved and loaded by any number of ranks.

        Where ranks divide the classes, `optimizer.state_dict()` has a DTensor of (C, D) for each of
        its tensors of the class weights from now on, as `state_dict` for the weights, and
        `load_state_dict` takes these and whole tensors. Otherwise nothing changes.
        """
        if self.shard is not None:
            distribute_state(optimizer, self.weight, self.shard)

    @torch.no_grad()
    def warm_start(self, other: "Head | Mapping[str, Any]", rows: Tensor | None = None) -> None:
        """Take over class weights, and the margins of another head where they fit.

        Where ranks divide the classes of `other`, each of them calls this.

        Args:
            other: any head, or the state of one, of which the weights alone are taken.
            rows: (C,) integers, the class of `other` that each class was; -1: it is new and keeps
                its weights. By default both have the same classes.

        Raises:
            ValueError: naming the shapes, where these differ, or a row out of range.
        """
        weight: Tensor | None = other.weight if isinstance(other, Head) else other.get("weight")
        if isinstance(other, Head) and other.shard is not None:
            weight = other.shard.distribute(other.weight)
        weight = full_weight(weight)
        classes = "C" if rows is not None else self.num_classes
        expected = f"class weights of shape ({classes}, {self.embedding_size})"
        if weight is None:
            raise ValueError(f"other: expected {expected}, got none")
        matches = weight.dim() == 2 and weight.shape[1] == self.embedding_size
        expect(matches, "other", expected, tuple(weight.shape))
        if rows is None:
            expect(len(weight) == self.num_classes, "other", expected, tuple(weight.shape))
            rows = torch.arange(self.num_classes)
        rows = as_integers("rows", rows)
        check_shape("rows", rows, self.num_classes)
        check_range("rows", rows, -1, len(weight), synchronize=True)
        mine = rows if self.shard is None else rows[self.shard.classes]
        before = weight[mine[mine >= 0].to(weight.device)]
        self.weight[mine.to(self.weight.device) >= 0] = before.to(self.weight)
        if isinstance(other, Head):
            self._take_margins(other, rows.to(self.weight.device) >= 0, rows[rows >= 0])

    def _take_margins(self, other: "Head", is_old: Tensor, rows: Tensor) -> None:
        """Take over the margins of these rows of `other`, where they fit; here none do."""

    def class_margins(self) -> Tensor:
        """Return the () or (C,) margins to report; NaN where a class has no single one."""
        return torch.tensor(float(self.margin))

    def extra_repr(self) -> str:
        """Return the arguments that `repr` shows."""
        return f"{self.num_classes} classes, {self.embedding_size}-d"
