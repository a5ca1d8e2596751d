"""The command `fairloss evaluate pairs`."""

from collections import Counter
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
    Seed,
)
from fairloss.cli._progress import progress_bars
from fairloss.cli.evaluate._report import (
    evaluate_models,
    pairs_title,
    verification_rows,
    write_report,
)
from fairloss.cli.evaluate._source import Source, model_sources
from fairloss.data import read_pair_bin, read_pairs
from fairloss.evaluation import (
    PairSet,
    compare_pair_list,
    compare_pairs,
    evaluate_pair_list,
    evaluate_pairs,
)
from fairloss.io.output import check_output
from fairloss.progress import Progress
from fairloss.training.evaluation import bin_pair_set


def pairs(
    data: Images = None,
    checkpoint: Checkpoints = None,
    features: FeatureFiles = None,
    pairs: Annotated[
        Path | None, typer.Option(help="A pair list; without it, all pairs of the images.")
    ] = None,
    layout: Annotated[
        str, typer.Option(help="Of the list: lfw, rfw, calfw, cplfw, sllfw, agedb or cfp.")
    ] = "lfw",
    bin: Annotated[Path | None, typer.Option(help="An insightface .bin, images included.")] = None,
    interleave: Annotated[
        bool, typer.Option(help="A .bin of all positives, then all negatives.")
    ] = False,
    against: Against = None,
    output: Annotated[
        Path | None, typer.Option(help="JSON report; default pairs.json beside the checkpoint.")
    ] = None,
    replicates: Replicates = 0,
    seed: Seed = 0,
) -> None:
    """Verify pairs: accuracy over folds, AUC, EER, TAR at fixed FAR, 95% intervals.

    Examples: `fairloss evaluate pairs --data faces --checkpoint runs/mine/model.pt` (all pairs),
    `... --pairs lfw/pairs.txt --layout lfw`, `... --bin agedb_30.bin --against runs/other/model.pt`

    A difference of methods needs several seeds of each: repeat --checkpoint and --against.
    """
    models = checkpoint or features
    path = output or (models[0].parent if models else Path()) / "pairs.json"
    check_output(path, folder=False)
    sides = model_sources(data, checkpoint, features, against)
    options = {"replicates": replicates, "seed": seed}
    with progress_bars() as progress:
        if bin is not None:
            sets = [_bin_sets(bin, interleave, side, progress) for side in sides]
            report = _evaluate_listed(sets, options)
        elif pairs is not None:
            named = read_pairs(pairs, layout)
            sets = [
                [source.read_pair_set(named, layout, progress) for source in side] for side in sides
            ]
            report = _evaluate_listed(sets, options)
        else:
            report = _evaluate_all_pairs(sides, progress, options)
    write_report(path, report, pairs_title(report), verification_rows, against)


def _evaluate_listed(sides: list[list[PairSet]], options: dict[str, int]) -> dict[str, Any]:
    models = [[each.embeddings for each in side] for side in sides]
    data = sides[-1][0][1:]
    return evaluate_models(models, evaluate_pair_list, compare_pair_list, *data, **options)


def _evaluate_all_pairs(
    sides: list[list[Source]], progress: Progress, options: dict[str, int]
) -> dict[str, Any]:
    read = [[source.read_all(progress) for source in side] for side in sides]
    models = [[embeddings for embeddings, _ in side] for side in read]
    sources = [source for side in sides for source in side]
    identities = [names for side in read for _, names in side]
    counts = Counter(identities[-1])
    most = max(counts.values())
    expect(
        len(counts) > 1 and most > 1,
        "data",
        "two identities or more, one of them with two images",
        f"{len(counts)} with {most} images at most in {sources[-1].features or sources[-1].data}",
    )
    expect(
        all(names == identities[-1] for names in identities),
        "against",
        "the same identities in the same order",
        "different ones",
    )
    return evaluate_models(models, evaluate_pairs, compare_pairs, identities[-1], **options)


def _bin_sets(
    path: Path, interleave: bool, sources: list[Source], progress: Progress
) -> list[PairSet]:
    """Return the pairs of a `.bin` with the embeddings of each source."""
    content = read_pair_bin(path)
    embeddings = [source.read_bin(path, content, progress) for source in sources]
    return [bin_pair_set(content, each, interleave) for each in embeddings]
