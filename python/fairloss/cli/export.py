"""The command `fairloss export`."""

from pathlib import Path
from typing import Annotated

import typer

from fairloss.cli._console import print_line
from fairloss.cli._options import RunCheckpoint
from fairloss.training.export import export_onnx


def export(
    checkpoint: RunCheckpoint,
    output: Annotated[Path, typer.Option(help="The .onnx file.")],
) -> None:
    """Write a backbone as an ONNX model of any batch size, checked with onnxruntime.

    Input: `images`, float32 (B, channels, H, W) in [-1, 1]. Output: `embeddings`, not normalized.
    Example: `fairloss export --checkpoint runs/mine/model.pt --output mine.onnx`
    """
    error = export_onnx(checkpoint, output)
    print_line(f"wrote {output}, which differs from torch by at most {error:.1e}, relative")
