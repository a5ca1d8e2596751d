"""Configurations from YAML files and `key=value` overrides."""

import os
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from fairloss.checks import check_file, expect


class _Checked(Protocol):
    def check(self) -> None: ...


# YAML has no surrogates, which stand for the bytes of a path that are not UTF-8: in YAML they are
# the last characters of Unicode, which are for private use.
_TO_YAML = {0xDC00 + byte: 0x10FF00 + byte for byte in range(0x80, 0x100)}
_FROM_YAML = {private: surrogate for surrogate, private in _TO_YAML.items()}

Config = TypeVar("Config", bound=_Checked)


def load_config(
    path: str | os.PathLike[str] | None,
    overrides: Sequence[str],
    schema: type[Config],
) -> Config:
    """Return a configuration: its defaults, then a YAML file, then `key=value` overrides.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an unknown key, a value of the wrong type or out of range, a missing key.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    loaded = OmegaConf.create() if path is None else _read_yaml(Path(path))
    for text in overrides:
        expect("=" in text, "settings", "key=value, such as epochs=10", repr(text))
    try:
        node = OmegaConf.structured(schema)
        given = OmegaConf.from_dotlist([text.translate(_TO_YAML) for text in overrides])
        node = OmegaConf.merge(node, loaded, _translate(given, _FROM_YAML))
        missing = sorted(OmegaConf.missing_keys(node))
        config = None if missing else cast(Config, OmegaConf.to_object(node))
    except OmegaConfBaseException as error:
        raise ValueError(_message(error, schema)) from error
    if config is None:
        raise ValueError(f"{missing[0]}: must be given, such as {missing[0]}=FOLDER")
    config.check()
    return config


def _read_yaml(path: Path) -> Any:
    from omegaconf import DictConfig, OmegaConf
    from yaml import YAMLError

    check_file("config", path)
    try:
        loaded = OmegaConf.load(path)
    except (YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"config: {path} is not YAML: {error}") from error
    if not isinstance(loaded, DictConfig):
        raise ValueError(f"config: {path} holds no settings of the form `key: value`")
    return _translate(loaded, _FROM_YAML)


def as_yaml(config: Any) -> str:
    """Return the YAML text of a configuration."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(_translate(OmegaConf.structured(config), _TO_YAML))


def _translate(node: Any, table: dict[int, int]) -> Any:
    """Return settings with characters replaced in all their texts."""
    from omegaconf import OmegaConf

    def translate(value: Any) -> Any:
        if isinstance(value, dict):
            return {translate(key): translate(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [translate(entry) for entry in value]
        return value.translate(table) if isinstance(value, str) else value

    return OmegaConf.create(translate(OmegaConf.to_container(node)))


def changes(path: Path, config: Any, free: Sequence[str]) -> str:
    """Return how `config` differs from the one in `path`, without `free` settings; "" if not."""
    before, now = asdict(load_config(path, [], type(config))), asdict(config)
    changed = [key for key in now if now[key] != before[key] and key not in free]
    return "; ".join(f"{key} was {before[key]}, is {now[key]}" for key in changed)


def _message(error: Exception, schema: type[Any]) -> str:
    key = getattr(error, "full_key", None) or "configuration"
    first_line = str(error).splitlines()[0]
    names = ", ".join(f.name for f in fields(schema))
    return f"{key}: {first_line} (settings: {names})"
