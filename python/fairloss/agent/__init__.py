"""The agent of Fair Loss: states, transitions, two ways to learn Q, and the policy they give."""

from fairloss.agent.dqn import QNetwork, fit_dqn
from fairloss.agent.grid import ACTIONS, MarginGrid
from fairloss.agent.group_bias import GroupBias, GroupPolicy, skewness_reward
from fairloss.agent.policy import Policy
from fairloss.agent.states import GroupState
from fairloss.agent.tabular import fit_tabular
from fairloss.agent.transitions import Transitions, standardised_reward

__all__ = [
    "ACTIONS",
    "GroupBias",
    "GroupPolicy",
    "GroupState",
    "MarginGrid",
    "Policy",
    "QNetwork",
    "Transitions",
    "fit_dqn",
    "fit_tabular",
    "skewness_reward",
    "standardised_reward",
]
