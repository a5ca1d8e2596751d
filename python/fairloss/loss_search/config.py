"""Settings of a search: those of training, and what the search adds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from fairloss.training import HeadConfig, TrainConfig, check_numbers

METHODS = {"search-softmax": "SearchSoftmax", "random-softmax": "SearchSoftmax", "am-lfs": "AMLFS"}
UNITS = ("margin", "linear")


@dataclass
class SearchSettings:
    method: str = "search-softmax"  # or random-softmax, am-lfs
    population: int = 4  # models of a round; random-softmax has one, whatever this says
    held_out: int = 10  # training identities that no model sees: they give the reward
    learning_rate: float = 0.3  # of the mean, in sigmas a round (see GaussianSearch)
    sigma: float = 0.1  # of the Gaussian
    start: float = 0.2  # first mean of every a, in its unit; am-lfs starts at the identity
    unit: str = "margin"  # Gaussian over z: margin, a = 1 - e^(s z); linear, a = -z e^(s / 3)
    bins: int = 1  # of p, each with its own a; 1: the same everywhere
    intervals: int = 6  # am-lfs: pieces of t and of tau


@dataclass
class SearchConfig(TrainConfig):
    """Of the head, scale and sample_rate may be set; `epochs` are rounds of one epoch each."""

    search: SearchSettings = field(default_factory=SearchSettings)
    workers: int = 1  # processes that train the population

    def check(self) -> None:
        """ValueError naming the first setting that is out of range."""
        super().check()
        own = self.search
        for name, value, allowed in (
            ("search.method", own.method, tuple(METHODS)),
            ("search.unit", own.unit, UNITS),
        ):
            if value not in allowed:
                raise ValueError(f"{name}: got {value!r}, allowed are {', '.join(allowed)}")
        least = {"search.population": 1 if own.method == "random-softmax" else 2}
        least |= {"search.held_out": 2, "search.bins": 1, "search.intervals": 1, "workers": 1}
        given = {"search.population": own.population, "search.held_out": own.held_out}
        given |= {"search.bins": own.bins, "search.intervals": own.intervals}
        given |= {"workers": self.workers}
        for name, number in given.items():
            if number < least[name]:
                raise ValueError(f"{name}: got {number}, expected at least {least[name]}")
        check_numbers(
            positive={"search.sigma": own.sigma},
            natural={"search.learning_rate": own.learning_rate, "search.start": own.start},
        )
        head = self.head
        free = HeadConfig(scale=head.scale, sample_rate=head.sample_rate)
        if head not in (free, replace(free, name=METHODS[own.method])):
            raise ValueError("head: a search sets all but scale and sample_rate; leave it out")
        if self.tensorboard:
            raise ValueError("tensorboard: a search writes no scalars for it; leave it out")

    @property
    def members(self) -> int:
        """Models of a round."""
        return 1 if self.search.method == "random-softmax" else self.search.population

    def completed(self, reads_data: bool) -> SearchConfig:
        """With the head that is searched, and paths that hold in another folder and process."""
        scale = 32.0 if self.head.scale is None else self.head.scale
        return replace(
            self,
            head=replace(self.head, name=METHODS[self.search.method], scale=scale),
            data=str(Path(self.data).resolve()) if reads_data else self.data,
            output=str(Path(self.output).resolve()),
            init=None if self.init is None else str(Path(self.init).resolve()),
        )
