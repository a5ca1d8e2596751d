"""Class statistics after an epoch: for the heads that read them, and what a run shows without."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from head_cases import CASES
from synthetic import faces
from training_runs import COUNTS, config, same

from fairloss import heads
from fairloss.report import write_report
from fairloss.report.run_view import TrainingRun
from fairloss.training import HeadConfig, RunFolder, Trainer, train
from fairloss_ext import ClassStatistics, class_statistics

READERS = {"FairLoss", "FairLoss cos", "KappaFace", "PerClass arc"}


def epochs(run):
    return [line for line in RunFolder(run).metrics() if line["event"] == "epoch"]


@pytest.mark.parametrize("name", CASES)
def test_a_head_that_needs_no_statistics_ends_an_epoch_the_same_without(name):
    head = CASES[name].make(6, 8)
    assert head.needs_statistics == (name in READERS)
    if name in READERS:
        return
    labels = torch.arange(6).repeat_interleave(torch.tensor([5, 4, 3, 2, 2, 1]))
    whole = class_statistics(torch.randn(len(labels), 8), labels, 6)
    nothing = [torch.full_like(values, torch.nan) for values in whole[1:5]]
    other = copy.deepcopy(head)
    head.end_of_epoch(whole)
    other.end_of_epoch(ClassStatistics(whole.count, *nothing, torch.full((6,), -1)))
    before, after = head.state_dict(), other.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_a_head_of_ones_own_gets_the_statistics_that_it_may_read():
    class Reader(heads.CosFace):
        def end_of_epoch(self, statistics):
            self.nearest = statistics.nearest_class

    assert Reader(6, 8).needs_statistics


@pytest.mark.parametrize(
    ("name", "setting", "passes"),
    [
        ("CosFace", "when_needed", 0),
        ("CosFace", "always", 2),
        ("LDAM", "when_needed", 0),
        ("KappaFace", "when_needed", 2),
    ],
)
def test_a_pass_is_made_where_the_head_or_the_setting_asks(
    tmp_path, monkeypatch, name, setting, passes
):
    calls, original = [], Trainer.statistics

    def counted(self, *options):
        return calls.append(1) or original(self, *options)

    monkeypatch.setattr(Trainer, "statistics", counted)
    train(config(tmp_path, epochs=2, head=HeadConfig(name=name), statistics=setting), faces(COUNTS))
    assert len(calls) == passes


def test_a_pass_changes_no_weight_and_a_resumed_run_may_ask_for_it(tmp_path):
    head = HeadConfig(name="LDAM", options={"reweight_from": 1})
    without = train(config(tmp_path / "without", head=head, epochs=3), faces(COUNTS))
    settings = config(tmp_path / "with", head=head, epochs=3, statistics="always")
    run = train(settings, faces(COUNTS))
    assert same(without, run)
    settings.statistics = "when_needed"
    (run / "model.pt").unlink()
    assert same(without, train(settings, faces(COUNTS)))


def test_without_a_pass_a_run_shows_its_counts(tmp_path):
    run = train(config(tmp_path / "run", epochs=1, tensorboard=True), faces(COUNTS))
    (groups,) = [line["groups"] for line in epochs(run)]
    unknown = {"variance_bin": None, "intra_angle": None, "inter_angle": None}
    assert groups == [
        {"count_bin": count_bin, "classes": 2, "margin": pytest.approx(0.35)} | unknown
        for count_bin in range(3)  # of 8, 6, 4, 3, 2 and 1 images
    ]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    names = {f"margin/count{count_bin}" for count_bin in range(3)}
    assert set(events.Tags()["scalars"]) == {"loss", "learning_rate"} | names
    page = write_report(run).read_text(encoding="utf-8")
    assert "nine groups" not in page


def test_a_report_shows_the_epochs_with_a_pass():
    without = {"count_bin": 2, "variance_bin": None, "margin": 0.25}
    groups = [{"count_bin": 2, "variance_bin": 1, "margin": 0.35}]
    lines = [{"epoch": 1, "groups": [without]}, {"epoch": 2, "groups": groups}]
    series = TrainingRun(lines, counts=None, config=None).group_series("margin")
    assert np.argwhere(np.isfinite(series)).tolist() == [[7, 1]]
    assert series[7, 1] == 0.35
