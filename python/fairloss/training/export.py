"""ONNX models of trained backbones, for any batch size, checked with onnxruntime."""

import json
import os
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from fairloss.checks import expect
from fairloss.data import to_input
from fairloss.io.atomic import write_atomic
from fairloss.io.output import check_output
from fairloss.training.backbone import load_identified
from fairloss.training.config import TrainConfig

BATCH_SIZES = (1, 3, 16)
# of the difference of two embeddings; the order of float32 sums alone gives 1e-6 to 5e-6
TOLERANCE = 1e-5


def export_onnx(checkpoint: str | os.PathLike[str], output: str | os.PathLike[str]) -> float:
    """Write the backbone of a checkpoint as an ONNX model, and return its relative error.

    Input "images" is float32 (B, channels, H, W) of any B, scaled to [-1, 1] by
    `fairloss.data.to_input`; output "embeddings" is (B, embedding_size), not normalized and of the
    image alone, without its mirror. The metadata of the model say how to prepare images, and hold
    the digest of the checkpoint. The file is written if onnxruntime computes the embeddings of
    torch from it.

    Args:
        checkpoint: a run's model.pt, or the weights of a network of insightface.
        output: path of the .onnx file.

    Raises:
        ImportError: onnx, onnxscript or onnxruntime is missing.
        ValueError: the checkpoint or the output does not fit, or embeddings of 1, 3 or 16 images
            differ from those of torch by more than 1e-5 of their length.
    """
    check_output(output, folder=False)
    # a mistaken path must not replace the checkpoint
    expect(Path(output).suffix == ".onnx", "output", "an .onnx file", output)
    model, config, digest = load_identified(Path(checkpoint))
    content = _convert(model, config, digest)
    errors = [_difference(content, model, _random_images(n, config)) for n in BATCH_SIZES]
    error = torch.tensor(errors).max().item()  # max() would pass over NaN
    expected = f"a network whose ONNX model computes its embeddings to a part in {1 / TOLERANCE:g}"
    expect(error <= TOLERANCE, "checkpoint", expected, f"a relative error of {error:.1e}")
    write_atomic(Path(output), lambda temporary: temporary.write_bytes(content))
    return error


def _convert(model: nn.Module, config: TrainConfig, digest: str) -> bytes:
    """Return the ONNX model as the bytes of its file."""
    onnx = _import_extra("onnx")
    _import_extra("onnxscript")  # by torch
    example = _random_images(2, config)  # torch.export would take 1 to be the size of all batches
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of torch about its own exporter
        program = torch.onnx.export(
            model,
            (example,),
            input_names=["images"],
            output_names=["embeddings"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    for node in proto.graph.node:
        del node.metadata_props[:]  # lines of the source, with the paths of this machine
    onnx.helper.set_model_props(proto, _metadata(config, digest))
    return bytes(proto.SerializeToString())


def _metadata(config: TrainConfig, digest: str) -> dict[str, str]:
    """Return what a program needs that feeds the model."""
    return {
        "model": config.model.name,
        "embedding_size": str(config.model.embedding_size),
        "image_size": json.dumps(list(config.image_size)),
        "channels": {1: "gray", 3: "RGB"}.get(config.channels, str(config.channels)),
        "scaling": "(pixel / 255 - 0.5) / 0.5",
        "checkpoint_sha256": digest,
    }


def _random_images(number: int, config: TrainConfig) -> Tensor:
    shape = (number, config.channels, *config.image_size)
    generator = torch.Generator().manual_seed(number)
    return to_input(torch.randint(256, shape, generator=generator, dtype=torch.uint8))


@torch.no_grad()
def _difference(content: bytes, model: nn.Module, images: Tensor) -> float:
    """Return the largest difference to an embedding of torch, relative to its length."""
    session = _import_extra("onnxruntime").InferenceSession(content)
    (embeddings,) = session.run(["embeddings"], {"images": images.numpy()})
    expected = model(images)
    distances = (torch.from_numpy(embeddings) - expected).norm(dim=1)
    return float((distances / expected.norm(dim=1)).max())


def _import_extra(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f'the export to ONNX needs {name}: pip install "fairloss-ext[export]"'
        ) from error
