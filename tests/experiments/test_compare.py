"""Comparisons of arms x seeds: their runs, results, resumption and plans."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command import succeed
from synthetic import write_folder

from fairloss.experiments import CompareConfig, Run, compare, plan, smoke
from fairloss.loss_search import ProcessMap
from fairloss.models import embed
from fairloss.training import RunFolder, TrainConfig, load_backbone, load_config, read_faces

SETTINGS = {"epochs": 1, "image_size": [32, 32], "channels": 1, "batch_size": 16}
SETTINGS |= {"model.embedding_size": 16}
ARMS = {"cosface": {"head.name": "CosFace"}, "arcface": {"head": {"name": "ArcFace"}}}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return str(write_folder(tmp_path_factory.mktemp("data") / "faces", [3] * 12))


@pytest.fixture(scope="module")
def config(data, tmp_path_factory):
    output = str(tmp_path_factory.mktemp("compared") / "long tail")
    return CompareConfig(output, SETTINGS | {"data": data}, ARMS, seeds=2)


@pytest.fixture(scope="module")
def summary(config):
    return compare(config)


def result(config, arm="cosface", seed=0):
    return json.loads(config.result_path(Run(arm, seed)).read_text(encoding="utf-8"))


def test_the_summary_has_every_arm_and_seed_and_is_written(config, summary):
    (task,) = summary["tasks"]
    runs = [(run["arm"], run["seed"]) for run in task["runs"]]
    assert sorted(runs) == [("arcface", 0), ("arcface", 1), ("cosface", 0), ("cosface", 1)]
    assert (task["name"], task["primary_metric"]) == ("long tail", "test_auc")
    assert task["validation_metric"] is None
    written = json.loads((Path(config.output) / "summary.json").read_text(encoding="utf-8"))
    assert written == {"version": 1} | summary


def test_a_fifth_of_the_identities_is_tested_and_not_trained(config, summary, data):
    folder = Path(config.output) / "runs" / "cosface-seed-0"
    trained = json.loads((folder / "identities.json").read_text(encoding="utf-8"))["identities"]
    assert len(trained) == 9
    model, training = load_backbone(folder / "model.pt")
    faces = read_faces(training)
    rest = faces.of_identities(set(faces.identities) - set(trained))
    unit = embed(model, rest).double()
    scores = (unit @ unit.T / unit.norm(dim=1).outer(unit.norm(dim=1))).numpy()
    same = rest.labels.numpy()[:, None] == rest.labels.numpy()
    upper = np.triu(np.ones_like(same), 1)
    genuine, impostor = scores[same & upper], scores[~same & upper]
    auc = (genuine[:, None] > impostor).mean()
    assert result(config)["metrics"]["test_auc"] == pytest.approx(auc, abs=1e-9)
    assert result(config)["test"] == {"folder": None, "images": 9, "identities": 3, "trained": 0}


def test_a_result_records_its_machine_and_settings(config, summary):
    record = result(config)
    assert record["machine"]["threads"] == config.threads
    assert {"commit", "torch", "numpy", "cpu_extensions"} <= record["machine"].keys()
    assert record["settings"]["head"]["name"] == "CosFace"


def test_arms_of_one_seed_have_the_same_start_and_batches(data, tmp_path):
    """So that two arms with the same loss do not differ."""
    settings = SETTINGS | {"data": data}
    same = CompareConfig(str(tmp_path), settings, {"a": {}, "b": {"head.margin": 0.35}}, seeds=1)
    a, b = compare(same)["tasks"][0]["runs"]
    assert a["metrics"] == b["metrics"]


def test_an_interrupted_comparison_resumes_to_the_same_summary(config, summary, tmp_path):
    other = replace(config, output=str(tmp_path / "long tail"))
    reported = []

    def stop(record, left):
        reported.append((record["arm"], left.finished))
        if len(reported) in (1, 3):
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            compare(other, stop)
    # a run with a result needs no run folder
    (tmp_path / "long tail" / "runs" / "cosface-seed-0").rename(tmp_path / "elsewhere")
    compare(other, stop)
    assert [finished for _, finished in reported] == [1, 2, 3, 4]
    written = [Path(each.output) / "summary.json" for each in (config, other)]
    assert written[0].read_bytes() == written[1].read_bytes()


def test_results_with_other_settings_are_refused(config, summary, tmp_path):
    epochs = replace(config, settings=config.settings | {"epochs": 2})
    with pytest.raises(ValueError, match="output: expected .*cosface-seed-0.json.*epochs was 1"):
        compare(epochs)
    with pytest.raises(ValueError, match="test was None, is faces"):
        compare(replace(config, test="faces"))
    with pytest.raises(ValueError, match="threads was 1, is 2"):
        compare(replace(config, threads=2))


def test_results_with_another_file_of_the_same_name_are_refused(config, data, tmp_path):
    margins = tmp_path / "margins.json"
    identities = [path.name for path in Path(data).iterdir()]
    margins.write_text(json.dumps(dict.fromkeys(identities, 0.2)), encoding="utf-8")
    arms = {"a": {"head.name": "PerClass", "head.margins": str(margins)}}
    given = replace(config, output=str(tmp_path / "o"), arms=arms, seeds=1)
    assert compare(given) == compare(given)
    margins.write_text(json.dumps(dict.fromkeys(identities, 0.3)), encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"files was .*head\.margins.*, is .*; name another folder"
    ):
        compare(given)
    given.result_path(Run("a", 0)).unlink()  # but not the run, which has the old margins
    with pytest.raises(ValueError, match=r"o.runs.a-seed-0, begun with another .* head\.margins"):
        compare(given)


def test_a_test_folder_that_grew_between_runs_is_named(config, summary, tmp_path):
    output = tmp_path / "long tail"
    shutil.copytree(config.output, output)
    other = replace(config, output=str(output))
    changed = result(other, "arcface", 1)
    changed["test"]["images"] += 1
    other.result_path(Run("arcface", 1)).write_text(json.dumps(changed), encoding="utf-8")
    message = "test: expected as many images in all results, got 9 of .* and 10 of arcface-seed-1"
    with pytest.raises(ValueError, match=message):
        compare(other)


def test_test_and_validation_folders_are_measured(data, tmp_path):
    test = str(write_folder(tmp_path / "test", [2] * 5, seed=1))
    validation = str(write_folder(tmp_path / "validation", [2] * 4, seed=2))
    arms = {"cosface": {}}
    sets = {"test": test, "validation": validation}
    config = CompareConfig(str(tmp_path / "o"), SETTINGS | {"data": data}, arms, seeds=1, **sets)
    (task,) = compare(config)["tasks"]
    assert (task["primary_metric"], task["validation_metric"]) == ("test_auc", "validation_auc")
    assert result(config)["test"]["identities"] == 5
    assert result(config)["validation"] == {
        "folder": validation, "images": 8, "identities": 4, "trained": 4
    }  # fmt: skip
    trained = RunFolder(tmp_path / "o" / "runs" / "cosface-seed-0") / "identities.json"
    assert len(json.loads(trained.read_text(encoding="utf-8"))["identities"]) == 12


def test_class_statistics_cost_a_third_of_their_steps(data, tmp_path):
    always = SETTINGS | {"data": data, "epochs": 2, "statistics": "always"}
    config = CompareConfig(str(tmp_path), always, {"a": {}}, seeds=1)
    (run,) = compare(config)["tasks"][0]["runs"]
    steps = 2 * 2  # epochs x ceil(27 / 16)
    assert (run["train_steps"], run["cost_steps"]) == (steps, pytest.approx(steps * 4 / 3))


def test_a_plan_counts_what_is_left_and_writes_nothing(config, summary, tmp_path):
    new = plan(replace(config, output=str(tmp_path / "new")))
    assert (new.runs, new.finished, new.seconds_left) == (4, 0, None)
    assert not list(tmp_path.iterdir())
    more = plan(replace(config, seeds=3, workers=2))
    assert (more.runs, more.finished) == (6, 4)
    seconds = [np.mean([result(config, a, s)["seconds"] for s in (0, 1)]) for a in ARMS]
    assert more.seconds_left == pytest.approx(sum(seconds) / 2)
    fewer = plan(replace(config, seeds=3, fewer_seeds={"arcface": 1}))
    assert (fewer.runs, fewer.arms["arcface"].runs) == (4, 1)
    assert fewer.seconds_left == pytest.approx(seconds[0])


def test_arms_may_have_fewer_seeds(config):
    fewer = replace(config, seeds=3, fewer_seeds={"arcface": 2})
    runs = [("cosface", 0), ("arcface", 0), ("cosface", 1), ("arcface", 1), ("cosface", 2)]
    assert fewer.runs == runs
    assert smoke(fewer).runs == runs[:2]
    smoke(fewer).check()


def test_a_smoke_test_trains_every_arm_once_elsewhere(config):
    arms = {"a": {"epochs": 90, "optimizer": {"warmup": 3}}, "b": {}}
    small = smoke(replace(config, output=f"{config.output}/", arms=arms))
    assert small.output == f"{config.output}-smoke"
    settings = [small.training(run) for run in small.runs]
    assert [(each.epochs, each.optimizer.warmup) for each in settings] == [(2, 1), (2, 0)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": {}}, "arms: expected one or more"),
        ({"arms": {"../a": {}}}, "arms: expected names of letters"),
        ({"arms": {1: {}}}, "arms: expected names of letters, .*got 1"),
        ({"arms": {"a": {"head.name": "FairLoss"}}}, "arms.a: head.policy: expected .*got none"),
        ({"arms": {"a": {}, "b": {"data": "more"}}}, "test: expected a folder, as arms .*got none"),
        (
            {"arms": {"a": {"data": "x/{seed}"}, "b": {"data": "x/0"}}},
            "test: expected a folder, as arms .*got none",
        ),
        ({"output": "x/{seed}"}, "output: expected one folder for all seeds, without {seed}"),
        ({"arms": {"a": 3}}, "arms.a: expected settings such as"),
        ({"arms": {"a": {"seed": 3}}}, "arms.a: expected no seed"),
        ({"arms": {"a": {"head.name": "Foo"}}}, "arms.a: head.name: expected .*'Foo'"),
        ({"arms": {"a": {"epoch": 3}}}, "arms.a: epoch: expected a setting such as epochs"),
        ({"settings": {}}, "arms.cosface: data: must be given"),
        ({"seeds": 0}, "seeds: expected a number of at least 1, got 0"),
        ({"fewer_seeds": {"foo": 1}}, "fewer_seeds: expected arms of cosface, arcface, got foo"),
        ({"fewer_seeds": {"arcface": 3}}, "fewer_seeds.arcface: expected 1 to seeds=2, got 3"),
        ({"fewer_seeds": {"arcface": 0.5}}, "fewer_seeds.arcface: expected 1 to seeds=2, got 0.5"),
    ],
)
def test_wrong_settings_are_refused_before_the_work(config, changes, message):
    with pytest.raises(ValueError, match=message):
        replace(config, **changes).check()


def test_an_arm_may_have_a_schedule(config):
    schedule = {"head": {"name": "PerClass", "options": {"schedule": [[0, 0.1], [1, 0.4]]}}}
    replace(config, arms={"a": schedule}).check()


def test_a_missing_extra_is_named_before_the_work(config, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(ImportError, match=r"needs scipy: .*\[compare\]"):
        compare(replace(config, output=str(tmp_path / "o")))
    assert not (tmp_path / "o").exists()


def test_too_few_identities_to_hold_out_are_refused(config, tmp_path):
    few = str(write_folder(tmp_path / "few", [2] * 9))
    other = replace(config, output=str(tmp_path / "o"), settings=SETTINGS | {"data": few})
    with pytest.raises(ValueError, match="test: expected a folder, or 10 identities .*got 9"):
        compare(other)


def test_a_set_without_genuine_pairs_is_refused_before_a_run_trains(config, tmp_path):
    singles = str(write_folder(tmp_path / "singles", [1] * 3))
    other = replace(config, output=str(tmp_path / "o"), validation=singles)
    message = "cosface-seed-0: validation: expected two identities .*, got 3, 0 with several"
    with pytest.raises(ValueError, match=message):
        compare(other)
    assert not (tmp_path / "o" / "runs").exists()


def test_the_command_prints_each_run_and_the_differences(config, summary, tmp_path):
    output = tmp_path / "long tail"
    shutil.copytree(config.output, output)
    (output / "results" / "arcface-seed-1.json").unlink()
    path = tmp_path / "arms.yaml"
    path.write_text(
        f"output: {output}\nseeds: 2\nsettings: {json.dumps(config.settings)}\n"
        "arms:\n  cosface: {head.name: CosFace}\n  arcface: {head: {name: ArcFace}}\n",
        encoding="utf-8",
    )
    assert "4 runs, hours left: 0.00" in succeed("compare", path, "--plan").stdout
    done = succeed("compare", path)
    assert "4 of 4: arcface, seed 1: test_auc" in done.stdout
    assert "arcface - cosface" in done.stdout
    assert "undecided" in done.stdout
    written = (output / "summary.json").read_bytes()
    assert written == (Path(config.output) / "summary.json").read_bytes()


def test_settings_of_a_run_are_those_of_train(config):
    training = config.training(Run("arcface", 1))
    options = ["epochs=1", "image_size=[32,32]", "channels=1", "batch_size=16", "seed=1"]
    options += ["model.embedding_size=16", "head.name=ArcFace", f"data={training.data}"]
    assert training == load_config(None, [*options, f"output={training.output}"], TrainConfig)


@pytest.mark.slow
def test_processes_give_the_same_summary(config, summary, tmp_path):
    other = replace(config, output=str(tmp_path / "long tail"), workers=2)
    with ProcessMap(2) as processes:
        assert compare(other, map=processes) == summary


@pytest.mark.slow
def test_five_kills_change_nothing(data, tmp_path):
    """Killed with its processes at work, which end with it: they hold its output until then."""
    settings = SETTINGS | {"data": data, "epochs": 30}
    config = CompareConfig(str(tmp_path / "plain" / "x"), settings, ARMS, seeds=2)
    compare(config)
    path = tmp_path / "arms.yaml"
    killed = tmp_path / "killed" / "x"
    content = {"output": str(killed), "settings": settings, "arms": ARMS, "seeds": 2}
    path.write_text(json.dumps(content | {"workers": 2}), encoding="utf-8")
    command = [sys.executable, "-m", "fairloss", "compare", str(path)]
    for kill in range(5):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        try:
            before = checkpoints(killed)
            while checkpoints(killed) == before and process.poll() is None:
                time.sleep(0.01)
            time.sleep(0.05 * kill)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
            at_work = {lock.parent.name for lock in killed.glob("runs/*/.run.lock")}
            process.communicate(timeout=60)
            finished = {result.stem for result in killed.glob("results/*.json")}
            assert at_work
            assert not at_work & finished
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert not (killed / "summary.json").exists()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))
    plain = (tmp_path / "plain" / "x" / "summary.json").read_bytes()
    assert (killed / "summary.json").read_bytes() == plain


def checkpoints(output):
    return sorted(output.glob("runs/*/checkpoint*"))
