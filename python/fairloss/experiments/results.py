"""Results of earlier calls, which are not repeated."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from fairloss.checks import expect
from fairloss.experiments.config import SETS, CompareConfig, Run, files_beside_images
from fairloss.io.atomic import report_malformed
from fairloss.io.digest import sha256
from fairloss.io.json import read_json_if_exists
from fairloss.training import TrainConfig
from fairloss.training.settings import merge_settings
from fairloss.training.train import FREE_SETTINGS as FREE_OF_RUN

ENTRIES = {
    "arm": str,
    "seed": int,
    "train_steps": int,
    "cost_steps": float,
    "seconds": float,
    "metrics": dict,
    "test": dict,
    "settings": dict,
}
FREE_SETTINGS = {*FREE_OF_RUN} - {"statistics"}  # which have a cost


def read_results(config: CompareConfig) -> dict[Run, dict[str, Any]]:
    """Return the results that exist.

    Raises:
        ValueError: one had other settings, or was measured on other sets.
    """
    results = {}
    digest = cache(sha256)  # runs share the files of their arm
    for run in config.runs:
        result = read_json_if_exists(config.result_path(run), **ENTRIES)
        if result is not None:
            check_same(config, run, result, digest)
            results[run] = result
    return results


def digests(training: TrainConfig, digest: Callable[[Path], str] = sha256) -> dict[str, str]:
    """Return the SHA-256 of the files that a run reads beside its images."""
    paths = files_beside_images(training)
    files = {name: Path(path) for name, path in paths.items() if path is not None}
    return {name: digest(path) for name, path in files.items() if path.is_file()}


def check_same(
    config: CompareConfig,
    run: Run,
    result: dict[str, Any],
    digest: Callable[[Path], str] | None = None,
) -> None:
    """Raise ValueError for a result with other settings.

    Args:
        config: the settings.
        run: the run.
        result: of the run.
        digest: of a file; None: files are not compared. Those that do not exist are not either, as
            a run with a result does not need them any more.
    """
    path = config.result_path(run)
    with report_malformed(path):
        before = vars(merge_settings(TrainConfig, result["settings"]))
        before |= {name: result.get(name, {}).get("folder") for name in SETS}
        recorded = result.get("files", {})
        before |= {"threads": result["machine"]["threads"]}
        before["stages"] = [stage["fraction"] for stage in result.get("stages", [])]
    training = config.training(run)
    files = {} if digest is None else digests(training, digest)
    now = vars(training) | config.set_paths(run.seed)
    before["files"] = {name: recorded[name] for name in files if name in recorded}
    now |= {"threads": config.threads, "files": files, "stages": config.stages}
    changed = [
        f"{name} was {before[name]}, is {now[name]}"
        for name in now
        if name not in FREE_SETTINGS and before[name] != now[name]
    ]
    got = f"{path} with other settings ({'; '.join(changed)}); name another folder"
    expect(not changed, "output", "results with these settings", got)
