"""Periodic evaluation on `.bin` sets, and the log of steps."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from command import fairloss, refuse
from PIL import Image
from synthetic import faces, patterns
from training_runs import COUNTS, config, same

from fairloss.data import read_pair_bin, write_pair_bin
from fairloss.evaluation import Pairs, evaluate_pair_list, linked_identities
from fairloss.training import HeadConfig, RunFolder, load_backbone, train
from fairloss.training.run_log import margin_range


@pytest.fixture(scope="module")
def pair_bin(tmp_path_factory):
    """Forty pairs of images in lossless form, of one and of two identities in turn."""
    pixels, labels = patterns([8] * 10, seed=3)
    encoded = []
    for image in pixels:
        buffer = io.BytesIO()
        Image.fromarray(image[0].numpy()).save(buffer, "png")
        encoded.append(buffer.getvalue())
    images, genuine = [], []
    for pair in range(40):
        first, same_identity = pair * 2 % 80, pair % 2 == 0
        second = first + 1 if same_identity else (first + 8) % 80
        images += [encoded[first], encoded[second]]
        genuine.append(bool(labels[first] == labels[second]))
    path = tmp_path_factory.mktemp("sets") / "small.bin"
    write_pair_bin(path, images, genuine)
    return path


def lines(run, event):
    return [line for line in RunFolder(run).metrics() if line["event"] == event]


def accuracy_with_mirror_images(run, pair_bin):
    content = read_pair_bin(pair_bin)
    images = np.stack([np.array(Image.open(io.BytesIO(image))) for image in content.images])
    inputs = (torch.from_numpy(images)[:, None].float() / 255 - 0.5) / 0.5
    model, _ = load_backbone(run / "model.pt")
    with torch.no_grad():
        embeddings = model(inputs) + model(inputs.flip(3))
    pairs = Pairs(np.arange(0, 80, 2), np.arange(1, 80, 2), content.genuine)
    identities = linked_identities(content.image_numbers(), pairs)
    report = evaluate_pair_list(embeddings.numpy(), pairs, np.arange(40) // 4, identities)
    return report["accuracy"]["value"]


def test_sets_are_evaluated_as_by_the_command_and_change_nothing(tmp_path, pair_bin):
    plain = train(config(tmp_path / "plain", epochs=3), faces(COUNTS))
    settings = config(tmp_path / "run", epochs=3, evaluate=[str(pair_bin)], evaluate_every=2)
    report = []
    run = train(settings, faces(COUNTS), report=report.append)
    assert same(plain, run)
    evaluations = lines(run, "evaluation")
    assert [(line["epoch"], line["step"]) for line in evaluations] == [(2, 6), (3, 9)]
    (last,) = evaluations[-1]["sets"]
    assert last["name"] == "small"
    done = fairloss("evaluate", "pairs", "--bin", pair_bin, "--checkpoint", run / "model.pt")
    assert done.returncode == 0, done.stderr
    expected = json.loads((run / "pairs.json").read_text(encoding="utf-8"))["accuracy"]
    assert last["accuracy"] == pytest.approx(expected)
    assert last["accuracy"]["value"] == pytest.approx(accuracy_with_mirror_images(run, pair_bin))
    assert report[-1].startswith(f"epoch 3, small: accuracy {expected['value']:.4f} (")


def test_a_set_that_cannot_be_evaluated_is_refused_before_the_first_step(tmp_path, pair_bin):
    broken = tmp_path / "broken.bin"
    content = read_pair_bin(pair_bin)
    write_pair_bin(broken, [*content.images[:-1], b"no image"], content.genuine)
    few = tmp_path / "few.bin"
    write_pair_bin(few, [b"x"] * 12, [True] * 6)
    refusals = {
        tmp_path / "none.bin": "evaluate: expected a .bin file, got ",
        broken: "broken.bin: image 79 cannot be read",
        few: "few.bin: ",
    }
    for path, message in refusals.items():
        settings = config(tmp_path / "run", evaluate=[str(pair_bin), str(path)])
        with pytest.raises(ValueError, match=message):
            train(settings, faces(COUNTS))
    assert not any((tmp_path / "run").glob("*"))


def test_embeddings_that_are_not_finite_end_no_run(tmp_path, pair_bin, monkeypatch):
    def embed_shares(model, batches, **options):
        for batch in batches:
            yield torch.full((len(batch), 4), torch.nan)

    monkeypatch.setattr("fairloss.training.evaluation.embed_shares", embed_shares)
    settings = config(tmp_path, epochs=1, evaluate=[str(pair_bin)])
    (line,) = lines(train(settings, faces(COUNTS)), "evaluation")
    assert "finite" in line["sets"][0]["accuracy"]


def test_steps_are_logged_with_means_since_the_line_before(tmp_path):
    head = HeadConfig("CosFace", margin=0.25)
    every = train(config(tmp_path / "a", epochs=2, log_every=1, head=head), faces(COUNTS))
    losses = [line["loss"] for line in lines(every, "step")]
    report = []
    settings = config(tmp_path / "b", epochs=2, log_every=2, head=head)
    steps = lines(train(settings, faces(COUNTS), report=report.append), "step")
    assert [(line["epoch"], line["step"]) for line in steps] == [(1, 2), (2, 4), (2, 6)]
    # of an epoch's first steps alone, where the line before is in another epoch
    means = [np.mean(losses[:2]), losses[3], np.mean(losses[4:])]
    assert [line["loss"] for line in steps] == pytest.approx(means)
    assert steps[0]["margin"] == pytest.approx({"mean": 0.25, "low": 0.25, "high": 0.25})
    assert steps[0]["samples_per_second"] > 0
    assert steps[-1]["seconds_left"] == 0
    assert report[0].startswith(f"epoch 1/2, step 2, loss {means[0]:.4f}, learning rate 0.02, ")
    assert "margin 0.250, " in report[0]
    assert report[0].endswith(" left")


@pytest.mark.parametrize(("sampler", "images"), [("shuffle", 24), ("per_class", 40)])
def test_the_rate_counts_the_images_of_the_batches(tmp_path, sampler, images):
    settings = config(tmp_path, epochs=1, log_every=2, batch_size=20, sampler=sampler)
    settings.images_per_class = 10
    run = train(settings, faces(COUNTS))  # of two steps
    (step,), (epoch,) = lines(run, "step"), lines(run, "epoch")
    assert step["samples_per_second"] * epoch["seconds"]["train"] == pytest.approx(images)


@pytest.mark.slow
def test_a_resumed_run_shows_each_step_once_in_tensorboard_and_has_a_report(tmp_path, pair_bin):
    settings = config(tmp_path, epochs=2, checkpoint_every=2, evaluate=[str(pair_bin)])
    settings.tensorboard, settings.log_every = True, 1

    def stop(label, done, total):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(settings, faces(COUNTS), progress=stop)
    run = train(settings, faces(COUNTS))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    scalars = {scalar.step: scalar.value for scalar in events.Scalars("step/loss")}
    logged = {line["step"]: line["loss"] for line in lines(run, "step")}
    assert scalars == pytest.approx(logged, rel=1e-6)
    assert [scalar.step for scalar in events.Scalars("step/loss")] == [1, 2, 3, 4, 5, 6]
    assert [scalar.step for scalar in events.Scalars("accuracy/small")] == [3, 6]
    assert fairloss("report", run).returncode == 0


def test_the_range_of_margins_leaves_out_classes_without_one():
    class Head:
        def class_margins(self):
            return torch.tensor([0.5, torch.nan, 0.25])

    assert margin_range(Head()) == {"mean": 0.375, "low": 0.25, "high": 0.5}
    Head.class_margins = lambda self: torch.tensor(torch.nan)
    assert margin_range(Head()) is None


def test_settings_of_evaluation_are_checked(tmp_path):
    output = f"output={tmp_path / 'run'}"
    refuse("evaluate: expected a list such as", "train", "data=x", output, "evaluate={a: 1}")
    refuse("evaluate_every: expected", "train", "data=x", output, "evaluate_every=0")
    refuse("keep_checkpoints: expected", "train", "data=x", output, "keep_checkpoints=0")
    refuse("checkpoint_every: expected", "train", "data=x", output, "checkpoint_every=-1")
