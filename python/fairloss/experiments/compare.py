"""`compare(config)`: train every arm with every seed, and write one result a run."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from fairloss.evaluation.compare_extra import import_extra
from fairloss.experiments.config import CompareConfig, Run
from fairloss.experiments.plan import Plan, plan_after
from fairloss.experiments.results import read_results
from fairloss.experiments.run import try_run
from fairloss.experiments.summary import write_summary
from fairloss.io.output import locked_output
from fairloss.ranks import check_one_process
from fairloss.training.settings import prepare
from fairloss.training.trainer import Diverged

Map = Callable[[Callable[[Run], dict[str, Any]], Iterable[Run]], Iterable[dict[str, Any]]]


def compare(
    config: CompareConfig,
    report: Callable[[dict[str, Any], Plan], object] | None = None,
    map: Map = map,
) -> dict[str, Any]:
    """Train what has no result yet, and write `output/summary.json`.

    `output/runs/ARM-seed-N` is the run folder of a run and `output/results/ARM-seed-N.json` its
    result. An interrupted comparison resumes, also inside a run; a run with a result is not
    repeated, even where its run folder was removed.

    Args:
        config: the settings.
        report: called as report(result, plan) after each run, with what is left.
        map: runs the arms: the builtin one by one, or another with its signature. For processes,
            `fairloss.loss_search.ProcessMap(config.workers)`; for other machines, `RayMap`.

    Returns:
        The content of summary.json: "tasks", a list of one with "name", "primary_metric",
        "validation_metric" (None without validation), "bound", "seeds" (the number of each arm),
        "machines" (what differs between the machines of the results, such as "commit": values),
        "runs" (each with "arm", "seed", "train_steps", "cost_steps", "collection_steps" and
        "metrics"; a choice has "chosen", an arm, instead of "collection_steps") and "differences"
        (`paired_differences`).

    Raises:
        ValueError: a setting or the data does not fit, or a result had other settings.
        ImportError: the extra `compare` is missing.
        RuntimeError: runs diverged, after the others have finished; the next call repeats these.
    """
    config = prepare(config)
    check_one_process()
    for name in ("scipy.stats", "statsmodels.stats.multitest"):
        import_extra(name)  # before the work, at whose end it is used
    with locked_output(Path(config.output)):
        results = read_results(config)
        missing = [run for run in config.runs if run not in results]
        for run in missing:
            config.check_files(run)
        diverged = []
        for result in map(partial(try_run, config), missing):
            if "diverged" in result:
                diverged.append(result["diverged"])
                continue
            results[Run(result["arm"], result["seed"])] = result
            if report is not None:
                report(result, plan_after(config, results))
        if diverged:
            raise Diverged(
                f"{len(diverged)} of {len(missing)} runs diverged: {'; '.join(diverged)}"
            )
        return write_summary(config, results)
