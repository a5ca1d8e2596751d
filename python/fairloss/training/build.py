"""The backbone, head and trainer that a configuration describes."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from fairloss.agent import Policy
from fairloss.checks import check_file, expect
from fairloss.data import LabeledImages
from fairloss.heads import HEADS, CosineHead, Head, registry
from fairloss.heads.fair_loss import as_trained
from fairloss.io.run_folder import RunFolder
from fairloss.ranks import num_ranks, on_every_rank
from fairloss.training.backbone import backbone, load_weights
from fairloss.training.config import HeadConfig, TrainConfig, device_of
from fairloss.training.loss_file import with_loss
from fairloss.training.margins_file import read_margins
from fairloss.training.trainer import Trainer
from fairloss.training.warm_start import start_from_run


def build_head(
    config: HeadConfig,
    num_classes: int,
    embedding_size: int,
    seed: int = 0,
    counts: Tensor | None = None,
    policy: Policy | None = None,
    *,
    identities: Sequence[str] | None = None,
    epochs: int | None = None,
) -> Head:
    """Return the configured head; ValueError naming the setting that does not fit.

    Several ranks of `torch.distributed` divide its classes.

    Args:
        config: of the head.
        num_classes: C.
        embedding_size: D.
        seed: draws the classes where `sample_rate` is below 1, and nothing else.
        counts: (C,) images of each class, for LDAM and PerClass; default one each.
        policy: instead of reading `config.policy`.
        identities: names of the classes, for the file of `config.margins`.
        epochs: of the whole training, for a schedule of PerClass.
    """
    config = with_loss(config)
    policy = read_policy(config) if policy is None else policy
    margins = read_margins(config, identities)
    options = dict(config.options)
    if num_ranks() > 1:
        divides = config.name not in HEADS or issubclass(HEADS[config.name], CosineHead)
        expected = f"one that divides its classes among ranks, of which there are {num_ranks()}"
        expect(divides, "head.name", expected, config.name)
        options["process_group"] = distributed.group.WORLD
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
            epochs=epochs,
            margins=margins,
            options=options,
        )
    except ValueError as error:
        raise ValueError(f"head.{error}") from error


def check_parts(config: TrainConfig, policy: Policy | None, begun: bool = False) -> None:
    """Raise ValueError where backbone or head cannot be built, before the images are read.

    Args:
        config: of the run.
        policy: of Fair Loss, which it needs unless the run has `begun`.
        begun: whether there is a checkpoint.
    """
    backbone(config)
    expect(
        config.head.name != "FairLoss" or policy is not None or begun,
        "head.policy",
        "a policy.json of `fairloss collect run=RUN output=FOLDER` and `fairloss fit-policy "
        "FOLDER/experience.npz --output policy.json`",
        "none",
    )
    build_head(config.head, 2, config.model.embedding_size, policy=policy, epochs=config.epochs)


def read_policy(config: HeadConfig) -> Policy | None:
    """Return the policy that the settings name, or None."""
    if config.policy is None:
        return None
    none = f"no policy for {config.name}, as head.name=FairLoss alone takes one"
    expect(config.name == "FairLoss", "head.policy", none, config.policy)
    check_file("head.policy", Path(config.policy))
    return Policy.load(config.policy)


def build_trainer(
    config: TrainConfig, faces: LabeledImages, folder: RunFolder, policy: Policy | None = None
) -> Trainer:
    """Return backbone and head, new or from another run, ready for the first step.

    Args:
        config: of the run.
        faces: the training set.
        folder: of the run.
        policy: of Fair Loss, instead of the one that the run names or has.
    """
    model, head = on_every_rank(lambda: _build_parts(config, faces, folder, policy))
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
        workers=config.workers,
        sampler=config.sampler,
        images_per_class=config.images_per_class,
        precision=config.precision,
        accumulate=config.accumulate,
    )


def _build_parts(
    config: TrainConfig, faces: LabeledImages, folder: RunFolder, policy: Policy | None
) -> tuple[nn.Module, Head]:
    torch.manual_seed(config.seed)
    model = backbone(config)
    head = build_head(
        config.head,
        faces.num_classes,
        config.model.embedding_size,
        config.seed,
        faces.counts,
        run_policy(config, folder) if policy is None else policy,
        identities=faces.identities,
        epochs=config.epochs,
    )
    if config.init is not None and not folder.begun:
        start_from_run(config, model, head, faces)
    if config.init_backbone is not None and not folder.begun:
        load_weights("init_backbone", model, Path(config.init_backbone), config)
    return model, head


def _log_skip(folder: RunFolder, step: int, reason: str) -> None:
    folder.log("skip", step=step, reason=reason)


def run_policy(config: TrainConfig, folder: RunFolder) -> Policy | None:
    """Return the policy that a run names; one that has begun reads its own copy.

    Version 0.1.0 packaged a policy, and wrote it to the runs whose settings name none: they read
    it there, also where they were interrupted before the first checkpoint.
    """
    copy = folder / "policy.json"
    unnamed = config.head.policy is None and (folder / "config.yaml").is_file()
    is_fair_loss = config.head.name == "FairLoss"  # another's run may hold a policy for later
    if is_fair_loss and copy.is_file() and (folder.begun or unnamed):
        return as_trained(Policy.load(copy), config.head.kind or "arc")
    return read_policy(config.head)
