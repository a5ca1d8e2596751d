from __future__ import annotations

import json

from cli_cases import clustered_embeddings
from command import refuse, succeed

from fairloss.data import write_features


def test_verification_identification_and_their_differences(tmp_path):
    meta = tmp_path / "meta"
    meta.mkdir()
    names = [f"{n}.jpg" for n in range(80)]  # template n // 2, identity n // 4, two templates each
    media = "".join(f"{name} {n // 2} {n}\n" for n, name in enumerate(names))
    (meta / "ijbc_face_tid_mid.txt").write_text(media, encoding="utf-8")
    points = "".join(f"{name} 1 2 3 4 5 6 7 8 9 10 0.9\n" for name in names)
    (meta / "ijbc_name_5pts_score.txt").write_text(points, encoding="utf-8")
    pairs = [(a, b, int(a // 2 == b // 2)) for a in range(0, 40, 2) for b in range(1, 40, 2)]
    (meta / "ijbc_template_pair_label.txt").write_text(
        "".join(f"{a} {b} {same}\n" for a, b, same in pairs),
        encoding="utf-8",
    )
    write_features(tmp_path / "f.npy", names, clustered_embeddings())
    options = ("--features", tmp_path / "f.npy", "--output", tmp_path / "o.json")
    succeed("evaluate", "ijb", "--meta", meta, *options, "--replicates", 10)
    report = json.loads((tmp_path / "o.json").read_text(encoding="utf-8"))
    assert (report["verification"]["genuine"], report["verification"]["impostor"]) == (20, 380)
    assert "identification" not in report
    for file, templates in (
        ("1N_gallery_G1", range(0, 20, 2)),
        ("1N_gallery_G2", range(20, 40, 2)),
        ("1N_probe_mixed", range(1, 40, 2)),
    ):
        rows = "".join(f"{t},{t // 2},img\n" for t in templates)
        (meta / f"ijbc_{file}.csv").write_text(
            "TEMPLATE_ID,SUBJECT_ID,FILENAME\n" + rows, encoding="utf-8"
        )
    done = succeed("evaluate", "ijb", "--meta", meta, *options, "--replicates", 10)
    search = json.loads((tmp_path / "o.json").read_text(encoding="utf-8"))["identification"]
    assert search["galleries"]["G1"]["mated"] == search["galleries"]["G1"]["unmated"] == 10
    assert search["mean"]["rank"]["1"]["value"] == 1.0
    assert search["mean"]["tpir"]["0.01"] == "not measurable with 10 unmated probes"
    assert "TPIR@FPIR=0.1" in done.stdout
    write_features(tmp_path / "poor.npy", names, clustered_embeddings(noise=2.0))
    baseline = ("--against", tmp_path / "poor.npy", "--replicates", 10)
    done = succeed("evaluate", "ijb", "--meta", meta, *options, *baseline)
    report = json.loads((tmp_path / "o.json").read_text(encoding="utf-8"))
    assert report["verification"]["difference"]["auc"]["value"] > 0
    assert report["identification"]["difference"]["mean"]["rank"]["1"]["value"] > 0
    assert done.stdout.count("minus") == 2
    refuse(
        "set: expected one of 'ijbb', 'ijbc', got 'x'",
        *("evaluate", "ijb", "--meta", meta),
        *options,
        "--set",
        "x",
    )
    write_features(tmp_path / "few.npy", names[1:], clustered_embeddings()[1:])
    few = ("--features", tmp_path / "few.npy", "--output", tmp_path / "o.json")
    refuse("got 79 rows in", "evaluate", "ijb", "--meta", meta, *few)
