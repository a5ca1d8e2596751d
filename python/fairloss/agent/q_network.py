"""The Q-network of the agent."""

from torch import Tensor, nn

from fairloss.agent.grid import ACTIONS


class QNetwork(nn.Module):
    """One-hot state -> 64 -> ReLU -> 64 -> ReLU -> one Q value per action.

    `forward(state)` maps (n,) int64 state ids to (n, 3). The shape is our choice: the paper says
    deep Q-learning and no more.
    """

    def __init__(self, num_states: int) -> None:
        super().__init__()
        self.num_states = num_states
        self.layers = nn.Sequential(
            nn.Linear(num_states, 64),
            nn.ReLU(),
            nn.Linear(64, 64),
            nn.ReLU(),
            nn.Linear(64, len(ACTIONS)),
        )

    def forward(self, state: Tensor) -> Tensor:
        """Return (n, 3) Q values of (n,) int64 states."""
        one_hot = nn.functional.one_hot(state, self.num_states)
        values: Tensor = self.layers(one_hot.to(next(self.parameters()).dtype))
        return values
