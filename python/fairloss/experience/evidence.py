"""Evidence for a policy: visits, agreement of chains, a permutation test and the effects."""

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np

from fairloss.agent import ACTIONS, Transitions, fit_tabular
from fairloss.agent.effects import branched_epochs, chain_trends
from fairloss.agent.policy import Policy
from fairloss.agent.state import legal_actions
from fairloss.experience.experience import Experience
from fairloss.typing import Bools, Float64s, Ints

# The fewest visits of a pair that the layout of the collection aims at, see docs/method.md.
FEW_VISITS = 3
PERMUTATIONS = 199  # the smallest p is 1 / 200
_SHARE_OF_FEW = 0.25  # of the legal pairs; more than this is a doubt


def evidence(
    experience: Experience, policy: Policy, reward: str, gamma: float, weights: tuple[float, float]
) -> dict[str, Any]:
    """Return the evidence for a policy, as JSON; None where it is not measurable.

    Args:
        experience: that the policy was learned from.
        policy: the table.
        reward: as in `Experience.rewards`.
        gamma: discount per epoch.
        weights: of the inter- and the intra-class term.
    """
    changes = experience.changes(weights)
    return {
        "reward": reward,
        "visits": _visits(policy),
        "chains": _agreement(experience, changes, reward, gamma),
        "permutation": permutation_test(experience, changes, reward),
        "effects": _effects(experience, changes),
        "reduces_to": reduced(policy),
    }


def reduced(policy: Policy) -> str:
    """Return the table in a few words, over the states in which two actions or more were tried."""
    compared = (policy.visits > 0).sum(axis=1) > 1
    if not compared.any():
        return "no state in which two actions were tried"
    for action in ACTIONS:
        constant = Policy.constant(action, policy.grid).table
        if (policy.table == constant)[compared].all():
            return f"always {action}"
    margin = np.arange(len(compared)) % len(policy.grid)
    actions = [np.unique(policy.table[compared & (margin == m)]) for m in range(len(policy.grid))]
    if all(len(row) < 2 for row in actions):
        parts = [
            f"{ACTIONS[row[0]]} at {value:g}"
            for row, value in zip(actions, policy.grid.values, strict=True)
            if len(row)
        ]
        return ", ".join(parts)
    counts = np.bincount(policy.table[compared], minlength=len(ACTIONS))
    shares = [f"{name} in {n}" for name, n in zip(ACTIONS, counts.tolist(), strict=True)]
    return f"no simple rule: {', '.join(shares)} of {compared.sum()} states"


def _visits(policy: Policy) -> dict[str, int]:
    visits = policy.visits[legal_actions(policy.grid)]
    return {
        "legal_pairs": visits.size,
        "smallest": int(visits.min()),
        "few": int((visits < FEW_VISITS).sum()),
        "threshold": FEW_VISITS,
    }


def _effects(experience: Experience, changes: Float64s) -> dict[str, float | None]:
    effects = experience.effect_model().fit(changes)
    names = ("own", "own_error", "common", "common_error")
    values = {name: float(getattr(effects, name)) for name in names}
    return {name: value if np.isfinite(value) else None for name, value in values.items()}


def exact_q(experience: Experience, rewards: Float64s, gamma: float) -> Float64s:
    """Return the exact Q, in the unit of the rewards."""
    data = Transitions(experience.state, experience.action, rewards, experience.successor)
    return fit_tabular(data, legal_actions(experience.margin_grid()), gamma)


def _advantages(q: Float64s, tried: Bools) -> Float64s:
    """Return Q less its mean over the tried actions of the state, 0 elsewhere."""
    values = np.where(tried, q, 0.0)
    mean = values.sum(axis=1) / np.maximum(tried.sum(axis=1), 1)
    return np.where(tried, values - mean[:, None], 0.0)


def _agreement(
    experience: Experience, changes: Float64s, reward: str, gamma: float
) -> dict[str, float | None]:
    """Compare the exact tables of single chains, over actions that both of two chains tried.

    Chance is the agreement of independent draws among those actions.
    """
    seeds = np.unique(experience.seed)
    measured: dict[str, float | None] = dict.fromkeys(("agreement", "chance", "correlation"))
    tables = []
    try:
        for seed in seeds if len(seeds) > 1 else []:
            part = experience.chain(int(seed))
            rewards = part.rewards(reward)(changes[experience.seed == seed])
            tables.append(exact_q(part, rewards, gamma))
    except ValueError:  # a single chain does not determine the common effect
        tables = []
    pairs = [measures for a, b in combinations(tables, 2) if (measures := agreement(a, b))]
    if pairs:
        means = np.mean(pairs, axis=0).tolist()
        measured = dict(zip(measured, means, strict=True))
    return {"count": len(seeds), **measured}


def agreement(a: Float64s, b: Float64s) -> tuple[float, float, float] | None:
    """Return the agreement of two tables, that by chance, and the correlation of advantages.

    They are over the states in which both tried the same two actions or more; None without any.

    Args:
        a: (S, 3) Q of a collection, NaN where a pair was not visited.
        b: that of another.
    """
    tried = np.isfinite(a) & np.isfinite(b)
    tried &= tried.sum(axis=1, keepdims=True) > 1
    states = tried.any(axis=1)
    if not states.any():
        return None
    a, b = (_advantages(q, tried) for q in (a, b))
    same = _greedy(a, tried)[states] == _greedy(b, tried)[states]
    spread = a[tried].std() * b[tried].std()
    correlation = float(np.mean(a[tried] * b[tried]) / spread) if spread > 0 else 0.0
    return float(same.mean()), float((1 / tried.sum(axis=1)[states]).mean()), correlation


def _greedy(advantages: Float64s, tried: Bools) -> Ints:
    best: Ints = np.where(tried, advantages, -np.inf).argmax(axis=1)
    return best


def permutation_test(
    experience: Experience, changes: Float64s, reward: str
) -> dict[str, float | int]:
    """Compare the mean advantage of the best actions with that of permuted changes.

    Changes less the effects of their states are permuted within each epoch, and what the cells of
    an epoch share, less the trend of the chain, among the epochs of the chain. Where an epoch has
    several branches, both are permuted among these, the first for each cell. The advantage is that
    of one epoch: where a step up and the same step down cancel, discounted values of actions differ
    by less than their noise.
    """
    rewards = experience.rewards(reward)

    def statistic(values: Float64s) -> float:
        means = exact_q(experience, rewards(values), gamma=0)
        tried = np.isfinite(means)
        several = tried.sum(axis=1) > 1
        best = _advantages(means, tried).max(axis=1)
        return float(best[several].mean()) if several.any() else 0.0

    permute = _permuter(experience, changes)
    actual = statistic(changes)
    larger = sum(statistic(permute()) >= actual for _ in range(PERMUTATIONS))
    return {
        "advantage": actual,
        "p": (1 + larger) / (1 + PERMUTATIONS),
        "permutations": PERMUTATIONS,
    }


def _permuter(experience: Experience, changes: Float64s) -> Callable[[], Float64s]:
    random = np.random.default_rng(0)
    _, first, epoch = np.unique(experience.epoch_labels, return_index=True, return_inverse=True)
    n, epochs, chain = len(changes), len(first), experience.seed[first]
    branched = branched_epochs(chain, experience.epoch[first])
    # Numbers below 0 are no seeds, and no epochs.
    among = np.where(branched < 0, chain, -1 - branched)
    _, state = np.unique(experience.state, return_inverse=True)
    cell = branched[epoch] * (state.max() + 1) + state
    within = np.where(branched[epoch] < 0, epoch, -1 - cell)
    # Effects of states are no noise, and do not cancel in advantages once they are permuted.
    design = np.hstack([np.eye(state.max() + 1)[state], np.eye(epochs)[epoch]])
    effects, _, rank, _ = np.linalg.lstsq(design, changes, rcond=None)
    of_states = effects[: state.max() + 1][state]
    rest = changes - of_states
    mean = np.bincount(epoch, weights=rest) / np.bincount(epoch)
    # The fit leaves residuals of n - rank degrees of freedom; of noise, n - epochs are permuted.
    scale = np.sqrt((n - epochs) / max(n - rank, 1))
    residual = (rest - mean[epoch]) * np.where(branched[epoch] < 0, scale, 1.0)
    design = chain_trends(chain, experience.epoch[first])
    trend = design @ np.linalg.lstsq(design, mean, rcond=None)[0]

    def permute() -> Float64s:
        shared = trend + _shuffled(mean - trend, among, random)
        permuted: Float64s = of_states + _shuffled(residual, within, random) + shared[epoch]
        return permuted

    return permute


def _shuffled(values: Float64s, group: Ints, random: np.random.Generator) -> Float64s:
    """Return the values in a random order within each group."""
    result = np.empty_like(values)
    order = np.lexsort((random.random(len(values)), group))
    result[np.argsort(group, kind="stable")] = values[order]
    return result


def doubts(measured: dict[str, Any]) -> list[str]:
    """Return the measurements that speak against relying on a policy."""
    visits, chains, p = measured["visits"], measured["chains"], measured["permutation"]["p"]
    reasons = []
    if visits["few"] > _SHARE_OF_FEW * visits["legal_pairs"]:
        counts = f"{visits['few']} of {visits['legal_pairs']} pairs of state and action"
        reasons.append(f"{counts} have fewer than {visits['threshold']} visits")
    if chains["agreement"] is not None and chains["correlation"] <= 0:
        reasons.append("the advantages of different chains do not correlate")
    if p > 0.05:
        reasons.append(f"permuted changes do as well (p = {p:.2g})")
    total = _total(measured["effects"])
    if total is not None and abs(total[0]) < 2 * total[1]:
        reasons.append("own and common effect together are within two standard errors of 0")
    return reasons


def rows(measured: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a label and a text for each measurement.

    Raises:
        ValueError: `measured` is not what `evidence` returned.
    """
    try:
        return [
            ("reward", measured["reward"].replace("_", " ")),
            ("the table", measured["reduces_to"]),
            ("visits", _visits_text(**measured["visits"])),
            ("agreement of chains", _chains_text(**measured["chains"])),
            ("permutation test", _permutation_text(**measured["permutation"])),
            ("own effect of a step up", _effect_text(measured["effects"], "own")),
            ("common effect of a step up", _effect_text(measured["effects"], "common")),
            ("Q-network against exact", _exact_text(**measured["exact"])),
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"evidence: expected that of fit-policy, got {measured!r}") from error


def _visits_text(legal_pairs: int, smallest: int, few: int, threshold: int) -> str:
    counts = f"{few} of {legal_pairs} pairs of state and action have fewer than {threshold}"
    return f"{counts}, the rarest {smallest}"


def _chains_text(
    count: int, agreement: float | None, chance: float | None, correlation: float | None
) -> str:
    if agreement is None:
        return f"not measurable with {count} chain{'s' if count > 1 else ''}"
    return (
        f"{agreement:.0%} of the states ({chance:.0%} by chance), advantages correlate "
        f"{correlation:.2f}, {count} chains"
    )


def _permutation_text(advantage: float, p: float, permutations: int) -> str:
    return f"p = {p:.2g} for the advantage in one epoch, {permutations} permutations"


def _effect_text(effects: dict[str, float | None], name: str) -> str:
    if effects[name] is None:
        return "not measurable with so few epochs"
    return f"{effects[name]:+.3f}, standard error {effects[f'{name}_error']:.3f}"


def _exact_text(largest_gap: float, disagreements: int) -> str:
    return f"Q differs by at most {largest_gap:.2g}, {disagreements} states decided otherwise"


def _total(effects: dict[str, float | None]) -> tuple[float, float] | None:
    """Return own plus common effect and the error, in which that of the own effect cancels."""
    numbers = [effects[name] for name in ("own", "own_error", "common", "common_error")]
    if None in numbers:
        return None
    own, own_error, common, common_error = np.array(numbers, dtype=np.float64).tolist()
    return own + common, max(common_error**2 - own_error**2, 0.0) ** 0.5
