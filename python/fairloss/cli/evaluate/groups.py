"""The command `fairloss evaluate groups`."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy.typing as npt
import typer

from fairloss.cli._console import print_line
from fairloss.cli._options import AgainstFeatures, Replicates, ReportFile, Seed
from fairloss.cli.evaluate._report import (
    evaluate_models,
    network_report,
    pairs_title,
    print_notes,
    print_report,
    verification_rows,
)
from fairloss.cli.evaluate._source import known_identities, model_sides
from fairloss.data import read_features
from fairloss.data.suffixes import match_names
from fairloss.data.text_files import read_table
from fairloss.evaluation import (
    all_pairs,
    compare_groups,
    evaluate_groups,
    frequency_groups,
    pair_scores,
)
from fairloss.io.atomic import FormatError
from fairloss.io.json import read_json, write_json
from fairloss.io.output import check_output


def groups(
    features: Annotated[
        list[Path],
        typer.Option(
            help="A .npy of `fairloss embed`, with identities; of several seeds with --against."
        ),
    ],
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
    output: ReportFile = Path("groups.json"),
    replicates: Replicates = 0,
    seed: Seed = 0,
) -> None:
    """Verify pairs within each group, and at one threshold that all groups share.

    Examples: `fairloss evaluate groups --features f.npy --attributes ages.csv --column age`,
    `fairloss evaluate groups --features f.npy --frequency runs/mine/identities.json`
    """
    check_output(output, folder=False)
    sides = model_sides("features", features, against)
    file = read_features(features[0])
    identities = known_identities(file, features[0])
    if attributes is not None and frequency is None:
        table = _read_attributes(attributes, column)
        group: npt.ArrayLike = _match_attributes(table, file.names, attributes)
    elif frequency is not None and attributes is None:
        run = read_json(frequency, identities=list, counts=list)
        counts = dict(zip(run["identities"], run["counts"], strict=True))
        group = frequency_groups(_look_up(counts, identities, frequency), cuts)
    else:
        raise ValueError(
            "attributes: expected either --attributes or --frequency, got "
            f"{'neither' if attributes is None else 'both'}"
        )
    pairs = all_pairs(identities)
    models = [[read_features(path) for path in side] for side in sides]
    scores = [
        [pair_scores(each.embeddings[each.rows(file.names)], pairs) for each in side]
        for side in models
    ]
    report = evaluate_models(
        scores,
        evaluate_groups,
        compare_groups,
        pairs,
        identities,
        group,
        far=far,
        replicates=replicates,
        seed=seed,
    )
    write_json(output, report)
    for name, counted in network_report(report)["groups"].items():
        title = f"{name}: {pairs_title(counted)}"
        print_report(title, report, partial(_group_rows, name=name), against)
    print_report("all groups", report, _summary_rows, against)
    print_notes(report)
    print_line(f"wrote {output}")


def _read_attributes(path: Path, column: str) -> dict[str, str]:
    """Return image name (first column) -> attribute."""
    rows = read_table(path)
    if not rows or column not in rows[0][1:]:
        raise FormatError(path, f"expected a column {column!r} after the image names, got none")
    position = rows[0].index(column)
    for number, row in enumerate(rows[1:], 2):
        if len(row) <= position:
            raise FormatError(
                path, f"line {number}: expected {position + 1} columns, got {len(row)}"
            )
    return {row[0]: row[position] for row in rows[1:]}


def _match_attributes(table: dict[str, str], names: list[str], path: Path) -> list[str]:
    """Return the attribute of each image, which may have another suffix in the table."""
    values = list(table.values())
    return [values[row] for row in match_names(names, list(table), path)]


def _look_up(table: Mapping[str, Any], names: list[str], path: Path) -> list[Any]:
    missing = [name for name in names if name not in table]
    if missing:
        raise FormatError(path, f"does not name {missing[0]!r}")
    return [table[name] for name in names]


def _group_rows(report: Mapping[str, Any], name: str) -> dict[str, Any]:
    group = report["groups"][name]
    if "reason" in group:
        return {"": group["reason"]}
    common = group["at_common_threshold"]
    return verification_rows(group) | {
        f"{rate.upper()} at the common threshold": common[rate] for rate in ("far", "tar")
    }


def _summary_rows(report: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("mean_eer", "std_eer", "skewed_error_ratio", "worst")
    return {key: report[key] for key in keys if key in report}
