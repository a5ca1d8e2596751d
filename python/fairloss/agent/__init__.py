"""The agent of Fair Loss: states, transitions, two solvers for Q, and the policy."""

from fairloss.agent.dqn import fit_dqn
from fairloss.agent.effects import EffectModel, Effects
from fairloss.agent.grid import ACTIONS, MarginGrid
from fairloss.agent.group_bias import GroupBias, GroupPolicy, skewness_reward
from fairloss.agent.policy import Policy
from fairloss.agent.q_network import QNetwork
from fairloss.agent.reward import standardized_change, standardized_reward
from fairloss.agent.state import GroupState
from fairloss.agent.tabular import fit_tabular
from fairloss.agent.transitions import Transitions
from fairloss.deprecation import renamed

__all__ = [
    "ACTIONS",
    "EffectModel",
    "Effects",
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
    "standardized_change",
    "standardized_reward",
]

__getattr__ = renamed(__name__, {"standardised_reward": "fairloss.agent:standardized_reward"})
