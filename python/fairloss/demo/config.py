"""The settings of the demo, and those of the runs that it starts."""

from dataclasses import dataclass, field
from pathlib import Path

from fairloss.checks import check_integer, expect
from fairloss.experience import CollectConfig
from fairloss.training import (
    HeadConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    check_device,
)
from fairloss.training.config import check_settings, path

START_MARGIN = 0.35  # of pre-training, and from which Fair Loss moves the margins


@dataclass
class DemoConfig:
    """Settings of the demo."""

    output: str = path("runs/demo")
    data: str | None = path(None)  # a folder of identity/image files; default: the ORL faces
    seed: int = 0
    seeds: int = 5  # networks of each arm
    unseen: int = 10  # identities held out for verification
    pretrain_epochs: int = 30
    chain_epochs: int = 45
    epochs: int = 40  # of each network of an arm, and of each network that chooses the margin
    image_size: list[int] = field(default_factory=lambda: [56, 48])
    replicates: int = 1000  # of the bootstrap of each network's own report
    device: str = "auto"  # cpu, cuda, or auto: a GPU if torch has one

    def check(self) -> None:
        """Raise ValueError naming the first setting that is out of range."""
        check_settings(self)
        for name in ("unseen", "pretrain_epochs", "chain_epochs", "epochs", "replicates"):
            check_integer(name, getattr(self, name))
        check_integer("seed", self.seed, 0)
        check_integer("seeds", self.seeds, 2)
        check_device(self.device)
        expect(len(self.image_size) == 2, "image_size", "[height, width]", self.image_size)

    def arm_seeds(self) -> list[int]:
        """Return the seeds of the networks of an arm; two demos have none in common."""
        return [self.seed * self.seeds + number for number in range(self.seeds)]


def training_run(
    config: DemoConfig, name: str, seed: int, margin: float | None = START_MARGIN
) -> TrainConfig:
    """Return the settings of a run of `config.epochs`: Fair Loss, or ArcFace at `margin`.

    Args:
        config: of the demo.
        name: of the run folder, below the output.
        seed: of the run.
        margin: fixed; None for Fair Loss with the policy of the demo.
    """
    scale = 32.0
    fixed = HeadConfig(name="ArcFace", margin=margin, scale=scale)
    policy = str(Path(config.output) / "policy.json")
    fair = HeadConfig(name="FairLoss", margin=START_MARGIN, scale=scale, policy=policy)
    return TrainConfig(
        data=config.data or "ORL",
        output=str(Path(config.output) / name),
        epochs=config.epochs,
        seed=seed,
        batch_size=32,
        image_size=config.image_size,
        channels=1,
        device=config.device,
        model=ModelConfig(name="small_cnn", embedding_size=128),
        head=fair if margin is None else fixed,
        optimizer=OptimizerConfig(learning_rate=0.05),
    )


def collection(config: DemoConfig) -> CollectConfig:
    """Return the settings of the collection, which starts from the run in `pretrain`."""
    output = Path(config.output)
    return CollectConfig(
        run=str(output / "pretrain"),
        output=str(output / "collect"),
        epochs=config.chain_epochs,
        seed=config.seed,
        min_cell=1,  # 30 classes in up to 36 cells
        learning_rate=0.005,
        device=config.device,
    )
