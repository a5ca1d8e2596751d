from __future__ import annotations

from command import refuse, succeed
from synthetic import write_folder

from fairloss.data import open_images


def test_a_set_is_cut_as_it_is_stored(tmp_path):
    faces = write_folder(tmp_path / "faces", [8, 3, 9, 8], size=8)
    options = ("--largest", 8, "--imbalance", 4, "--output")
    done = succeed("data", "cut", faces, *options, tmp_path / "files")
    assert "14 images of 3 identities, without 1 that have fewer than 8 images" in done.stdout
    cut = open_images(tmp_path / "files", (8, 8), 1)
    assert sorted(cut.counts.tolist()) == [2, 4, 8]
    for name in cut.names:
        assert (tmp_path / "files" / name).read_bytes() == (faces / name).read_bytes()
    for kind in ("rec", "arrays"):
        succeed("data", "convert", faces, "--to", kind, "--output", tmp_path / kind)
        succeed("data", "cut", tmp_path / kind, *options, tmp_path / f"{kind}-cut")
        again = open_images(tmp_path / f"{kind}-cut", *((8, 8) if kind == "rec" else (112, 112), 3))
        assert list(again.names) == list(cut.names)


def test_seeds_and_sizes_of_a_cut(tmp_path):
    faces = write_folder(tmp_path / "faces", [8, 8, 8], size=8)
    cuts = []
    for number, seed in enumerate((1, 1, 2)):
        output = tmp_path / str(number)
        succeed("data", "cut", faces, "--largest", 6, "--seed", seed, "--output", output)
        cuts.append({str(path.relative_to(output)) for path in output.glob("*/*")})
    assert cuts[0] == cuts[1] != cuts[2]
    command = ("data", "cut", faces, "--output", tmp_path / "new", "--largest")
    refuse("largest: expected at most", *command, 9)
    refuse("smallest, largest: expected 1 <= smallest", *command, 4, "--smallest", 5)
    refuse("either --smallest or --imbalance", *command, 4, "--smallest", 2, "--imbalance", 2)
    refuse("imbalance: expected a number in [1, 4]", *command, 4, "--imbalance", 5)
    assert not (tmp_path / "new").exists()
