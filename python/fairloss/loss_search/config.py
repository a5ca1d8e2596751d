"""Settings of a search: those of training, and what the search adds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from fairloss.checks import check_number, expect
from fairloss.heads.registry import DEFAULT_SCALE
from fairloss.training import HeadConfig, TrainConfig
from fairloss.training.config import choice, number, positive
from fairloss.training.settings import absolute, map_paths

RANDOM = "random-softmax"  # draws a loss in every round and searches none
METHODS = {"search-softmax": "SearchSoftmax", RANDOM: "SearchSoftmax", "am-lfs": "AMLFS"}
UNITS = ("margin", "linear")


@dataclass
class SearchSettings:
    """Settings of a search beside those of training."""

    method: str = choice("search-softmax", tuple(METHODS))
    population: int = number(4, 1)  # models of a round; random-softmax has one, whatever this says
    held_out: int = number(10, 2)  # training identities that no model trains on: for the reward
    learning_rate: float = number(0.3, 0)  # of the mean, in sigmas a round (see GaussianSearch)
    sigma: float = positive(0.1)  # of the Gaussian
    start: float = number(0.2, 0)  # first mean of every a, in its unit; not of am-lfs
    unit: str = choice("margin", UNITS)  # of z: margin, a = 1 - e^(s z); linear, a = -z e^(s / 3)
    bins: int = number(1, 1)  # of p, each with its own a; 1: the same everywhere
    intervals: int = number(6, 1)  # am-lfs: pieces of t and of tau


@dataclass
class SearchConfig(TrainConfig):
    """A search; of the head, scale and sample_rate may be set, `epochs` counts the rounds."""

    search: SearchSettings = field(default_factory=SearchSettings)
    workers: int = number(1, 1)  # processes that train the population

    def check(self) -> None:
        """Raise ValueError naming the first setting that is out of range."""
        super().check()
        if self.finds_loss:
            check_number("search.population", self.search.population, 2)
        default = HeadConfig(scale=self.head.scale, sample_rate=self.head.sample_rate)
        allowed = default, replace(default, name=METHODS[self.search.method])
        expected = "scale and sample_rate alone, as the search sets the rest"
        expect(self.head in allowed, "head", expected, f"other settings of {self.head.name}")
        expect(not self.tensorboard, "tensorboard", "false, as a search writes no scalars", "true")
        expect(
            self.statistics != "always", "statistics", "when_needed, as a search has none", "always"
        )

        rounds = "0, as a search saves after each round"
        expect(self.checkpoint_every == 0, "checkpoint_every", rounds, self.checkpoint_every)
        expect(not self.evaluate, "evaluate", "none, as a search logs rewards", self.evaluate)

    @property
    def finds_loss(self) -> bool:
        """True if the result is a loss; that of random-softmax is the model alone."""
        return self.search.method != RANDOM

    @property
    def members(self) -> int:
        """Number of models in a round."""
        return self.search.population if self.finds_loss else 1

    def resolve(self, reads_data: bool) -> SearchConfig:
        """Return the settings with the searched head and absolute paths."""
        scale = DEFAULT_SCALE if self.head.scale is None else self.head.scale
        resolved = map_paths(self, absolute)
        head = replace(self.head, name=METHODS[self.search.method], scale=scale)
        return replace(resolved, head=head, data=resolved.data if reads_data else self.data)
