"""Weights that training starts from: those of another run, or of a backbone alone."""

from pathlib import Path

import torch
from torch import Tensor, nn

from fairloss.agent import MarginGrid
from fairloss.checks import expect
from fairloss.data import FaceImages
from fairloss.heads import FairLoss, Head
from fairloss.io.json import read_json
from fairloss.training.backbone import load_weights, read_state
from fairloss.training.config import TrainConfig
from fairloss.training.settings import load_config
from fairloss.typing import Float64s


def start_from_run(config: TrainConfig, model: nn.Module, head: Head, faces: FaceImages) -> None:
    """Take the backbone, the class weights and, in Fair Loss, the margins of `config.init`.

    Class weights are matched by the name of the identity; an identity that the run does not have
    keeps its new weight and the first margin of `head`. Margins are taken from a run with margins
    of the same kind on the grid; from any other run the weights alone are taken.

    Raises:
        ValueError: it is no finished run, its backbone does not fit, or no identity is shared.
    """
    run = Path(config.init or "")
    check_finished("init", run)
    load_weights("init", model, run / "model.pt", config)
    rows = class_rows("init", faces, run)
    head.warm_start(read_state("init", run / "head.pt"), rows)
    if isinstance(head, FairLoss):
        _take_margins(config, head, run, rows)


def class_rows(setting: str, faces: FaceImages, run: Path) -> Tensor:
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
    try:
        kind, margins = trained_margins("init", run, head.policy.grid)
    except ValueError:  # its head has no margins that the policy could move
        return
    if kind == head.kind:
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
        ValueError: naming `setting`: no finished run, no such kind, or a margin off the grid.
    """
    check_finished(setting, run)
    head = load_config(run / "config.yaml", [], TrainConfig).head
    kinds = {"ArcFace": "arc", "CosFace": "cos", "FairLoss": head.kind or "arc"}
    state = read_state(setting, run / "head.pt")
    margins = state.get("margins", torch.tensor(torch.nan)).double().numpy()
    if head.name not in kinds or not grid.contains(margins):
        distinct = sorted(set(margins.ravel().tolist()))[:3]
        raise ValueError(
            f"{setting}: expected a run of FairLoss, or of ArcFace or CosFace at one of "
            f"{grid.values}, got {run}, trained with {head.name} at {distinct}"
        )
    return kinds[head.name], margins


def check_finished(setting: str, run: Path) -> None:
    """Raise ValueError unless `run` holds the files of a finished run."""
    files = ("config.yaml", "identities.json", "model.pt", "head.pt")
    missing = [name for name in files if not (run / name).is_file()]
    got = f"{run} without {', '.join(missing)}"
    expect(not missing, setting, "a finished run", got)
