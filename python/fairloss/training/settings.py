"""Configurations from YAML files and `key=value` overrides."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, asdict, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar, cast, get_origin, get_type_hints

from fairloss.checks import check_file, expect
from fairloss.io.atomic import FormatError


class _Checked(Protocol):
    def check(self) -> None: ...


Config = TypeVar("Config", bound=_Checked)


class _Setting(NamedTuple):
    kind: Any  # the type of its field
    field: Field[Any]


def load_config(
    path: str | os.PathLike[str] | None,
    overrides: Sequence[str],
    schema: type[Config],
) -> Config:
    """Return a configuration: its defaults, then a YAML file, then `key=value` overrides.

    In an override a text is all that follows the first `=`, as it is, but that a folder or file
    may start with `~/`; other values are YAML. An empty text is None where a setting may be None.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an unknown key, a value of the wrong type or out of range, a missing key; naming
            the file if it has the value.
    """
    settings = _settings(schema)
    values: dict[str, Any] = {}
    if path is not None:
        _read_file(Path(path), settings, values)
    read = dict(values)
    for override in overrides:
        expect("=" in override, "settings", "key=value, such as epochs=10", repr(override))
        _override(override, settings, values)
    config = _build_whole(schema, values)
    try:
        config.check()
    except ValueError as error:
        name = re.split("[:[]", str(error))[0]
        if path is not None and name in read and values[name] == read[name]:
            raise FormatError(path, str(error)) from error
        raise
    return config


def merge_settings(schema: type[Config], *mappings: Mapping[str, Any]) -> Config:
    """Return a configuration: its defaults, then nested settings, of which the last one counts.

    Raises:
        ValueError: as `load_config`.
    """
    from fairloss.training import setting_values

    settings = _settings(schema)
    values: dict[str, Any] = {}
    for mapping in mappings:
        node = setting_values.parse(setting_values.write(dict(mapping)))
        for name, entry in setting_values.entries("settings", node):
            _assign(name, entry, settings, values)
    config = _build_whole(schema, values)
    config.check()
    return config


def as_yaml(config: Any) -> str:
    """Return the YAML text of a configuration."""
    from fairloss.training import setting_values

    return setting_values.write(asdict(config))


def changes(path: Path, config: Any, free: Sequence[str]) -> str:
    """Return how `config` differs from the one in `path`, without `free` settings; "" if not."""
    before, now = asdict(load_config(path, [], type(config))), asdict(config)
    changed = [key for key in now if now[key] != before[key] and key not in free]
    return "; ".join(f"{key} was {before[key]}, is {now[key]}" for key in changed)


def is_setting(text: str, schema: type[Any]) -> bool:
    """Return whether what stands before the first `=` is the name of a setting."""
    name, equals, _ = text.partition("=")
    return bool(equals) and _find(name, _settings(schema)) is not None


def expand_home(text: str) -> str:
    """Return a path with a leading `~/` replaced by the home folder, as a shell does it.

    `./~/x` is made absolute: as `~/x`, which `Path` makes of it, it would be expanded later.
    """
    if text == "~" or text.startswith("~/"):
        return os.path.expanduser(text)
    return os.path.abspath(text) if Path(text).parts[:1] == ("~",) else text


def prepare(config: Config) -> Config:
    """Return checked settings, in which a leading `~/` of folders and files is expanded.

    Raises:
        ValueError: naming the first setting that is out of range.
    """
    config = map_paths(config, expand_home)
    config.check()
    return config


def absolute(text: str) -> str:
    """Return a path that holds when a run is resumed from another folder."""
    return str(Path(text).resolve())


def map_paths(config: Config, change: Callable[[str], str]) -> Config:
    """Return a configuration with `change` applied to all its folders and files."""
    changed = {}
    for each in fields(cast(Any, config)):
        value = getattr(config, each.name)
        if is_dataclass(value):
            changed[each.name] = map_paths(cast(Any, value), change)
        elif each.metadata.get("path") and value is not None:
            several = isinstance(value, list)
            changed[each.name] = (
                [change(os.fspath(part)) for part in value] if several else change(os.fspath(value))
            )
    return cast(Config, replace(cast(Any, config), **changed))


def _settings(schema: type[Any], prefix: str = "") -> dict[str, _Setting]:
    """Every setting by its dotted name, nested configurations and what is in them included."""
    settings = {}
    for each, kind in _typed_fields(schema):
        settings[prefix + each.name] = _Setting(kind, each)
        if is_dataclass(kind):
            settings |= _settings(cast(Any, kind), f"{prefix}{each.name}.")
    return settings


def _typed_fields(schema: type[Any]) -> list[tuple[Field[Any], Any]]:
    kinds = get_type_hints(schema)
    return [(each, kinds[each.name]) for each in fields(schema)]


def _find(name: str, settings: dict[str, _Setting]) -> Any:
    """Return the type of a setting, or of an entry of `head.options`; None if there is none."""
    if name in settings:
        return settings[name].kind
    owner, _, key = name.rpartition(".")
    entry = key and owner in settings and get_origin(settings[owner].kind) is dict
    return Any if entry else None


def _read_file(path: Path, settings: dict[str, _Setting], values: dict[str, Any]) -> None:
    from fairloss.training import setting_values

    check_file("config", path)
    try:
        node = setting_values.parse(path.read_text(encoding="utf-8"))
        entries = setting_values.entries("settings", node)
    except ValueError as error:
        raise ValueError(f"config: {path} is not a YAML file of settings: {error}") from error
    for name, entry in entries:
        try:
            _assign(name, entry, settings, values)
        except ValueError as error:
            raise FormatError(path, str(error)) from error


def _override(text: str, settings: dict[str, _Setting], values: dict[str, Any]) -> None:
    from fairloss.training import setting_values

    name, _, value = text.partition("=")
    if name in settings and settings[name].field.metadata.get("path"):
        value = expand_home(value)
    node = setting_values.parse_setting(name, value, _find(name, settings))
    _assign(name, node, settings, values)


def _assign(name: str, node: Any, settings: dict[str, _Setting], values: dict[str, Any]) -> None:
    """Add the value of a setting to `values`, in which nested ones have dotted names."""
    from fairloss.training import setting_values

    kind = _find(name, settings)
    if kind is None:
        near = get_close_matches(name, settings, cutoff=0.5)
        near = near or [each for each in settings if "." not in each]
        raise ValueError(f"{name}: expected a setting such as {', '.join(near)}, got another name")
    if is_dataclass(kind):
        for key, entry in setting_values.entries(name, node):
            _assign(f"{name}.{key}", entry, settings, values)
        return
    value = setting_values.convert(name, node, kind)
    if name not in settings:
        name, _, key = name.rpartition(".")
        value = {key: value}
    values[name] = {**values.get(name, {}), **value} if isinstance(value, dict) else value


def _build_whole(schema: type[Config], values: dict[str, Any]) -> Config:
    """Return the configuration of values by dotted name; ValueError where one must be given."""
    for name, setting in sorted(_settings(schema).items()):
        if setting.field.default == "???" and name not in values:
            raise ValueError(f"{name}: must be given, such as {name}=FOLDER")
    return cast(Config, _build(schema, values))


def _build(schema: type[Any], values: dict[str, Any], prefix: str = "") -> Any:
    arguments = {}
    for each, kind in _typed_fields(schema):
        name = prefix + each.name
        if is_dataclass(kind):
            arguments[each.name] = _build(cast(Any, kind), values, f"{name}.")
        elif name in values:
            arguments[each.name] = values[name]
    return schema(**arguments)
