"""The backbone, head and trainer that a configuration describes."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from fairloss.agent import Policy
from fairloss.checks import check_file, expect
from fairloss.data import FaceImages
from fairloss.heads import Head, registry
from fairloss.io.run_folder import RunFolder
from fairloss.training.backbone import backbone, load_weights
from fairloss.training.config import HeadConfig, TrainConfig, device_of
from fairloss.training.loss_file import with_loss
from fairloss.training.trainer import Trainer
from fairloss.training.warm_start import start_from_run


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
    """Return backbone and head, new or from another run, ready for the first step."""
    torch.manual_seed(config.seed)
    model = backbone(config)
    head = build_head(
        run_head(config, folder),
        faces.num_classes,
        config.model.embedding_size,
        config.seed,
        faces.counts,
    )
    if config.init is not None and not folder.begun:
        start_from_run(config, model, head, faces)
    if config.init_backbone is not None and not folder.begun:
        load_weights("init_backbone", model, Path(config.init_backbone), config)
    return Trainer(
        model,
        head,
        faces,
        config.optimizer,
        batch_size=config.batch_size,
        seed=config.seed,
        augment=config.augment,
        device=device_of(config.device),
        on_skip=partial(_log_skip, folder),
    )


def _log_skip(folder: RunFolder, step: int, reason: str) -> None:
    folder.log("skip", step=step, reason=reason)


def run_head(config: TrainConfig, folder: RunFolder) -> HeadConfig:
    """Return the head's settings; a run that has begun reads its own copy of the policy."""
    policy = folder / "policy.json"
    copied = policy.is_file() and folder.begun
    return replace(config.head, policy=str(policy)) if copied else config.head
