"""The backbone, head and trainer that a configuration describes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fairloss.agent import MarginGrid, Policy
from fairloss.checks import check_file, expect
from fairloss.data import FaceImages
from fairloss.heads import FairLoss, Head, registry
from fairloss.io.run_folder import RunFolder
from fairloss.training.backbone import backbone
from fairloss.training.config import HeadConfig, TrainConfig, device_of
from fairloss.training.identities import check_same_identities
from fairloss.training.loss_file import with_loss
from fairloss.training.settings import load_config
from fairloss.training.trainer import Trainer
from fairloss.typing import Float64s


def build_head(
    config: HeadConfig,
    num_classes: int,
    embedding_size: int,
    seed: int = 0,
    counts: Tensor | None = None,
) -> Head:
    """Return the configured head; ValueError naming the setting that does not fit.

    Args:
        config: of the head.
        num_classes: C.
        embedding_size: D.
        seed: draws the classes where `sample_rate` is below 1, and nothing else.
        counts: (C,) images of each class, for the head that uses them (LDAM); default one each.
    """
    config = with_loss(config)
    policy = _read_policy(config)
    try:
        return registry.build_head(
            config.name,
            num_classes,
            embedding_size,
            margin=config.margin,
            kind=config.kind,
            scale=config.scale,
            policy=policy,
            sample_rate=config.sample_rate,
            sample_seed=seed,
            counts=counts,
            options=config.options,
        )
    except ValueError as error:
        raise ValueError(f"head.{error}") from error


def _read_policy(config: HeadConfig) -> Policy | None:
    if config.policy is None:
        return None
    none = f"no policy for {config.name}"
    expect(config.name == "FairLoss", "head.policy", none, config.policy)
    check_file("head.policy", Path(config.policy))
    policy = Policy.load(config.policy)
    kind, learned = config.kind or "arc", policy.provenance.get("kind")
    got = f"{config.policy}, learned with {learned}"
    expect(learned in (None, kind), "head.policy", f"one learned with head.kind={kind}", got)
    return policy


def build_trainer(config: TrainConfig, faces: FaceImages, folder: RunFolder) -> Trainer:
    """Return backbone and head from `config.seed` (or `config.init`), ready for the first step."""
    torch.manual_seed(config.seed)
    model = backbone(config)
    head = build_head(
        run_head(config, folder),
        faces.num_classes,
        config.model.embedding_size,
        config.seed,
        faces.counts,
    )
    if config.init is not None:
        given = config.head.margin is not None and isinstance(head, FairLoss)
        expect(not given, "head.margin", "none beside init, whose margins are taken", "one")
        initialize(model, head, faces, Path(config.init))
    return Trainer(
        model,
        head,
        faces,
        config.optimizer,
        batch_size=config.batch_size,
        seed=config.seed,
        augment=config.augment,
        device=device_of(config.device),
        on_skip=lambda step, reason: folder.log("skip", step=step, reason=reason),
    )


def run_head(config: TrainConfig, folder: RunFolder) -> HeadConfig:
    """Return the head's settings; a run that has begun reads its own copy of the policy."""
    policy = folder / "policy.json"
    begun = policy.is_file() and any(folder.path.glob("checkpoint-*.pt"))
    return replace(config.head, policy=str(policy)) if begun else config.head


def initialize(model: nn.Module, head: Head, faces: FaceImages, run: Path) -> None:
    """Take backbone, class weights and margins from another run on the same identities.

    Raises:
        ValueError: `run` is no finished run, or one of other identities.
    """
    finished = (run / "model.pt").is_file() and (run / "head.pt").is_file()
    expect(finished, "init", "a finished run with model.pt and head.pt", run)
    check_same_identities("init", faces, run)
    model.load_state_dict(torch.load(run / "model.pt", map_location="cpu", weights_only=True))
    state = torch.load(run / "head.pt", map_location="cpu", weights_only=True)
    head.weight.data.copy_(state["weight"])
    if isinstance(head, FairLoss):
        # A class starts from the margin it was trained with: any other would be a mere label.
        kind, margins = trained_margins("init", run, head.policy.grid)
        expect(kind == head.kind, "init", f"a run with {head.kind} margins", f"{run} with {kind}")
        head.set_margins(np.full(head.num_classes, margins))


def trained_margins(setting: str, run: Path, grid: MarginGrid) -> tuple[str, Float64s]:
    """Return the kind ("arc" or "cos") and the margins, () or (C,), that a run ended with.

    Raises:
        ValueError: naming `setting`: no finished run, no such kind, or a margin off the grid.
    """
    finished = (run / "config.yaml").is_file() and (run / "head.pt").is_file()
    expect(finished, setting, "a finished run with config.yaml and head.pt", run)
    head = load_config(run / "config.yaml", [], TrainConfig).head
    kinds = {"ArcFace": "arc", "CosFace": "cos", "FairLoss": head.kind or "arc"}
    state = torch.load(run / "head.pt", map_location="cpu", weights_only=True)
    margins = state.get("margins", torch.tensor(torch.nan)).double().numpy()
    if head.name not in kinds or not grid.contains(margins):
        distinct = sorted(set(margins.ravel().tolist()))[:3]
        raise ValueError(
            f"{setting}: expected a run of FairLoss, or of ArcFace or CosFace at one of "
            f"{grid.values}, got {run}, trained with {head.name} at {distinct}"
        )
    return kinds[head.name], margins
