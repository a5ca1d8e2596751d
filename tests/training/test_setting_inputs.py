"""Settings as a shell hands them over: folders with odd names, and texts that are no YAML."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_cases import write_checkpoint
from command import fairloss, refuse, succeed
from synthetic import write_folder

from fairloss.cli._settings import load_settings
from fairloss.data import read_features
from fairloss.experience import CollectConfig
from fairloss.loss_search import SearchConfig
from fairloss.training import TrainConfig, as_yaml, load_config

FOLDERS = ["${HOME}", "1e3", "a: b", "[x]", "null", "'q'", " lead", "???", "yes", "~user/faces"]
FOLDERS += ["0x1F", "2026-01-02", "faces\\new", "a=b", "{0}", "*all", "trail ", "1_000"]


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_is_the_text_after_the_first_equals_sign(folder):
    config = load_config(None, [f"data={folder}", "output=run"], TrainConfig)
    assert config.data == folder


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder != "???"])
def test_a_folder_survives_being_written_and_read(tmp_path, folder):
    config = TrainConfig(data=folder, output=folder)
    path = tmp_path / "config.yaml"
    path.write_text(as_yaml(config), encoding="utf-8")
    again = load_config(path, [], TrainConfig)
    assert (again.data, again.output) == (folder, folder)


@pytest.mark.parametrize(
    "path", ["runs/a: b/policy.json", "runs #3/policy.json", "[old] policy.json", "7"]
)
def test_a_nested_text_is_taken_as_it_is(path):
    config = load_config(None, ["data=x", "output=y", f"head.policy={path}"], TrainConfig)
    assert config.head.policy == path


def test_every_text_of_a_collection_is_taken_as_it_is():
    settings = ["run=runs #1", "output=exp #2", "data=faces: all", "epochs=3"]
    config = load_settings(settings, CollectConfig)
    assert (config.run, config.output, config.data) == ("runs #1", "exp #2", "faces: all")
    assert config.epochs == 3


def test_every_text_of_a_search_is_taken_as_it_is():
    settings = ["data=2024", "output=runs #1", "init=a: b", "search.method=am-lfs"]
    config = load_settings([*settings, "search.sigma=2e-1", "workers=2"], SearchConfig)
    assert (config.data, config.output, config.init) == ("2024", "runs #1", "a: b")
    assert (config.search.method, config.search.sigma, config.workers) == ("am-lfs", 0.2, 2)


@pytest.mark.parametrize("setting", ["run", "output", "data"])
def test_a_tilde_is_the_home_folder(monkeypatch, tmp_path, setting):
    monkeypatch.setenv("HOME", str(tmp_path))
    given = {"run": "base", "output": "out", "data": "faces"} | {setting: "~/deep/~/x"}
    config = load_settings([f"{name}={value}" for name, value in given.items()], CollectConfig)
    assert getattr(config, setting) == f"{tmp_path}/deep/~/x"


@pytest.mark.parametrize(
    "setting",
    ["image_size=[32,32", "optimizer.decay_at=[0.5", "epochs={", "seed=@1", "batch_size=%16"],
)
def test_what_is_no_yaml_is_one_line_that_names_the_setting(tmp_path, setting):
    name = setting.partition("=")[0]
    done = fairloss("train", "data=x", f"output={tmp_path / 'run'}", setting)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {name}: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "name",
    ["batch=64.yaml", "model.names=all/c.yaml", "a=b=c.yaml", "my data=x/epochs=3.yaml"],
)
def test_a_file_whose_path_has_an_equals_sign_is_read(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text("data: faces\noutput: run\nepochs: 7\n", encoding="utf-8")
    for path in (name, str(tmp_path / name)):
        assert load_settings([path], TrainConfig).epochs == 7
        assert load_settings([path, "epochs=9"], TrainConfig).epochs == 9


def test_numbers_booleans_lists_and_options_are_read_as_before():
    settings = ["data=1", "output=2", "epochs=3", "optimizer.learning_rate=1e-2", "augment=false"]
    settings += ["image_size=[16, 24]", "head.options={t: 1.5, note: 'a # b'}", "head.margin=null"]
    config = load_config(None, settings, TrainConfig)
    assert (config.data, config.output, config.epochs) == ("1", "2", 3)
    assert (config.optimizer.learning_rate, config.augment) == (0.01, False)
    assert (config.image_size, config.head.margin) == ([16, 24], None)
    assert config.head.options == {"t": 1.5, "note": "a # b"}


def test_a_run_is_resumed_with_the_folders_it_was_started_with(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(Path("${HOME} [1]"), [3, 3], size=16)
    settings = ["data=${HOME} [1]", "output=null", "epochs=1", "image_size=[32,32]", "channels=1"]
    settings += ["model.embedding_size=8"]
    for _ in range(2):
        succeed("train", *settings)
    config = load_config("null/config.yaml", [], TrainConfig)
    assert config.data == str(tmp_path / "${HOME} [1]")
    shutil.rmtree("${HOME} [1]")
    refuse("${HOME} [1]", "train", "null/config.yaml", "output=other")


def test_a_tilde_in_an_option_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    write_folder(tmp_path / "home" / "faces", [2, 2], size=16)
    model = write_checkpoint(tmp_path / "home" / "run", seed=0)
    options = ("--data=~/faces", "--checkpoint=~/run/model.pt", "--output=~/f.npy")
    succeed("embed", *options)
    assert not (tmp_path / "~").exists()
    assert model.is_file()
    assert len(read_features(tmp_path / "home" / "f.npy")) == 4
