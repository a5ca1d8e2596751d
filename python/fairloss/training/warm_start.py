"""Weights that training starts from: those of another run, or of a backbone alone."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fairloss.agent import MarginGrid
from fairloss.checks import expect
from fairloss.data import LabeledImages
from fairloss.heads import FairLoss, Head
from fairloss.io.json import read_json
from fairloss.training.backbone import load_weights, read_state
from fairloss.training.config import TrainConfig
from fairloss.training.settings import load_config
from fairloss.typing import Float64s


def start_from_run(config: TrainConfig, model: nn.Module, head: Head, faces: LabeledImages) -> None:
    """Take the backbone, the class weights and, in Fair Loss, the margins of `config.init`.

    Class weights are matched by the name of the identity; an identity that the run does not have
    keeps its new weight and the first margin of `head`. The weights of any loss start any other;
    Fair Loss takes margins from a run with margins of its kind on its grid, and warns otherwise.

    Raises:
        ValueError: it is no finished run, its backbone does not fit, no identity is shared, or a
            file is damaged.
    """
    run = Path(config.init or "")
    check_finished("init", run)
    load_weights("init", model, run / "model.pt", config)
    rows = class_rows("init", faces, run)
    head.warm_start(_head_state("init", run), rows)
    if isinstance(head, FairLoss):
        _take_margins(config, head, run, rows)


def class_rows(setting: str, faces: LabeledImages, run: Path) -> Tensor:
    """Return the (C,) row that each identity has in another run; -1 where it has none.

    Raises:
        ValueError: naming `setting`: the two have no identity in common.
    """
    identities = read_json(run / "identities.json", identities=list)["identities"]
    row_of = {name: row for row, name in enumerate(identities)}
    rows = torch.tensor([row_of.get(name, -1) for name in faces.identities])
    expected = "a run on some of these identities; init_backbone takes a backbone of others"
    expect((rows >= 0).any(), setting, expected, f"{run} with none of them")
    return rows


def _take_margins(config: TrainConfig, head: FairLoss, run: Path, rows: Tensor) -> None:
    name, kind, margins = _read_margins("init", run)
    if kind != head.kind or not head.policy.grid.contains(margins):
        expected = f'those of kind "{head.kind}" at {head.policy.grid.values}'
        warnings.warn(
            f"init: takes the class weights of {run}, and not its margins: expected {expected}, "
            f"got {_described(name, kind, margins)}",
            stacklevel=2,
        )
        return
    # A class starts from the margin it was trained with: any other would be a mere label.
    given = config.head.margin is not None
    expect(not given, "head.margin", "none beside init, whose margins are taken", "one")
    shared = rows.numpy() >= 0
    changed = head.margins.double().cpu().numpy().copy()
    changed[shared] = margins if margins.ndim == 0 else margins[rows.numpy()[shared]]
    head.set_margins(changed)


def trained_margins(setting: str, run: Path, grid: MarginGrid) -> tuple[str, Float64s]:
    """Return the kind ("arc" or "cos") and the margins, () or (C,), that a run ended with.

    Raises:
        ValueError: naming `setting`: no finished run, no such kind, a margin off the grid, or a
            damaged file.
    """
    check_finished(setting, run)
    name, kind, margins = _read_margins(setting, run)
    if kind is None or not grid.contains(margins):
        raise ValueError(
            f"{setting}: expected a run of FairLoss, or of ArcFace or CosFace at one of "
            f"{grid.values}, got {run}, trained with {_described(name, kind, margins)}"
        )
    return kind, margins


def _read_margins(setting: str, run: Path) -> tuple[str, str | None, Float64s]:
    """Return the head's name, the kind of its margins and these, () or (C,).

    The kind is None where the head has none that a policy could move, and the margins are NaN.
    """
    head = load_config(run / "config.yaml", [], TrainConfig).head
    kinds = {"ArcFace": "arc", "CosFace": "cos", "FairLoss": head.kind or "arc"}
    if head.name not in kinds:
        return head.name, None, np.array(np.nan)
    state = _head_state(setting, run)
    margins = state.get("margins")
    shapes = (), (len(state["weight"]),)
    valid = isinstance(margins, Tensor) and margins.shape in shapes and margins.isfinite().all()
    expected = "finite margins, one for all classes or one for each"
    expect(valid, setting, f"{run / 'head.pt'} with {expected}", margins)
    return head.name, kinds[head.name], state["margins"].double().numpy()


def _head_state(setting: str, run: Path) -> dict[str, Any]:
    state = read_state(setting, run / "head.pt", mapped=True)  # each rank takes its rows alone
    is_head = isinstance(state.get("weight"), Tensor)
    expect(is_head, setting, f"{run / 'head.pt'} with class weights", "none")
    return state


def _described(name: str, kind: str | None, margins: Float64s) -> str:
    if kind is None:
        return name
    distinct = sorted(set(margins.ravel().tolist()))
    shown = [float(f"{margin:g}") for margin in distinct[:3]]
    return f'{name} at {shown}, of kind "{kind}"'


def check_finished(setting: str, run: Path) -> None:
    """Raise ValueError unless `run` holds the files of a finished run."""
    files = ("config.yaml", "identities.json", "model.pt", "head.pt")
    missing = [name for name in files if not (run / name).is_file()]
    got = f"{run} without {', '.join(missing)}"
    expect(not missing, setting, "a finished run", got)
