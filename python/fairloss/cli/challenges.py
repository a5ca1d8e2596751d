"""Commands of the large challenges: ijb, megaface, and plots of their results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from fairloss.cli.against import AgainstFeatures, report_of, show_report
from fairloss.cli.progress import bars
from fairloss.cli.source import Floats, Output, Replicates, Seed
from fairloss.cli.tables import show, verification_rows
from fairloss.data import (
    Cmc,
    DevkitList,
    Enrolled,
    cmc_name,
    read_cmc,
    read_devkit_list,
    read_enrolled,
    read_features,
    read_landmarks,
    read_noise_list,
    read_template_media,
    read_template_pairs,
    read_vectors,
    write_cmc,
)
from fairloss.evaluation import (
    MegaFace,
    Pairs,
    Search,
    Templates,
    compare_ijb_identification,
    compare_ijb_verification,
    compare_megaface,
    evaluate_ijb_identification,
    evaluate_ijb_verification,
    evaluate_megaface,
    linked_identities,
    pair_scores,
    pool_templates,
    replace_noisy,
    search_gallery,
)
from fairloss.io.json import write_json
from fairloss.progress import Progress


def ijb(
    meta: Annotated[Path, typer.Option(help="Folder of the meta files, insightface's `meta`.")],
    features: Annotated[Path, typer.Option(help="A .npy in the order of name_5pts_score.txt.")],
    name: Annotated[str, typer.Option("--set", help="ijbb or ijbc.")] = "ijbc",
    detector_score: Annotated[bool, typer.Option(help="Weigh images by it, as published.")] = True,
    against: AgainstFeatures = None,
    output: Output = Path("ijb.json"),
    replicates: Replicates = 1000,
    seed: Seed = 0,
) -> None:
    """IJB-B and IJB-C: 1:1 verification, and 1:N where the gallery files are there.

    Features must not be normalised: their norm weighs images within a template. Example:
    `fairloss evaluate ijb --meta IJBC/meta --features ijbc.npy --set ijbc`
    """
    if name not in ("ijbb", "ijbc"):
        raise ValueError(f"set must be ijbb or ijbc, got {name!r}")
    media = read_template_media(meta / f"{name}_face_tid_mid.txt")
    landmarks = read_landmarks(meta / f"{name}_name_5pts_score.txt")
    score = landmarks.score if detector_score else None
    models = []
    for path in [features] if against is None else [against, features]:
        found = read_features(path)
        if not len(found) == len(media.names) == len(landmarks.names):
            raise ValueError(
                f"features: {len(found)} rows in {path}, but the meta files list "
                f"{len(media.names)} and {len(landmarks.names)} images"
            )
        models.append(pool_templates(found.embeddings, media.template, media.media, score))
    verified = _ijb_verification(meta, name, models, replicates, seed)
    report: dict[str, Any] = {"set": name, "verification": verified}
    probe_file = meta / f"{name}_1N_probe_mixed.csv"
    if probe_file.is_file():
        report["identification"] = _ijb_identification(meta, name, models, replicates, seed)
    write_json(output, report)
    show_report(f"{name} 1:1", verified, verification_rows, against)
    if "identification" in report:
        show_report(f"{name} 1:N", report["identification"], _mean_rows, against)
    typer.echo(f"wrote {output}")


def megaface(
    lists: Annotated[Path, typer.Option(help="The kit's folder `templatelists`.")],
    facescrub: Annotated[Path, typer.Option(help="Probe features: the kit's folder, or a .npy.")],
    megaface: Annotated[Path, typer.Option(help="Distractor features, likewise.")],
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
    algorithm: Annotated[str, typer.Option(help="Name in the result files.")] = "fairloss",
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("megaface"),
    replicates: Replicates = 1000,
    seed: Seed = 0,
) -> None:
    """MegaFace challenge 1: rank-1, CMC and TAR@FAR=1e-6, exact, from the kit's layout.

    Writes `cmc_*.json` as the kit does, and a report with intervals for each size. Example:
    `fairloss evaluate megaface --lists templatelists --facescrub fs --megaface mf --suffix _a.bin`
    """
    probe_list = read_devkit_list(lists / "facescrub_features_list.json")
    if probe_list.identities is None:
        raise ValueError('lists: facescrub_features_list.json has no "id"')
    noisy = frozenset() if facescrub_noises is None else read_noise_list(facescrub_noises)
    dropped = frozenset() if megaface_noises is None else read_noise_list(megaface_noises)
    people, bad = probe_list.identities, [Path(path).name in noisy for path in probe_list.paths]
    models = [(facescrub, megaface)] if against is None else [against, (facescrub, megaface)]
    with bars() as progress:
        probes = [
            replace_noisy(_features(of_probes, probe_list, suffix, progress), people, bad, seed)
            for of_probes, _ in models
        ]
        for count in size or [1_000_000]:
            listed = read_devkit_list(lists / f"megaface_features_list.json_{count}_{number}")
            excluded = [n for n, path in enumerate(listed.paths) if path in dropped]
            found = [
                evaluate_megaface(own, people, _features(rows, listed, suffix, progress), excluded)
                for own, (_, rows) in zip(probes, models, strict=True)
            ]
            report = report_of(
                found, MegaFace.report, compare_megaface, replicates=replicates, seed=seed
            ) | {
                "refined": bool(noisy or dropped),
                "noisy_probes": sum(bad),
                "noisy_distractors": len(excluded),
            }
            ours = found[-1]
            write_cmc(output / cmc_name(algorithm, count, number), ours.recall(), *ours.roc())
            write_json(output / f"report_{algorithm}_{count}_{number}.json", report)
            variant = "refined" if report["refined"] else "unrefined"
            title = f"{len(ours.rank)} trials, {count} distractors, {variant} list"
            show_report(title, report, _megaface_rows, against and against[0])
    typer.echo(f"wrote {output}")


def plot(
    results: Annotated[list[Path], typer.Argument(help="cmc_*.json files, ours or the kit's.")],
    output: Annotated[Path, typer.Option(help="An .svg, .png or .pdf figure.")] = Path("cmc.svg"),
) -> None:
    """Draw CMC and ROC curves of several MegaFace results beside one another.

    Example: `fairloss evaluate plot ours/cmc_*.json theirs/cmc_*.json --output cmc.svg`
    """
    from fairloss.report.cmc import draw_cmc

    curves: dict[str, Cmc] = {str(path): read_cmc(path) for path in results}
    draw_cmc(curves, output)
    show("rank-1", {name: curve.rank_1() for name, curve in curves.items()})
    typer.echo(f"wrote {output}")


def _megaface_rows(report: Mapping[str, Any]) -> dict[str, Any]:
    keys = {"rank-1": "rank_1", "rank-10": "rank_10", "TAR@FAR=1e-6": "tar"}
    return {name: report[key] for name, key in keys.items()}


def _mean_rows(report: Mapping[str, Any]) -> dict[str, Any]:
    means = report["mean"]
    rows = {f"rank-{rank}": value for rank, value in means["rank"].items()}
    return rows | {f"TPIR@FPIR={fpir}": value for fpir, value in means["tpir"].items()}


def _ijb_verification(
    meta: Path, name: str, models: list[Templates], replicates: int, seed: int
) -> dict[str, Any]:
    listed = read_template_pairs(meta / f"{name}_template_pair_label.txt")
    first, second = models[0].rows(listed.first), models[0].rows(listed.second)
    pairs = Pairs(first, second, listed.genuine)
    # the list names templates, not people: those that genuine pairs link are one person's
    subjects = linked_identities(np.arange(len(models[0].number)), pairs)
    return report_of(
        [pair_scores(templates.features, pairs) for templates in models],
        evaluate_ijb_verification,
        compare_ijb_verification,
        pairs,
        subjects,
        replicates=replicates,
        seed=seed,
    )


def _ijb_identification(
    meta: Path, name: str, models: list[Templates], replicates: int, seed: int
) -> dict[str, Any]:
    probes = read_enrolled(meta / f"{name}_1N_probe_mixed.csv")
    galleries = {
        gallery: read_enrolled(meta / f"{name}_1N_gallery_{gallery}.csv")
        for gallery in (("G1", "G2") if name == "ijbc" else ("S1", "S2"))
    }
    return report_of(
        [_searches(templates, galleries, probes) for templates in models],
        evaluate_ijb_identification,
        compare_ijb_identification,
        probes.subject,
        replicates=replicates,
        seed=seed,
    )


def _searches(
    templates: Templates, galleries: Mapping[str, Enrolled], probes: Enrolled
) -> dict[str, Search]:
    searched = templates.features[templates.rows(probes.template)]
    return {
        name: search_gallery(
            templates.features[templates.rows(enrolled.template)],
            enrolled.subject,
            searched,
            probes.subject,
        )
        for name, enrolled in galleries.items()
    }


def _features(source: Path, listed: DevkitList, suffix: str, progress: Progress) -> Floats:
    """Features of a list, from one .npy or from the kit's file an image."""
    if source.suffix != ".npy":
        return read_vectors(
            source, listed.paths, suffix, lambda done, total: progress(source.name, done, total)
        )
    found = read_features(source)
    if found.names == listed.paths:
        return found.embeddings  # stays on disk
    rows: npt.NDArray[np.int64] = found.rows(listed.paths)
    return found.embeddings[rows]
