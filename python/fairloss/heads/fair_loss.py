"""Fair Loss: a margin for every class, changed after each epoch by a learned policy."""

import json
import warnings
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from fairloss.agent import GroupState, MarginGrid, Policy
from fairloss.agent.policy import parse_redraw
from fairloss.checks import check_choice, check_length, expect
from fairloss.heads.base import CosineHead, CosineOptions, Unpack
from fairloss.typing import Float64s, Ints
from fairloss_ext import ClassStatistics

NO_POLICY = (
    "FairLoss without a policy keeps its margins; `fairloss collect` and `fairloss fit-policy` "
    "make a policy, and Policy.constant('keep') is this one without the warning"
)
# The extra state begins with spaces up to a multiple of these, as `torch.distributed.checkpoint`
# loads a tensor into one of the same size alone, and policies differ by some digits and names.
STATE_BYTES = 1024
PACKAGED_SOURCE = "fairloss demo seed=0:"


class FairLoss(CosineHead):
    """``s cos(theta + m_y)`` or ``s (cos theta - m_y)`` with a separate margin for each class.

    (Liu et al., ICCV 2019; the loss is eq. 43 of the survey arXiv 2212.13038.) After each epoch
    every class is in one of 36 states: bin of its image count (3), bin of its intra-class variance
    (3) and its margin (4); the policy's row for that state raises, lowers or keeps the margin. A
    class keeps its margin when it changes bin.

        head = FairLoss(num_classes, 512)
        loss = head(embeddings, labels)                    # every step
        head.end_of_epoch(fairloss_ext.class_statistics(   # every epoch, un-augmented, eval mode
            all_embeddings, all_labels, num_classes))

    Args:
        num_classes: C.
        embedding_size: D.
        policy: moves the margins; it was learned with this `kind`. None: margins are kept, with a
            warning.
        kind: "arc" (margins in radians) or "cos" (in cosine).
        initial_margin: on the policy's grid; 0.35 is our choice, the paper gives none.
        count_cuts: two cuts between the bins of image counts; default terciles over the classes. A
            warning names bins that these leave empty, as where two thirds have one image.
        options: see `CosineOptions`.

    Attributes:
        margins: buffer, (C,) float32. The policy reads the nearest values of its grid, so that a
            copy with averaged margins (`torch.optim.swa_utils.AveragedModel`) has an epoch's end.
        policy: in checkpoints as extra state, JSON in a uint8 tensor.
    """

    _first_epoch = True

    def __init__(
        self,
        num_classes: int,
        embedding_size: int,
        policy: Policy | None = None,
        *,
        kind: Literal["arc", "cos"] = "arc",
        initial_margin: float = 0.35,
        count_cuts: tuple[float, float] | None = None,
        **options: Unpack[CosineOptions],
    ) -> None:
        check_choice("kind", kind, ("arc", "cos"))
        super().__init__(num_classes, embedding_size, initial_margin, kind=kind, **options)
        self.register_state("margins", initial_margin, (num_classes,))
        if policy is None:
            warnings.warn(NO_POLICY, stacklevel=3)  # of the caller: `show_options` wraps this
            policy = Policy.constant("keep")
        self.policy = policy
        self.policy.grid.index(np.array([initial_margin]))  # refuses a margin off the grid
        self.count_cuts = count_cuts

    @property
    def policy(self) -> Policy:
        """The policy; ValueError when it is set to one that was learned with another kind."""
        policy: Policy = self.__dict__["policy"]
        return policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        expect(isinstance(policy, Policy), "policy", "a Policy", repr(policy))
        learned, expected = policy.provenance.get("kind"), f"one learned with kind={self.kind}"
        expect(learned in (None, self.kind), "policy", expected, f"one with kind={learned}")
        self.__dict__["policy"] = policy  # where modules pickled before have it

    def end_of_epoch(self, statistics: ClassStatistics) -> None:
        """Change every margin as the policy says; classes without images keep theirs.

        The table of a random policy is then that of the next epoch.

        Raises:
            ValueError: the statistics are of another number of classes, or a margin is beyond the
                grid.
        """
        margins = self._grid_margins()
        changed = self.policy.apply(self.states(statistics), margins)
        self.set_margins(np.where(statistics.count.cpu().numpy() > 0, changed, margins))
        self.policy = self.policy.next_epoch()
        super().end_of_epoch(statistics)

    def fits_margins(self, other: CosineHead) -> bool:
        """Return whether `warm_start` takes over margins: any of this kind that are on the grid."""
        if other.kind != self.kind or isinstance(other.margins, nn.Parameter):
            return False
        return self.policy.grid.contains(other.margins.double().cpu().numpy())

    def group_state(self, statistics: ClassStatistics) -> GroupState:
        """Return the map from the classes of this training set to states."""
        check_length("statistics", len(statistics.count), self.num_classes, "classes")
        groups = GroupState(statistics.count.cpu().numpy(), self.policy.grid, self.count_cuts)
        if self._first_epoch:
            self._first_epoch = False
            if groups.unused_states:
                text = f"FairLoss: {groups.unused_states}; count_cuts sets other cuts."
                warnings.warn(text, stacklevel=4)
        return groups

    def states(self, statistics: ClassStatistics) -> Ints:
        """Return the (C,) state of every class."""
        variance = statistics.intra_variance.double().cpu().numpy()
        return self.group_state(statistics).encode(variance, self._grid_margins())

    def set_margins(self, margins: Float64s) -> None:
        """Replace the margins, (C,), in place."""
        self.margins.copy_(torch.as_tensor(margins))

    def get_extra_state(self) -> Tensor:
        """Return the policy in the form of checkpoints, UTF-8 JSON as (N,) uint8, N in whole KiB.

        Raises:
            ValueError: the provenance cannot be written as JSON.
        """
        state = {
            "version": 1,
            "grid": list(self.policy.grid.values),
            "table": self.policy.table.tolist(),
            "provenance": self.policy.provenance,
        }
        if self.policy.redraw is not None:
            state["redraw"] = self.policy.redraw
        try:
            text = json.dumps(state)
        except (TypeError, ValueError) as error:
            raise ValueError(f"provenance: expected JSON, got {error}") from error
        text = " " * (-len(text) % STATE_BYTES) + text
        return torch.tensor(list(text.encode()), dtype=torch.uint8, device="cpu")

    def set_extra_state(self, state: Tensor | dict[str, Any]) -> None:
        """Restore the policy from a checkpoint; version 0.1 wrote a dict.

        Raises:
            ValueError: the state is damaged, or the policy was learned with another kind.
        """
        try:
            policy = _policy(_read_json(state) if isinstance(state, Tensor) else state)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            got = f"{type(error).__name__}: {error}"
            raise ValueError(f"_extra_state: expected a policy of FairLoss, got {got}") from error
        self.policy = as_trained(policy, self.kind)

    def _grid_margins(self) -> Float64s:
        return self.policy.grid.nearest(self.margins.double().cpu().numpy())


def as_trained(policy: Policy, kind: str) -> Policy:
    """Return the policy of a checkpoint or run that was trained with it.

    The table that version 0.1.0 packaged was learned with margins in radians, and used for both
    kinds: what was trained with it loads and resumes, whatever its kind.
    """
    provenance = policy.provenance
    packaged = str(provenance.get("source")).startswith(PACKAGED_SOURCE)
    if not packaged or provenance.get("kind") == kind:
        return policy
    return replace(policy, provenance={k: v for k, v in provenance.items() if k != "kind"})


def _read_json(state: Tensor) -> Any:
    # To uint8 again: tools that cast a whole checkpoint keep 0 to 255 exact, in bfloat16 too.
    return json.loads(bytes(state.to("cpu", torch.uint8).tolist()))


def _policy(state: dict[str, Any]) -> Policy:
    shape = (len(state["table"]), 3)
    return Policy(
        MarginGrid(tuple(state["grid"])),
        np.array(state["table"]),
        np.full(shape, np.nan),
        np.zeros(shape, np.int64),
        state["provenance"],
        parse_redraw(state.get("redraw")),
    )
