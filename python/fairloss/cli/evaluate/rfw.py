"""The command `fairloss evaluate rfw`."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from fairloss.checks import expect
from fairloss.cli._options import (
    Against,
    Checkpoints,
    FeatureFiles,
    Images,
    Replicates,
    ReportFile,
    Seed,
)
from fairloss.cli._progress import progress_bars
from fairloss.cli.evaluate._report import evaluate_models, write_report
from fairloss.cli.evaluate._source import model_sources
from fairloss.data import NamedPairs, read_pairs
from fairloss.evaluation import compare_rfw, evaluate_rfw
from fairloss.io.output import check_output


def rfw(
    lists: Annotated[Path, typer.Option(help="Folder of <subset>/<subset>_pairs.txt.")],
    data: Images = None,
    checkpoint: Checkpoints = None,
    features: FeatureFiles = None,
    against: Against = None,
    output: ReportFile = Path("rfw.json"),
    replicates: Replicates = 0,
    seed: Seed = 0,
) -> None:
    """Verify Racial Faces in the Wild: each subset, their mean and spread, the worst.

    Images are named `<subset>/<identity>/<identity>_0001.jpg`. Example:
    `fairloss evaluate rfw --lists rfw/txts --data rfw/data --checkpoint runs/mine/model.pt`
    """
    check_output(output, folder=False)
    files = sorted(lists.glob("*/*_pairs.txt"))
    expect(
        len(files) > 1,
        "lists",
        "two files <subset>/<subset>_pairs.txt or more",
        f"{len(files)} in {lists}",
    )
    numbers = Counter(file.parent.name for file in files)
    for folder in sorted(path for path in lists.iterdir() if path.is_dir()):
        hidden, number = folder.name.startswith("."), numbers[folder.name]
        got = f"{number} in {folder.name}"
        expect(hidden or number == 1, "lists", "one list of pairs in each folder", got)
    subsets = {file.parent.name: _read_subset(file) for file in files}
    with progress_bars() as progress:
        models = [
            [
                {name: s.read_pair_set(pairs, "rfw", progress) for name, pairs in subsets.items()}
                for s in side
            ]
            for side in model_sources(data, checkpoint, features, against)
        ]
    report = evaluate_models(models, evaluate_rfw, compare_rfw, replicates=replicates, seed=seed)
    write_report(output, report, "fold accuracy", _subset_rows, against)


def _read_subset(file: Path) -> NamedPairs:
    """Return the pairs of a list with names relative to the folder of all subsets."""
    named = read_pairs(file, "rfw")
    first, second = (
        [f"{file.parent.name}/{name}" for name in side] for side in (named.first, named.second)
    )
    return NamedPairs(first, second, named.genuine, named.fold)


def _subset_rows(report: Mapping[str, Any]) -> dict[str, Any]:
    rows = {name: subset["accuracy"] for name, subset in report["subsets"].items()}
    keys = ("mean", "std", "skewed_error_ratio", "worst")
    return rows | {key: report[key] for key in keys if key in report}
