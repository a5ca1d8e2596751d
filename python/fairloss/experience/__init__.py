"""Experience: transitions of classes whose margins move, and the policy learned from them."""

from fairloss.experience.collect import CollectConfig, collect
from fairloss.experience.experience import Experience
from fairloss.experience.fit import Fit, fit_policy
from fairloss.experience.skewness import (
    GroupEpochs,
    collect_skewness,
    fit_group_policy,
    group_separation,
)

__all__ = [
    "CollectConfig",
    "Experience",
    "Fit",
    "GroupEpochs",
    "collect",
    "collect_skewness",
    "fit_group_policy",
    "fit_policy",
    "group_separation",
]
