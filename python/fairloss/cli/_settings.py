"""Settings of the commands that train: a YAML file and `key=value` overrides."""

from typing import Annotated

import typer

from fairloss.training import load_config
from fairloss.training.settings import Config

Settings = Annotated[
    list[str] | None,
    typer.Argument(metavar="[CONFIG] [KEY=VALUE]...", help="A YAML file first, then overrides."),
]


def load_settings(settings: list[str] | None, schema: type[Config]) -> Config:
    """Load settings: a first argument without "=" is a YAML file, the others are overrides."""
    overrides = list(settings or [])
    path = overrides.pop(0) if overrides and "=" not in overrides[0] else None
    return load_config(path, overrides, schema)
