"""Write the files that version 0.1.0 leaves behind; the tests here read them with today's code.

Run once, with the release whose files are kept: version 0.1.0 (commit 114694c). From a checkout of
that commit with its operators built:

    OMP_NUM_THREADS=1 PYTHONPATH=python:. python .../tests/compatibility/make_fixtures.py OUTPUT

OUTPUT becomes tests/compatibility/fixtures: one archive per topic, and expected.json with what
0.1.0 computed from the files. Absolute paths inside text files become `@ROOT@`, which the tests
replace by the folder they unpack to. All other bytes are those that 0.1.0 wrote.

The networks are small_cnn with all but `LIVE_CHANNELS` channels of each stage set to zero before
training. Zero channels stay zero (neither signal nor gradient passes them), so a file of 1.4 MB
compresses to some 10 kB.
"""

from __future__ import annotations

import copy
import json
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from typer.testing import CliRunner

from fairloss.agent import Policy
from fairloss.cli.app import app
from fairloss.data import (
    planted_megaface,
    read_images,
    write_arrays,
    write_features,
    write_planted,
)
from fairloss.demo import DemoConfig, demo
from fairloss.experience import CollectConfig, collect
from fairloss.gallery import Gallery
from fairloss.heads import HEADS
from fairloss.loss_search import SearchConfig, SearchSettings, search
from fairloss.models import SmallCNN
from fairloss.training import (
    HeadConfig,
    ModelConfig,
    OptimizerConfig,
    RunFolder,
    TrainConfig,
    as_yaml,
    build_head,
    embed_to_npy,
    feature_file,
    train,
)

VERSION = {"version": "0.1.0", "commit": "114694c"}
PLACEHOLDER = "@ROOT@"
TEXT = {".yaml", ".json", ".jsonl"}
COUNTS = [7, 6, 5, 4, 4, 3, 2, 2]
ARRAYS_FROM = 5  # the first identity of the folder of arrays
LIVE_CHANNELS = 4
SIZE = 8  # of the embeddings
GALLERY_KINDS = ("flat", "ivf", "hnsw", "ivf-pq")


def thin_networks() -> None:
    """Make every new SmallCNN one of `LIVE_CHANNELS` channels a stage."""
    original = SmallCNN.__init__

    @torch.no_grad()
    def thinned(self, *arguments, **options):
        original(self, *arguments, **options)
        for number, stage in enumerate(self.stages):
            stage[0].weight[LIVE_CHANNELS:] = 0
            if number:
                stage[0].weight[:, LIVE_CHANNELS:] = 0
        self.pool.weight[LIVE_CHANNELS:] = 0
        self.fc.weight[:, LIVE_CHANNELS:] = 0

    SmallCNN.__init__ = thinned


def interrupted(function, *, epoch: int) -> None:
    """Call `function`, and interrupt it as soon as the checkpoint of `epoch` is written."""
    original = RunFolder.save_checkpoint

    def save_and_stop(self, number, state):
        original(self, number, state)
        if number == epoch:
            raise KeyboardInterrupt

    RunFolder.save_checkpoint = save_and_stop
    try:
        function()
    except KeyboardInterrupt:
        return
    finally:
        RunFolder.save_checkpoint = original
    raise AssertionError("the function ended before it could be interrupted")


def command(*arguments) -> None:
    """Run `fairloss` with these arguments."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exit_code:
        raise result.exception or RuntimeError(result.output)


def keep(folder: Path, *names: str) -> None:
    """Remove all files of `folder` but the named ones."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in names:
            path.unlink()


def keep_last_checkpoints(root: Path) -> None:
    """Remove all checkpoints but the newest of each run, one run excepted."""
    for run in {path.parent for path in root.rglob("checkpoint-*.pt")}:
        if run != root / "interrupted" / "fair":
            for old in sorted(run.glob("checkpoint-*.pt"))[:-1]:
                old.unlink(missing_ok=True)


def train_config(root: Path, output: str, **changes) -> TrainConfig:
    settings = {
        "data": str(root / "data" / "faces"),
        "output": str(root / output),
        "epochs": 6,
        "batch_size": 8,
        "image_size": [32, 32],
        "channels": 1,
        "device": "cpu",
        "model": ModelConfig(embedding_size=SIZE),
        "optimizer": OptimizerConfig(learning_rate=0.02),
    }
    return TrainConfig(**settings | changes)


def make_data(root: Path) -> dict:
    from synthetic import write_folder

    faces = root / "data" / "faces"
    write_folder(faces, COUNTS)
    images = read_images(faces, (32, 32), 1)
    pixels, labels = images.images(np.arange(len(images))).numpy(), images.labels.numpy()
    few = np.flatnonzero(labels >= ARRAYS_FROM)
    variants = np.concatenate([np.arange(count) for count in COUNTS[ARRAYS_FROM:]])
    shots = [f"shot{number}" for number in range(max(COUNTS[ARRAYS_FROM:]))]
    names = images.identities[ARRAYS_FROM:]
    arrays, rows = root / "data" / "arrays", [pixels[few]]
    write_arrays(arrays, rows, labels[few] - ARRAYS_FROM, variants, names, shots, mirror=False)
    sums = pixels.sum(axis=(1, 2, 3), dtype=np.int64)
    return {"counts": COUNTS, "sums": sums.tolist(), "array_sums": sums[few].tolist()}


def make_experience(root: Path) -> dict:
    """A pre-trained run, the experience from it, a policy, and an interrupted chain."""
    head = HeadConfig(name="ArcFace", margin=0.35)
    train(train_config(root, "training/arcface", head=head))
    run, output = str(root / "training" / "arcface"), root / "experience"

    def settings(name: str) -> CollectConfig:
        return CollectConfig(run=run, output=str(output / name), epochs=4, min_cell=1, device="cpu")

    collect(settings("whole"))
    keep(output / "whole", "experience.npz")
    interrupted(lambda: collect(settings("interrupted")), epoch=2)
    experience, policy = output / "whole" / "experience.npz", output / "policy.json"
    command("fit-policy", experience, "--output", policy)
    fitted = Policy.load(policy)
    values = [[None if np.isnan(q) else q for q in row] for row in fitted.q.tolist()]
    return {"table": fitted.table.tolist(), "visits": fitted.visits.tolist(), "q": values}


def make_runs(root: Path) -> dict:
    """A finished Fair Loss run with the fitted policy, and interrupted runs with their ends."""
    policy = str(root / "experience" / "policy.json")
    fair = HeadConfig(policy=policy, margin=0.25)
    train(train_config(root, "training/fair", head=fair))
    kinds = {
        "fair": fair,
        "sampled": HeadConfig(name="CosFace", sample_rate=0.5),
        "adaface": HeadConfig(name="AdaFace"),
    }
    for name, head in kinds.items():
        whole = train_config(root, f"interrupted/final/{name}", head=head)
        train(whole)
        keep(root / "interrupted" / "final" / name, "model.pt", "head.pt", "metrics.jsonl")
        part = train_config(root, f"interrupted/{name}", head=head)
        interrupted(lambda part=part: train(part), epoch=4)
    state = torch.load(root / "training" / "fair" / "head.pt", weights_only=True)
    arcface = torch.load(root / "training" / "arcface" / "head.pt", weights_only=True)
    return {"fair": sorted(state), "arcface": sorted(arcface), "margins": state["margins"].tolist()}


def make_default_policies(root: Path) -> dict:
    """Interrupted runs of Fair Loss with the table that 0.1.0 packaged, which no setting names."""
    for kind in ("arc", "cos"):
        head = HeadConfig(kind=kind)
        train(train_config(root, f"default_policy/final/{kind}", head=head))
        keep(root / "default_policy" / "final" / kind, "model.pt", "head.pt", "metrics.jsonl")
        part = train_config(root, f"default_policy/{kind}", head=head)
        interrupted(lambda part=part: train(part), epoch=4)
    return {}


def make_searches(root: Path) -> dict:
    """Finished searches of both spaces, and one interrupted between two members of a round.

    With this seed, sigma and learning rate the rewards of the two members of rounds 5 and 6, which
    the interrupted search has to compute again, differ by 0.07 and 0.03: rounding does not decide
    which is the best.
    """
    optimizer = OptimizerConfig(learning_rate=0.02, decay_at=[])

    def settings(name: str, epochs: int = 2, **changes) -> SearchConfig:
        options = {"epochs": epochs, "batch_size": 4, "seed": 1, "optimizer": optimizer}
        common = vars(train_config(root, f"search/{name}", **options))
        search_settings = SearchSettings(population=2, held_out=3, sigma=0.3, **changes)
        return SearchConfig(**common, search=search_settings)

    for name, changes in (
        ("softmax", {"bins": 2}),
        ("am-lfs", {"method": "am-lfs", "intervals": 2}),
    ):
        search(settings(name, **changes))
    search(settings("whole", epochs=6))
    keep(root / "search" / "whole", "loss.json", "metrics.jsonl", "model.pt", "head.pt")

    def stops(function, members):
        for member in members:
            yield function(member)
            if list((root / "search" / "interrupted" / "members").glob("0005-*.pt")):
                raise KeyboardInterrupt

    try:
        search(settings("interrupted", epochs=6), map=stops)
    except KeyboardInterrupt:
        return {}
    raise AssertionError("the search ended before it could be interrupted")


def make_features(root: Path) -> dict:
    """A feature file, and one that was interrupted after its first batch of 8 images."""
    faces, checkpoint = root / "data" / "faces", root / "training" / "fair" / "model.pt"
    command("embed", "--data", faces, "--checkpoint", checkpoint, "--output",
            root / "features" / "whole.npy")  # fmt: skip
    listing = json.loads((root / "features" / "whole.json").read_text(encoding="utf-8"))
    feature_file.BATCH = 8

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    try:
        embed_to_npy(checkpoint, faces, listing["names"], root / "features" / "part.npy",
                     identities=listing["identities"], progress=stop)  # fmt: skip
    except KeyboardInterrupt:
        return {"done": 8}
    raise AssertionError("the images were embedded before that could be interrupted")


def make_galleries(root: Path) -> dict:
    """A gallery of the images, one of features for every kind of index, and their answers."""
    folder = root / "gallery"
    faces, checkpoint = root / "data" / "faces", root / "training" / "fair" / "model.pt"
    command("gallery", "build", "--data", faces, "--checkpoint", checkpoint, "--output",
            folder / "faces")  # fmt: skip
    random = np.random.default_rng(0)
    rows = random.normal(size=(300, SIZE)).astype(np.float32)
    write_features(folder / "rows.npy", [f"id{n // 3}/{n % 3}" for n in range(300)], rows)
    probes = (rows[::60] + 0.3 * random.normal(size=(5, SIZE))).astype(np.float32)
    np.save(folder / "probes.npy", probes)
    for kind in GALLERY_KINDS:
        command("gallery", "build", "--features", folder / "rows.npy", "--output", folder / kind,
                "--index", kind)  # fmt: skip
    answers = {}
    for kind in ("faces", *GALLERY_KINDS):
        results = Gallery.load(folder / kind).search(probes, 3)
        answers[kind] = [[[match.name, match.score] for match in matches] for matches in results]
    return answers


def make_evaluations(root: Path) -> dict:
    """Reports of `evaluate` on files kept here, so that they can be computed again."""
    folder, features = root / "evaluation", root / "features" / "whole.npy"
    identities = root / "training" / "fair" / "identities.json"
    common = ("--replicates", 20, "--output")
    command("evaluate", "pairs", "--features", features, *common, folder / "pairs.json")
    command("evaluate", "groups", "--features", features, "--frequency", identities, "--cuts", 3, 5,
            "--far", 0.1, *common, folder / "groups.json")  # fmt: skip
    write_planted(folder / "planted", planted_megaface(4, 12, 100, 16))
    for name in ("ours", "theirs"):
        command("evaluate", "megaface", "--lists", folder / "planted" / "templatelists",
                "--facescrub", folder / "planted" / "facescrub.npy", "--megaface",
                folder / "planted" / "megaface.npy", "--size", 100, "--algorithm", name, *common,
                folder / "megaface")  # fmt: skip
    return {}


def make_demo(root: Path) -> dict:
    small = {"unseen": 3, "pretrain_epochs": 20, "chain_epochs": 4, "epochs": 20, "replicates": 20}
    data, output = str(root / "data" / "faces"), root / "demo"
    demo(DemoConfig(data=data, output=str(output), image_size=[32, 32], device="cpu", **small))
    (output / "report.html").unlink()
    return {}


def make_heads(root: Path) -> dict:
    """The initial state of every head, and its loss of one batch."""
    torch.manual_seed(0)
    embeddings, labels = 5 * torch.randn(6, SIZE), torch.tensor([0, 1, 2, 3, 4, 0])
    counts = torch.tensor([9, 5, 3, 2, 1])
    states, losses = {}, {}
    for name in HEADS:
        torch.manual_seed(1)
        head = build_head(HeadConfig(name=name), 5, SIZE, seed=1, counts=counts)
        states[name] = copy.deepcopy(head.state_dict())
        torch.manual_seed(2)  # of heads that draw
        losses[name] = head(embeddings, labels).item()
    (root / "heads").mkdir()
    inputs = {"embeddings": embeddings, "labels": labels, "counts": counts}
    torch.save(inputs | {"states": states}, root / "heads" / "heads.pt")
    return losses


def make_defaults() -> dict:
    """The YAML of every configuration with its defaults."""
    required = {"data": "faces", "output": "run"}
    configs = {
        "train": TrainConfig(**required),
        "search": SearchConfig(**required),
        "collect": CollectConfig(run="run", output="out"),
        "demo": DemoConfig(),
    }
    return {name: as_yaml(config) for name, config in configs.items()}


def pack(root: Path, output: Path) -> None:
    """Write each folder of `root` as an archive, with `PLACEHOLDER` for `root` in text files."""
    output.mkdir(parents=True, exist_ok=True)
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        with zipfile.ZipFile(output / f"{folder.name}.zip", "w") as archive:
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                content = path.read_bytes()
                if path.suffix in TEXT:
                    content = content.replace(str(root).encode(), PLACEHOLDER.encode())
                assert str(root).encode() not in content, path
                entry = zipfile.ZipInfo(path.relative_to(root).as_posix())
                archive.writestr(entry, content, zipfile.ZIP_LZMA)


def main(output: Path) -> None:
    thin_networks()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary).resolve()
        expected = {
            "data": make_data(root),
            "policy": make_experience(root),
            "runs": make_runs(root),
            "default_policy": make_default_policies(root),
            "search": make_searches(root),
            "features": make_features(root),
            "gallery": make_galleries(root),
            "evaluation": make_evaluations(root),
            "demo": make_demo(root),
            "heads": make_heads(root),
            "defaults": make_defaults(),
        }
        keep_last_checkpoints(root)
        pack(root, output)
    written = VERSION | {name: value for name, value in expected.items() if value}
    (output / "expected.json").write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # synthetic.py
    main(Path(sys.argv[1]))
