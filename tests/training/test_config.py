from __future__ import annotations

import pytest

from fairloss.training import TrainConfig, as_yaml, check_numbers, load_config


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=x"], "output: must be given"),
        (["data=x", "output=y", "epoch=3"], "epoch: .*epochs"),
        (["data=x", "output=y", "epochs=many"], "epochs: "),
        (["data=x", "output=y", "epochs=0"], "epochs: expected a number above 0, got 0"),
        (
            ["data=x", "output=y", "resume=maybe"],
            "resume: expected one of 'auto', 'previous', 'never', got 'maybe'",
        ),
        (["data=x", "output=y", "image_size=[1,2,3]"], "image_size: expected"),
        (["data=x", "output=y", "seed=-1"], "seed: expected a number of at least 0, got -1"),
        (
            ["data=x", "output=y", "optimizer.momentum=5"],
            "optimizer.momentum: expected a number in .* got 5",
        ),
        (["data", "x"], "settings: expected key=value, .* got 'data'"),
    ],
)
def test_bad_settings_are_named(overrides, message):
    with pytest.raises(ValueError, match=message):
        load_config(None, overrides, TrainConfig)


def test_yaml_then_overrides(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "data: faces\noutput: run\nepochs: 7\nhead:\n  name: CosFace\n  margin: 0.3\n",
        encoding="utf-8",
    )
    loaded = load_config(path, ["epochs=9", "head.margin=0.2"], TrainConfig)
    assert (loaded.epochs, loaded.head.name, loaded.head.margin) == (9, "CosFace", 0.2)
    with pytest.raises(FileNotFoundError, match="config: .*none.yaml does not exist"):
        load_config(tmp_path / "none.yaml", [], TrainConfig)


@pytest.mark.parametrize("text", ["- a list", "a: [", "\x00"])
def test_a_file_that_is_no_configuration_is_named(tmp_path, text):
    (tmp_path / "run.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="config: .*run.yaml"):
        load_config(tmp_path / "run.yaml", [], TrainConfig)


@pytest.mark.parametrize("name", ["Jos\udce9", "\udc80\udcff", "数据 😀", "1e3", "a\x1b\u2028\x85"])
def test_any_name_of_a_folder_comes_back(tmp_path, name):
    config = TrainConfig(data=f"/faces/{name}", output=name)
    path = tmp_path / "config.yaml"
    path.write_text(as_yaml(config), encoding="utf-8")
    assert load_config(path, [], TrainConfig) == config


def test_an_override_names_a_folder_that_is_not_utf8():
    config = load_config(None, ["data=/faces/Jos\udce9", "output=x"], TrainConfig)
    assert config.data == "/faces/Jos\udce9"
    with pytest.raises(ValueError, match="output: expected a path in UTF-8, as tensorboard"):
        load_config(None, ["data=x", "output=Jos\udce9", "tensorboard=true"], TrainConfig)


def test_the_deprecated_check_of_numbers_still_works():
    with pytest.warns(DeprecationWarning, match="will be removed"):
        check_numbers({"rate": 0.1}, {"decay": 0})
    with (
        pytest.warns(DeprecationWarning, match="will be removed"),
        pytest.raises(ValueError, match="rate: expected a number above 0, got 0"),
    ):
        check_numbers({"rate": 0}, {})
