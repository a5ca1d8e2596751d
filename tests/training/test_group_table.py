"""Groups of the log and of the report: those of the head."""

from __future__ import annotations

import numpy as np
import torch
from synthetic import faces
from training_runs import config

from fairloss import heads
from fairloss.agent import Policy
from fairloss.experience import CollectConfig
from fairloss.experience.collect import chain_config
from fairloss.report.classes import section
from fairloss.report.run_view import read_run
from fairloss.training import HeadConfig, RunFolder, group_table, train
from fairloss_ext import ClassStatistics

CUTS = (3, 20)


def classes(table) -> list[int]:
    """Return the number of classes in each bin of image counts."""
    return [
        sum(g["classes"] for g in table if g["count_bin"] == count_bin) for count_bin in (0, 1, 2)
    ]


def test_groups_have_the_cuts_of_the_head():
    count = torch.tensor([1] * 20 + [5] * 5 + [40] * 5)
    spread = torch.linspace(0.1, 0.4, 30)
    statistics = ClassStatistics(
        count, spread, spread, spread, spread, torch.zeros(30, dtype=torch.int64)
    )
    head = heads.FairLoss(30, 4, Policy.constant("keep"), count_cuts=CUTS)
    states = head.states(statistics)
    table = group_table(statistics, head.class_margins(), head.count_cuts)
    assert classes(table) == [20, 5, 5]
    assert [g["classes"] for g in table] == np.bincount(states // 4, minlength=9).tolist()


def test_log_report_and_collection_have_the_cuts_of_the_run(tmp_path):
    policy = tmp_path / "policy.json"
    Policy.constant("keep").save(policy)
    options = {"count_cuts": [1, 3]}
    run = train(
        config(
            tmp_path / "run",
            epochs=1,
            head=HeadConfig(name="FairLoss", kind="cos", policy=str(policy), options=options),
        ),
        faces([1, 1, 1, 1, 2, 3, 4]),  # terciles: 1 and 1
    )
    (line,) = (line for line in RunFolder(run).metrics() if line["event"] == "epoch")
    assert line["count_cuts"] == [1, 3]
    assert classes(line["groups"]) == [4, 2, 1]
    _, *rows = section(read_run(run))["rows"]
    bins = [word for _, _, word in rows]
    assert sorted(map(bins.count, set(bins))) == [1, 2, 4]
    chain = chain_config(CollectConfig(run=str(run), output=str(tmp_path / "chain")), 0)
    assert chain.head.options == options
