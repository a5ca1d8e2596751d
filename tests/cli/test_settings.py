"""Settings of the command line: texts as they are, paths of the home folder, and YAML."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_cases import SMALL
from command import fairloss, refuse, succeed
from synthetic import write_folder

from fairloss.cli._settings import load_settings
from fairloss.experience import CollectConfig
from fairloss.io.json import read_json
from fairloss.training import HeadConfig, TrainConfig, as_yaml, load_config, train

GIVEN = ["data=x", "output=y"]


@pytest.fixture(autouse=True)
def _working_folder(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.chdir(tmp_path)


def test_training_reads_the_folder_with_a_number_sign_and_writes_to_the_home_folder():
    write_folder(Path("faces"), [2] * 3, size=16)
    write_folder(Path("faces #2"), [2] * 5, size=16)
    succeed("train", "data=faces #2", "output=~/run", *SMALL, "epochs=1")
    assert len(read_json(Path("home/run/identities.json"))["identities"]) == 5
    assert not Path("~").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("head.options={t: 1.12", "head.options: expected a mapping such as {t: 1.12}, got"),
        ("epochs=abc", "epochs: expected an integer, got 'abc'"),
        ("epochs=1.5", "epochs: expected an integer, got '1.5'"),
        ("seed=true", "seed: expected an integer, got 'true'"),
        ("image_size=112", "image_size: expected a list of integers, got '112'"),
        ("optimizer.clip=[1]", "optimizer.clip: expected a number, got '[1]'"),
        ("head.scale=!!int x", "head.scale: expected a number or null, got '!!int x'"),
        ("head.scale=.nan", "head.scale: expected a number or null, got '.nan'"),
        ("head.margin=-.inf", "head.margin: expected a number or null, got '-.inf'"),
        ("augment=2", "augment: expected true or false, got '2'"),
        ("output=", "output: expected a text, got ''"),
        ("model.embedding_size=0", "model.embedding_size: expected a number in [1, "),
        (f"model.embedding_size={10**29}", "model.embedding_size: expected an integer, got '1000"),
        (f"seed={2**64}", "seed: expected an integer, got '18446744073709551616'"),
        (
            "optimizer.decay_at=[.nan]",
            "optimizer.decay_at: expected a list of numbers, got",
        ),
        ("optimizer.decay_at=[-1]", "optimizer.decay_at[0]: expected a number of at least 0"),
        (f"epochs={'9' * 400}", "epochs: expected an integer, got '999"),
        ("head=x", "head: expected settings of the form `key: value`, got 'x'"),
        ("learning_rate=1", "learning_rate: expected a setting such as optimizer.learning_rate,"),
        ("head.option.t=1", "head.option.t: expected a setting such as head.options"),
        ("xyz=1", "xyz: expected a setting such as data, output, epochs"),
    ],
)
def test_a_setting_of_the_wrong_type_or_name_is_one_line(setting, message):
    done = fairloss("train", *GIVEN, setting)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"error: {message}")


def test_a_first_argument_is_a_file_unless_it_names_a_setting():
    folder = Path("sweep/lr=0.1")
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("data: ~/faces\noutput: run\n", encoding="utf-8")
    assert load_settings([f"{folder}/config.yaml"], TrainConfig).data.endswith("home/faces")
    assert load_settings(["head.options.t=2", *GIVEN], TrainConfig).head.options == {"t": 2}
    refuse("config: expected a YAML file, or a setting such as", "train", "epoch=3", *GIVEN)


def test_an_empty_text_is_none_where_it_may_be():
    settings = ["init=", "head.policy=", "head.kind=", "head.loss=null"]
    config = load_config(None, [*GIVEN, "init=a", *settings], TrainConfig)
    assert (config.init, config.head.policy, config.head.kind) == (None, None, None)
    assert config.head.loss == "null"
    assert load_settings(["run=r", "output=~", "data="], CollectConfig).data is None


def test_a_file_gives_texts_as_they_are_written_there():
    Path("a.yaml").write_text(
        "data: 1e3\noutput: ???\ninit: ${oc.env:HOME}\ndevice: 'cpu'\nepochs: '7'\n"
        "model: &name {name: iresnet18}\nhead: {<<: *name, name: CosFace, margin: 3e-1}\n",
        encoding="utf-8",
    )
    config = load_config("a.yaml", ["output=???"], TrainConfig)
    assert (config.data, config.output, config.init) == ("1e3", "???", "${oc.env:HOME}")
    assert (config.device, config.epochs, config.head.margin) == ("cpu", 7, 0.3)
    with pytest.raises(ValueError, match="output: must be given"):
        load_config("a.yaml", [], TrainConfig)
    Path("a.yaml").write_text("data: a\ndata: b\n", encoding="utf-8")
    with pytest.raises(ValueError, match="config: a.yaml .* data is given 2 times"):
        load_config("a.yaml", ["output=y"], TrainConfig)


def test_every_text_of_a_written_configuration_is_read_as_it_was():
    texts = ["???", "~/x", "null", "", "1e5", "a\nb", "\udce9", "${x", "2026-01-02", "é", "0o7"]
    texts += ["\x85", "a\u2028b ", " \n", "long " * 50]
    for text in texts:
        head = HeadConfig(policy=text or None, options={"text": text, "more": [text, 1e-5, None]})
        config = TrainConfig(data=text or "x", output="y", head=head)
        Path("config.yaml").write_text(as_yaml(config), encoding="utf-8")
        assert load_config("config.yaml", [], TrainConfig) == config


def test_a_tilde_of_an_option_is_expanded_once():
    expected = f"no gallery in {Path.cwd()}/home/~/none"
    for option in (["--gallery=~/~/none"], ["--gallery", "~/~/none"]):
        refuse(expected, "gallery", "query", *option, "probe.png", "--checkpoint=model.pt")


@pytest.mark.parametrize("text", ["1:30", "1_0:30", "0o10"])
def test_numbers_of_other_bases_are_refused(text):
    with pytest.raises(ValueError, match=f"epochs: expected .*, got '?{text}"):
        load_config(None, ["data=x", "output=y", f"epochs={text}"], TrainConfig)
    options = [f"head.options.t={text}"]
    config = load_config(None, ["data=x", "output=y", *options], TrainConfig)
    assert config.head.options == {"t": text}


def test_numbers_are_read_as_python_writes_them():
    settings = ["optimizer.weight_decay=5e-4", "optimizer.clip=.5", "epochs=010", "seed=1_000"]
    config = load_config(None, ["data=x", "output=y", *settings], TrainConfig)
    assert (config.optimizer.weight_decay, config.optimizer.clip) == (5e-4, 0.5)
    assert (config.epochs, config.seed) == (10, 1000)


def test_a_folder_of_the_working_folder_is_not_taken_for_the_home_folder_later():
    config = load_settings(["data=./~/x", "output=y"], TrainConfig)
    assert config.data == f"{Path.cwd()}/~/x"
    assert load_settings([f"data={Path(config.data, 'y')}", "output=y"], TrainConfig).data == (
        f"{Path.cwd()}/~/x/y"
    )


def test_a_collection_of_no_run_leaves_nothing_behind():
    refuse("run: expected a run folder", "collect", "run=nowhere", "output=out")
    assert not Path("out").exists()


def test_an_error_about_a_value_in_a_file_names_the_file():
    Path("a.yaml").write_text("optimizer: {learning_rate: abc}\n", encoding="utf-8")
    message = "error: a.yaml: optimizer.learning_rate: expected a number, got 'abc'"
    refuse(message, "train", "a.yaml", *GIVEN)


def test_a_run_that_is_started_in_python_writes_to_the_home_folder():
    config = TrainConfig(data="~/none", output="~/run")
    with pytest.raises(ValueError, match="home/none"):
        train(config)
    assert not Path("~").exists()
