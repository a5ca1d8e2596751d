"""The command `fairloss evaluate megaface`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from fairloss.checks import check_length
from fairloss.cli._console import print_line
from fairloss.cli._options import Replicates, Seed
from fairloss.cli._progress import progress_bars
from fairloss.cli.evaluate._report import evaluate_models, print_notes, print_report
from fairloss.cli.evaluate._source import model_sides
from fairloss.data import (
    DevkitList,
    cmc_name,
    read_devkit_list,
    read_features,
    read_noise_list,
    read_vectors,
    write_cmc,
)
from fairloss.data.suffixes import find_names
from fairloss.evaluation import MegaFace, compare_megaface, evaluate_megaface, replace_noisy
from fairloss.io.json import write_json
from fairloss.io.output import check_output, locked_output
from fairloss.progress import Progress, labeled
from fairloss.typing import Floats


def megaface(
    lists: Annotated[Path, typer.Option(help="The kit's folder `templatelists`.")],
    facescrub: Annotated[
        list[Path], typer.Option(help="Probe features: the kit's folder, or a .npy.")
    ],
    megaface: Annotated[list[Path], typer.Option(help="Distractor features, likewise.")],
    suffix: Annotated[str, typer.Option(help="Of feature files: image name + suffix.")] = ".bin",
    size: Annotated[list[int] | None, typer.Option(help="Distractors; default 10^6.")] = None,
    number: Annotated[int, typer.Option("--set", help="Which of the kit's sets.")] = 1,
    facescrub_noises: Annotated[
        Path | None, typer.Option(help="insightface's list: the refined variant.")
    ] = None,
    megaface_noises: Annotated[Path | None, typer.Option(help="Likewise.")] = None,
    against: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Probes and distractors of another model: report the difference to it."),
    ] = None,
    against_facescrub: Annotated[
        list[Path] | None, typer.Option(help="Probes of more networks of the other side.")
    ] = None,
    against_megaface: Annotated[list[Path] | None, typer.Option(help="Their distractors.")] = None,
    algorithm: Annotated[str, typer.Option(help="Name in the result files.")] = "fairloss",
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("megaface"),
    replicates: Replicates = 0,
    seed: Seed = 0,
) -> None:
    """Evaluate MegaFace challenge 1: exact rank-1, CMC and TAR@FAR=1e-6 from the kit's layout.

    Writes `cmc_*.json` as the kit does, and a report with intervals for each size. Example:
    `fairloss evaluate megaface --lists templatelists --facescrub fs --megaface mf --suffix _a.bin`

    Of several seeds repeat --facescrub and --megaface, --against-facescrub and --against-megaface.
    """
    check_output(output, folder=True)
    probe_list = read_devkit_list(lists / "facescrub_features_list.json")
    identities = probe_list.identities
    if identities is None:
        raise ValueError('lists: expected "id" in facescrub_features_list.json, got none')
    noisy_probes = read_noise_list(facescrub_noises) if facescrub_noises else frozenset()
    noisy_distractors = read_noise_list(megaface_noises) if megaface_noises else frozenset()
    noisy = _in_list([Path(path).name for path in probe_list.paths], noisy_probes)
    baseline = [] if against is None else [against]
    baseline += _networks("against-megaface", against_facescrub or [], against_megaface or [])
    sides = model_sides("facescrub", _networks("megaface", facescrub, megaface), baseline)
    with locked_output(output), progress_bars() as progress:
        probes = [
            [
                replace_noisy(_read(path, probe_list, suffix, progress), identities, noisy, seed)
                for path, _ in side
            ]
            for side in sides
        ]
        for count in size or [1_000_000]:
            listed = read_devkit_list(lists / f"megaface_features_list.json_{count}_{number}")
            excluded = np.flatnonzero(_in_list(listed.paths, noisy_distractors)).tolist()
            results = [
                [
                    evaluate_megaface(  # with the distractors of one network at a time
                        features, identities, _read(path, listed, suffix, progress), excluded
                    )
                    for features, (_, path) in zip(*networks, strict=True)
                ]
                for networks in zip(probes, sides, strict=True)
            ]
            report = evaluate_models(
                results, MegaFace.report, compare_megaface, replicates=replicates, seed=seed
            ) | {
                "refined": bool(noisy_probes or noisy_distractors),
                "noisy_probes": sum(noisy),
                "noisy_distractors": len(excluded),
            }
            for network, result in enumerate(results[-1], 1):
                name = algorithm if len(results[-1]) == 1 else f"{algorithm}-{network}"
                write_cmc(output / cmc_name(name, count, number), result.recall(), *result.roc())
            write_json(output / f"report_{algorithm}_{count}_{number}.json", report)
            variant = "refined" if report["refined"] else "unrefined"
            title = f"{len(results[-1][0].rank)} trials, {count} distractors, {variant} list"
            print_report(title, report, _rows, [path for path, _ in baseline])
            print_notes(report)
    print_line(f"wrote {output}")


def _networks(name: str, probes: list[Path], distractors: list[Path]) -> list[tuple[Path, Path]]:
    """Return the files of each network of a side; `name` is the option of the distractors."""
    check_length(name, len(distractors), len(probes), "files, one for each of the probes")
    return list(zip(probes, distractors, strict=True))


def _in_list(names: list[str], noises: frozenset[str]) -> list[bool]:
    """Return for each image whether a list of noise names it, maybe with another suffix."""
    return [row is not None for row in find_names(names, sorted(noises), "noises")]


def _read(path: Path, listed: DevkitList, suffix: str, progress: Progress) -> Floats:
    """Return features of a list, from one .npy or from the kit's file an image."""
    if path.suffix != ".npy":
        return read_vectors(path, listed.paths, suffix, labeled(progress, path.name))
    file = read_features(path)
    if file.names == listed.paths:
        return file.embeddings  # stays on disk
    return file.embeddings[file.rows(listed.paths)]


def _rows(report: Mapping[str, Any]) -> dict[str, Any]:
    keys = {"rank-1": "rank_1", "rank-10": "rank_10", "TAR@FAR=1e-6": "tar"}
    return {name: report[key] for name, key in keys.items()}
