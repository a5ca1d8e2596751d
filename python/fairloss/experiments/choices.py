"""Arms that train nothing: the best of other arms, by validation on other seeds or on the way."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from fairloss.checks import check_choice, expect
from fairloss.training.cost import FORWARD_COST

BY = ("seeds", "stages")
ETA = 3  # at each stage of successive halving one in so many trains on

Result = Mapping[str, Any]


def check_choices(choices: Mapping[str, Any], arms: Mapping[str, Any]) -> None:
    """Raise ValueError naming the first choice that is none among several arms."""
    for name, choice in choices.items():
        keys = sorted(choice) if isinstance(choice, dict) else choice
        expected = "a rule such as {among: [a, b], by: seeds}"
        expect(keys == ["among", "by"], f"choices.{name}", expected, repr(choice))
        check_choice(f"choices.{name}.by", choice["by"], BY)
        among = choice["among"]
        several = isinstance(among, list) and len(among) > 1
        valid = several and all(among.count(arm) == 1 and arm in list(arms) for arm in among)
        expect(valid, f"choices.{name}.among", f"several of {', '.join(arms)}", among)
        expect(name not in arms, f"choices.{name}", "a name that no arm has", name)


def derive(
    choices: Mapping[str, Any], results: Sequence[Result], metric: str | None
) -> list[dict[str, Any]]:
    """Return the results of the choices, seed by seed, where those that they need exist.

    A result has the metrics and "train_steps" of the arm that the rule selects at this seed, whose
    name is "chosen", and the "cost_steps" of all that the rule trains at this seed.

    Args:
        choices: name -> {"among": arms, "by": "seeds" or "stages"}, see `leave_one_seed_out` and
            `successive_halving`. Of equal arms, the first of "among" is selected.
        results: of the arms; only seeds at which all of "among" have one are used.
        metric: the one to select by, higher is better. Needed where there are choices.
    """
    derived = []
    for name, choice in choices.items():
        assert metric is not None  # CompareConfig requires validation
        table = _by_seed(choice["among"], results)
        for seed, runs in table.items():
            others = [table[other] for other in table if other != seed]
            if choice["by"] == "stages":
                arm, cost = successive_halving(runs, metric)
            elif others:
                arm, cost = leave_one_seed_out(runs, others, metric)
            else:
                continue
            entries = {"arm": name, "seed": seed, "train_steps": runs[arm]["train_steps"]}
            metrics = {"cost_steps": cost, "metrics": runs[arm]["metrics"]}
            derived.append(entries | metrics | {"chosen": arm})
    return derived


def leave_one_seed_out(
    runs: Mapping[str, Result], others: Sequence[Mapping[str, Result]], metric: str
) -> tuple[str, float]:
    """Return the arm with the best mean over the other seeds, and the cost of all arms.

    The runs of a seed do not take part in its choice, so that a lucky run is not selected for
    its luck.
    """
    means = {arm: fmean(seed[arm]["metrics"][metric] for seed in others) for arm in runs}
    cost = sum(run["cost_steps"] for run in runs.values())
    return max(means, key=means.__getitem__), float(cost)


def successive_halving(runs: Mapping[str, Result], metric: str) -> tuple[str, float]:
    """Return the arm that is left, and the cost of each arm up to the stage at which it ends.

    All arms train up to the first stage; of n that reach a stage, the best floor(n / ETA), but at
    least one, train on (Jamieson and Talwalkar, arXiv 1502.07943; ETA as in Hyperband, arXiv
    1603.06560). Of several that reach the end, the best one there is selected. The cost has the
    validation passes that the rule takes, and the whole collection of the policy of each arm.
    """
    remaining = list(runs)
    costs: dict[str, float] = {}
    for stages in zip(*(run["stages"] for run in runs.values()), strict=True):
        stage = dict(zip(runs, stages, strict=True))
        for arm in remaining:
            collection = runs[arm].get("collection_steps") or 0.0
            costs[arm] = stage[arm]["cost_steps"] + collection
        ranked = sorted(remaining, key=lambda arm: stage[arm]["metrics"][metric], reverse=True)
        best = ranked[: max(1, len(ranked) // ETA)]
        remaining = [arm for arm in runs if arm in best]
    costs |= {arm: _cost_to_the_end(runs[arm], len(remaining) > 1) for arm in remaining}
    arm = max(remaining, key=lambda arm: runs[arm]["metrics"][metric])
    return arm, float(sum(costs.values()))


def _cost_to_the_end(run: Result, several: bool) -> float:
    """Return the cost of a run with its validation passes: at the end only of several arms."""
    epochs = {stage["epoch"] for stage in run["stages"]}
    if several:
        epochs.add(run["settings"]["epochs"])
    batches = -(-run["validation"]["images"] // run["settings"]["batch_size"])
    cost: float = run["cost_steps"] + FORWARD_COST * batches * len(epochs)
    return cost


def _by_seed(among: Sequence[str], results: Sequence[Result]) -> dict[int, dict[str, Result]]:
    """Return the results of the arms by seed, without seeds at which an arm has none."""
    table: dict[int, dict[str, Result]] = {}
    for arm in among:
        for result in results:
            if result["arm"] == arm:
                table.setdefault(result["seed"], {})[arm] = result
    return {seed: table[seed] for seed in sorted(table) if len(table[seed]) == len(among)}
