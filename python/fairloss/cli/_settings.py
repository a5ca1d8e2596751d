"""Settings of the commands that train: a YAML file and `key=value` overrides."""

from pathlib import Path
from typing import Annotated

import typer

from fairloss.checks import expect
from fairloss.training import load_config
from fairloss.training.settings import Config, expand_home, is_setting, prepare

Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CONFIG] [KEY=VALUE]...",
        help="A YAML file first, then overrides. Texts are taken as they are, but for a leading "
        "~/ of folders and files; KEY= leaves a folder or file out. Other values are YAML.",
    ),
]


def load_settings(settings: list[str] | None, schema: type[Config]) -> Config:
    """Load settings: a first argument that sets no field is a YAML file, the others overrides."""
    overrides = list(settings or [])
    path = None
    if overrides and not is_setting(overrides[0], schema):
        path = expand_home(overrides.pop(0))
        readable = "=" not in path or Path(path).is_file()
        expect(readable, "config", "a YAML file, or a setting such as epochs=10", repr(path))
    return prepare(load_config(path, overrides, schema))
