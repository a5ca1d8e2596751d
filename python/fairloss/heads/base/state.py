"""Tensors of a loss beside its class weights: their first values and their dtype."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import Self


class StatefulModule(nn.Module):
    """A module whose margins, scales, statistics and counts have a dtype of their own.

    What `register_state` adds keeps its dtype and its values where the module is cast (`.half()`,
    `.to(torch.bfloat16)`): rounded to 16 bits a running average would stand still. Only the device
    changes; parameters may become float64, as for a check of their gradients. First values are
    kept, so that a module made on the meta device can be initialized by `to_empty` and
    `reset_parameters`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._first_values: dict[str, Tensor] = {}

    def register_state(
        self,
        name: str,
        value: Tensor | Sequence[Any] | float,
        shape: Sequence[int] | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        learned: bool = False,
    ) -> Tensor:
        """Add a buffer, or a parameter if it is `learned`, in place of one of the same name.

        Args:
            name: of the attribute.
            value: the first value.
            shape: that the value is expanded to.
            dtype: that the tensor keeps.
            learned: make it a parameter.

        Returns:
            The first value, on the CPU whatever the default device is.
        """
        first = torch.as_tensor(value, dtype=dtype, device="cpu").detach().clone()
        default_device = torch.empty(0).device
        tensor = first.expand(first.shape if shape is None else tuple(shape)).clone()
        tensor = tensor.to(default_device)
        self._first_values[name] = first
        setattr(self, name, nn.Parameter(tensor) if learned else nn.Buffer(tensor))
        return first

    def register_count(self, name: str) -> None:
        """Add a buffer that counts from 0, float64: an average of integers would be cut."""
        self.register_state(name, 0, dtype=torch.float64)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Give every tensor its first value; what is drawn is drawn anew."""
        for name, value in self._first_values.items():
            getattr(self, name).copy_(value)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        dtypes = {}
        for name, first in self._first_values.items():
            tensor = getattr(self, name)
            wider = (torch.float64,) if isinstance(tensor, nn.Parameter) else ()
            dtypes[id(tensor)] = dtypes[id(tensor.grad)] = (first.dtype, *wider)

        def keep_dtype(tensor: Tensor) -> Tensor:
            result = fn(tensor)
            dtype, *wider = dtypes.get(id(tensor), (result.dtype,))
            return result if result.dtype in (dtype, *wider) else tensor.to(result.device, dtype)

        super()._apply(keep_dtype, recurse)  # type: ignore[no-untyped-call]
        return self

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if hasattr(destination, "_metadata"):  # which `state_dict` gives every state
            loss = {"loss": _loss_name(type(self)), "kind": getattr(self, "kind", None)}
            destination._metadata[prefix[:-1]].update(loss)

    def _load_from_state_dict(
        self,
        state_dict: Any,
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        loss, kind = local_metadata.get("loss"), local_metadata.get("kind")
        names = [base.__name__ for base in type(self).__mro__]
        own_kind = getattr(self, "kind", None)
        if loss is not None and (loss not in names or kind != own_kind):
            # Margins and scales of the same name and shape mean something else there.
            expected = f"the state of {_described(_loss_name(type(self)), own_kind)}"
            error_msgs.append(f"state_dict: expected {expected}, got {_described(loss, kind)}")
            return
        for name in self._first_values:  # load_state_dict(assign=True) takes tensors as they are
            value = state_dict.get(prefix + name)
            if isinstance(value, Tensor):
                state_dict[prefix + name] = value.to(getattr(self, name).dtype)
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


def _loss_name(loss: type) -> str:
    """Return the name of the loss of this package that a class is or extends.

    Extensions in other packages may be renamed, and exchange states with what they extend.
    """
    package = __name__.partition(".")[0]
    names = [each.__name__ for each in loss.__mro__ if each.__module__.split(".")[0] == package]
    return names[0]


def _described(loss: str, kind: str | None) -> str:
    return loss if kind is None else f'{loss}, kind "{kind}"'
