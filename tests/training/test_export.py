"""ONNX models: equal to torch at any batch size, or not written."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from cli_cases import write_checkpoint
from command import refuse, succeed
from torch import nn

from fairloss.models import build_model
from fairloss.training import checkpoint_digest, export, export_onnx, load_backbone


@pytest.fixture
def checkpoint(tmp_path):
    return write_checkpoint(tmp_path / "run", seed=0)


def require_onnx():
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)


@pytest.mark.parametrize("name", ["onnx", "onnxscript"])
def test_without_onnx_the_extra_is_named(tmp_path, checkpoint, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "onnx", sys)
    monkeypatch.setitem(sys.modules, name, None)
    output = tmp_path / "model.onnx"
    message = f'the export to ONNX needs {name}: pip install "fairloss-ext[export]"'
    refuse(message, "export", "--checkpoint", checkpoint, "--output", output)
    assert not output.exists()


def test_the_checkpoint_is_not_overwritten(checkpoint):
    before = checkpoint.read_bytes()
    message = f"output: expected an .onnx file, got {checkpoint}"
    refuse(message, "export", "--checkpoint", checkpoint, "--output", checkpoint)
    assert checkpoint.read_bytes() == before


class Stretched(nn.Module):
    """Wrong by a relative error, as the output of a faulty exporter would be."""

    def __init__(self, model, error):
        super().__init__()
        self.model, self.error = model, error

    def run(self, names, inputs):
        assert names == ["embeddings"]
        with torch.no_grad():
            embeddings = self.model(torch.from_numpy(inputs["images"]))
        if len(embeddings) == 3:
            embeddings[2] *= 1 + self.error
        return [embeddings.numpy()]


@pytest.mark.parametrize(
    ("error", "accepted"), [(5e-6, True), (2e-5, False), (float("nan"), False)]
)
def test_a_model_that_differs_at_one_batch_size_is_not_written(
    tmp_path, checkpoint, monkeypatch, error, accepted
):
    runtime = type(sys)("onnxruntime")
    runtime.InferenceSession = lambda content: Stretched(load_backbone(checkpoint)[0], error)
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    monkeypatch.setattr(export, "_convert", lambda *arguments: b"content")
    output = tmp_path / "model.onnx"
    arguments = ("export", "--checkpoint", checkpoint, "--output", output)
    if accepted:
        assert "5.0e-06, relative" in succeed(*arguments).stdout
        assert output.read_bytes() == b"content"
    else:
        refuse("checkpoint: expected a network whose ONNX model computes", *arguments)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def bare_weights(folder, name, size, channels):
    """Weights after a step of batch normalization, as those of a trained network."""
    torch.manual_seed(0)
    model = build_model(name, 64, size, channels)
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.momentum = 1.0
    with torch.no_grad():
        model(torch.rand(32, channels, *size) * 2 - 1)
    folder.mkdir()
    torch.save(model.state_dict(), folder / "model.pt")
    return folder / "model.pt"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size", "channels"),
    [("iresnet18", (32, 32), 3), ("mobilefacenet", (32, 48), 1)],
)
def test_onnx_equals_torch_at_any_batch_size(tmp_path, name, size, channels):
    require_onnx()
    import onnx
    import onnxruntime

    checkpoint = bare_weights(tmp_path / "weights", name, size, channels)
    output = tmp_path / "new" / "model.onnx"
    assert export_onnx(checkpoint, output) <= 1e-5
    model, _ = load_backbone(checkpoint)
    session = onnxruntime.InferenceSession(output)
    for number in (1, 2, 7, 16):
        images = torch.rand(number, channels, *size) * 2 - 1
        with torch.no_grad():
            expected = model(images)
        (embeddings,) = session.run(["embeddings"], {"images": images.numpy()})
        difference = (torch.from_numpy(embeddings) - expected).abs().max()
        assert difference <= 1e-5 * expected.abs().max()
    written = onnx.load(output)
    onnx.checker.check_model(written, full_check=True)
    metadata = {entry.key: entry.value for entry in written.metadata_props}
    assert metadata["checkpoint_sha256"] == checkpoint_digest(checkpoint)
    assert json.loads(metadata["image_size"]) == list(size)
    assert metadata["channels"] == {1: "gray", 3: "RGB"}[channels]
    assert str(sys.prefix).encode() not in output.read_bytes()


@pytest.mark.slow
def test_a_run_is_exported_by_the_command(tmp_path, checkpoint):
    require_onnx()
    output = tmp_path / "model.onnx"
    printed = succeed("export", "--checkpoint", checkpoint, "--output", output)
    assert printed.stdout.startswith(f"wrote {output}, which differs")
    assert not printed.stderr
