"""loss.json: a searched loss, as the settings of an ordinary head."""

import math
import os
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from fairloss.checks import check_file, expect
from fairloss.io.json import read_json, write_json
from fairloss.training.config import HeadConfig

SCHEMA = "fairloss.loss"


def write_loss(path: str | os.PathLike[str], head: HeadConfig, provenance: dict[str, Any]) -> None:
    """Write name, scale and options of `head`, with where they come from."""
    settings = {"name": head.name, "scale": head.scale, "options": head.options}
    write_json(Path(path), {"schema": SCHEMA, "head": settings, "provenance": provenance})


def read_loss(path: str | os.PathLike[str]) -> HeadConfig:
    """Return the head's settings; ValueError if the file holds no loss of this version.

    Warn of a file that version 0.1 wrote for random-softmax: the loss in it is another.
    """
    check_file("head.loss", Path(path))
    content = read_json(Path(path))
    settings: Any = content.get("head")
    if content.get("schema") != SCHEMA or not _is_head(settings):
        raise ValueError(f"head.loss: {path} is not a file of schema {SCHEMA}")
    head = HeadConfig(**settings)
    provenance = content.get("provenance")
    if isinstance(provenance, dict) and provenance.get("method") == "random-softmax":
        a = head.options.get("a")
        name = "SearchSoftmax at a fixed a for each bin of p"
        if isinstance(a, float) and head.scale is not None:
            name = f"CosFace at margin {math.log1p(-a) / head.scale:.3f}"
        warnings.warn(
            f"head.loss: {path} is the mean of the losses that random-softmax drew, {name}. "
            "Random-Softmax itself draws one in every round; its model is that of the search.",
            stacklevel=2,
        )
    return head


def with_loss(config: HeadConfig) -> HeadConfig:
    """Return `config` with the content of its `loss` file in place of the path.

    Raises:
        ValueError: a setting is given that the file gives, or it is no such file.
    """
    if config.loss is None:
        return config
    alone = replace(config, loss=None, sample_rate=1.0) == HeadConfig()
    expect(alone, "head.loss", "no name, scale and options beside it", config.loss)
    return replace(read_loss(config.loss), sample_rate=config.sample_rate)


def _is_head(settings: Any) -> bool:
    kinds = {"name": str, "scale": int | float | None, "options": dict}
    same = isinstance(settings, dict) and settings.keys() == kinds.keys()
    return same and all(isinstance(settings[name], kind) for name, kind in kinds.items())
