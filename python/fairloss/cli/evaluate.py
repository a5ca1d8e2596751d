"""Commands that verify: pairs, rfw, groups, ytf."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import numpy as np
import typer

from fairloss.cli.against import Against, AgainstFeatures, report_of, show_report
from fairloss.cli.pair_sets import (
    as_pairs,
    bin_sets,
    evaluate_all_pairs,
    evaluate_listed,
    pair_set,
    scores_of_videos,
    under,
)
from fairloss.cli.progress import bars
from fairloss.cli.source import (
    Checkpoint,
    FeatureFile,
    Images,
    Output,
    Replicates,
    Seed,
    Source,
)
from fairloss.cli.tables import (
    group_rows,
    groups_rows,
    pairs_title,
    rfw_rows,
    verification_rows,
)
from fairloss.data import (
    read_features,
    read_pairs,
    read_ytf_splits,
)
from fairloss.evaluation import (
    all_pairs,
    compare_groups,
    compare_rfw,
    compare_scores,
    evaluate_groups,
    evaluate_rfw,
    evaluate_scores,
    frequency_groups,
    pair_scores,
)
from fairloss.io.atomic import FormatError, read_text
from fairloss.io.json import read_json, write_json

evaluate = typer.Typer(help="Published protocols, with intervals.", no_args_is_help=True)


@evaluate.command("pairs")
def evaluate_pairs(
    data: Images = None,
    checkpoint: Checkpoint = None,
    features: FeatureFile = None,
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
    replicates: Replicates = 1000,
    seed: Seed = 0,
) -> None:
    """Verification: accuracy over folds, AUC, EER, TAR at fixed FAR, 95% intervals.

    Examples: `fairloss evaluate pairs --data faces --checkpoint runs/mine/model.pt` (all pairs),
    `... --pairs lfw/pairs.txt --layout lfw`, `... --bin agedb_30.bin --against runs/other/model.pt`
    """
    source = Source(data, checkpoint, features)
    sources = [source] if against is None else [source.rival(against), source]
    with bars() as progress:
        if bin is not None:
            sets = bin_sets(bin, interleave, sources, progress)
            report = evaluate_listed(sets, replicates, seed)
        elif pairs is not None:
            named = read_pairs(pairs, layout)
            sets = [pair_set(named, layout, each, progress) for each in sources]
            report = evaluate_listed(sets, replicates, seed)
        else:
            report = evaluate_all_pairs(sources, progress, replicates, seed)
    given = checkpoint or features
    path = output or (given.parent if given else Path()) / "pairs.json"
    write_json(path, report)
    show_report(pairs_title(report), report, verification_rows, against)
    typer.echo(f"wrote {path}")


@evaluate.command("rfw")
def rfw(
    lists: Annotated[Path, typer.Option(help="Folder of <subset>/<subset>_pairs.txt.")],
    data: Images = None,
    checkpoint: Checkpoint = None,
    features: FeatureFile = None,
    against: Against = None,
    output: Output = Path("rfw.json"),
    replicates: Replicates = 1000,
    seed: Seed = 0,
) -> None:
    """Racial Faces in the Wild: each subset, their mean and spread, the worst.

    Images are named `<subset>/<person>/<person>_0001.jpg`. Example:
    `fairloss evaluate rfw --lists rfw/txts --data rfw/data --checkpoint runs/mine/model.pt`
    """
    source = Source(data, checkpoint, features)
    sources = [source] if against is None else [source.rival(against), source]
    found = sorted(lists.glob("*/*_pairs.txt"))
    if len(found) < 2:
        raise ValueError(f"lists: {lists} holds {len(found)} files <subset>/<subset>_pairs.txt")
    named = {path.parent.name: under(path.parent.name, read_pairs(path, "rfw")) for path in found}
    with bars() as progress:
        models = [
            {group: pair_set(pairs, "rfw", each, progress) for group, pairs in named.items()}
            for each in sources
        ]
    report = report_of(models, evaluate_rfw, compare_rfw, replicates=replicates, seed=seed)
    write_json(output, report)
    show_report("fold accuracy", report, rfw_rows, against)
    typer.echo(f"wrote {output}")


@evaluate.command("groups")
def groups(
    features: Annotated[Path, typer.Option(help="A .npy of `fairloss embed`, with identities.")],
    attributes: Annotated[
        Path | None, typer.Option(help="CSV with a header: image name, attributes.")
    ] = None,
    column: Annotated[str, typer.Option(help="The attribute to group by.")] = "group",
    frequency: Annotated[
        Path | None, typer.Option(help="identities.json of a run: group by training images.")
    ] = None,
    cuts: Annotated[
        tuple[int, int], typer.Option(help="Images below which tail, above which head.")
    ] = (20, 100),
    far: Annotated[float, typer.Option(help="Of the threshold that all groups share.")] = 1e-3,
    against: AgainstFeatures = None,
    output: Output = Path("groups.json"),
    replicates: Replicates = 1000,
    seed: Seed = 0,
) -> None:
    """Verification within each group, and what one common threshold does to each.

    Examples: `fairloss evaluate groups --features f.npy --attributes people.csv --column age`,
    `fairloss evaluate groups --features f.npy --frequency runs/mine/identities.json`
    """
    found = read_features(features)
    if found.identities is None:
        raise ValueError(f"features: the manifest of {features} names no identities")
    if (attributes is None) == (frequency is None):
        raise ValueError("attributes: give either --attributes or --frequency")
    if attributes is not None:
        table = _attributes(attributes, column)
        group = np.array([_known(table, name, attributes) for name in found.names])
    else:
        assert frequency is not None
        run = read_json(frequency)
        counts = dict(zip(run["identities"], run["counts"], strict=True))
        group = frequency_groups([_known(counts, who, frequency) for who in found.identities], cuts)
    pairs = all_pairs(found.identities)
    scores = [pair_scores(found.embeddings, pairs)]
    if against is not None:
        rival = read_features(against)
        scores.insert(0, pair_scores(rival.embeddings[rival.rows(found.names)], pairs))
    data = (pairs, found.identities, group)
    report = report_of(
        scores, evaluate_groups, compare_groups, *data, far=far, replicates=replicates, seed=seed
    )
    write_json(output, report)
    for name, counted in report.get("b", report)["groups"].items():
        title = f"{name}: {pairs_title(counted)}"
        show_report(title, report, partial(group_rows, name=name), against)
    show_report("all groups", report, groups_rows, against)
    typer.echo(f"wrote {output}")


@evaluate.command("ytf")
def ytf(
    splits: Annotated[Path, typer.Option(help="splits.txt of the data set.")],
    features: Annotated[
        Path, typer.Option(help="A .npy of frames named person/video/frame, in order of time.")
    ],
    pairwise: Annotated[
        bool, typer.Option(help="Mean similarity of first frames, not mean feature.")
    ] = False,
    against: AgainstFeatures = None,
    output: Output = Path("ytf.json"),
    replicates: Replicates = 1000,
    seed: Seed = 0,
) -> None:
    """YouTube Faces: ten folds over pairs of videos.

    Example: `fairloss evaluate ytf --splits splits.txt --features frames.npy`
    """
    named = read_ytf_splits(splits)
    paths = [features] if against is None else [against, features]
    scores = [scores_of_videos(path, named, pairwise) for path in paths]
    names = named.names()
    listed = as_pairs(named, {name: number for number, name in enumerate(names)})
    people = [str(PurePosixPath(name).parent) for name in names]
    data = (listed, named.fold, people)
    report = report_of(
        scores, evaluate_scores, compare_scores, *data, replicates=replicates, seed=seed
    ) | {"features": "pairwise frames" if pairwise else "mean of frames"}
    write_json(output, report)
    show_report(pairs_title(report), report, verification_rows, against)
    typer.echo(f"wrote {output}")


def _attributes(path: Path, column: str) -> dict[str, str]:
    """Image name (first column) -> attribute."""
    rows = list(csv.reader(read_text(path).splitlines()))
    if not rows or column not in rows[0][1:]:
        raise FormatError(path, f"has no column {column!r} after the image names")
    at = rows[0].index(column)
    for number, row in enumerate(rows[1:], 2):
        if len(row) <= at:
            raise FormatError(path, f"line {number}: has no {column!r}")
    return {row[0]: row[at] for row in rows[1:]}


def _known(table: dict[str, Any], name: str, path: Path) -> Any:
    if name not in table:
        raise FormatError(path, f"does not name {name!r}")
    return table[name]
