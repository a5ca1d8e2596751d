"""The command `fairloss evaluate ijb`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from fairloss.checks import check_choice, expect
from fairloss.cli._console import print_line
from fairloss.cli._options import AgainstFeatures, Replicates, ReportFile, Seed
from fairloss.cli.evaluate._report import (
    evaluate_models,
    print_notes,
    print_report,
    verification_rows,
)
from fairloss.cli.evaluate._source import model_sides
from fairloss.data import (
    Enrolled,
    read_enrolled,
    read_features,
    read_landmarks,
    read_template_media,
    read_template_pairs,
)
from fairloss.evaluation import (
    Pairs,
    Search,
    Templates,
    compare_ijb_identification,
    compare_ijb_verification,
    evaluate_ijb_identification,
    evaluate_ijb_verification,
    linked_identities,
    pair_scores,
    pool_templates,
    search_gallery,
)
from fairloss.io.json import write_json
from fairloss.io.output import check_output

GALLERIES = {"ijbb": ("S1", "S2"), "ijbc": ("G1", "G2")}


def ijb(
    meta: Annotated[Path, typer.Option(help="Folder of the meta files, insightface's `meta`.")],
    features: Annotated[
        list[Path],
        typer.Option(
            help="A .npy in the order of name_5pts_score.txt; of several seeds with --against."
        ),
    ],
    name: Annotated[str, typer.Option("--set", help="ijbb or ijbc.")] = "ijbc",
    detector_score: Annotated[bool, typer.Option(help="Weight images by it, as published.")] = True,
    against: AgainstFeatures = None,
    output: ReportFile = Path("ijb.json"),
    replicates: Replicates = 0,
    seed: Seed = 0,
) -> None:
    """Verify (1:1) on IJB-B or IJB-C, and identify (1:N) where the gallery files exist.

    Features must not be normalized: their norm weighs images within a template. Example:
    `fairloss evaluate ijb --meta IJBC/meta --features ijbc.npy --set ijbc`
    """
    check_choice("set", name, list(GALLERIES))
    check_output(output, folder=False)
    models = [
        _read_templates(meta, name, paths, detector_score)
        for paths in model_sides("features", features, against)
    ]
    options = {"replicates": replicates, "seed": seed}
    report: dict[str, Any] = {"set": name, "verification": _verify(meta, name, models, options)}
    probes = meta / f"{name}_1N_probe_mixed.csv"
    if probes.is_file() or probes.is_symlink():  # reading a link to a missing file is an error
        report["identification"] = _identify(meta, name, models, options)
    write_json(output, report)
    print_report(f"{name} 1:1", report["verification"], verification_rows, against)
    print_notes(report["verification"])
    if "identification" in report:
        print_report(f"{name} 1:N", report["identification"], _mean_rows, against)
        print_notes(report["identification"])
    print_line(f"wrote {output}")


def _read_templates(
    meta: Path, name: str, paths: list[Path], detector_score: bool
) -> list[Templates]:
    """Return the templates of each feature file."""
    media = read_template_media(meta / f"{name}_face_tid_mid.txt")
    landmarks = read_landmarks(meta / f"{name}_name_5pts_score.txt")
    score = landmarks.score if detector_score else None
    models = []
    for path in paths:
        embeddings = read_features(path).embeddings
        expect(
            len(embeddings) == len(media.names) == len(landmarks.names),
            "features",
            f"a row for each of the {len(media.names)} and {len(landmarks.names)} images that the "
            "meta files list",
            f"{len(embeddings)} rows in {path}",
        )
        models.append(pool_templates(embeddings, media.template, media.media, score))
    return models


def _verify(
    meta: Path, name: str, models: list[list[Templates]], options: dict[str, int]
) -> dict[str, Any]:
    listed = read_template_pairs(meta / f"{name}_template_pair_label.txt")
    templates = models[0][0]
    pairs = Pairs(templates.rows(listed.first), templates.rows(listed.second), listed.genuine)
    # the list names templates, no identities: genuine pairs link the templates of one identity
    identities = linked_identities(np.arange(len(templates.number)), pairs)
    scores = [[pair_scores(each.features, pairs) for each in side] for side in models]
    return evaluate_models(
        scores, evaluate_ijb_verification, compare_ijb_verification, pairs, identities, **options
    )


def _identify(
    meta: Path, name: str, models: list[list[Templates]], options: dict[str, int]
) -> dict[str, Any]:
    probes = read_enrolled(meta / f"{name}_1N_probe_mixed.csv")
    galleries = {
        gallery: read_enrolled(meta / f"{name}_1N_gallery_{gallery}.csv")
        for gallery in GALLERIES[name]
    }
    return evaluate_models(
        [[_search_galleries(each, galleries, probes) for each in side] for side in models],
        evaluate_ijb_identification,
        compare_ijb_identification,
        probes.subject,
        **options,
    )


def _search_galleries(
    templates: Templates, galleries: Mapping[str, Enrolled], probes: Enrolled
) -> dict[str, Search]:
    probe_features = templates.features[templates.rows(probes.template)]
    return {
        name: search_gallery(
            templates.features[templates.rows(enrolled.template)],
            enrolled.subject,
            probe_features,
            probes.subject,
        )
        for name, enrolled in galleries.items()
    }


def _mean_rows(report: Mapping[str, Any]) -> dict[str, Any]:
    mean = report["mean"]
    rows = {f"rank-{rank}": value for rank, value in mean["rank"].items()}
    return rows | {f"TPIR@FPIR={fpir}": value for fpir, value in mean["tpir"].items()}
