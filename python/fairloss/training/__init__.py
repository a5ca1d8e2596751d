"""Training: one run, from a configuration to a run folder that can be resumed."""

from fairloss.deprecation import renamed
from fairloss.io.json import read_json, write_json
from fairloss.io.run_folder import RunFolder
from fairloss.progress import Progress
from fairloss.training.backbone import backbone, checkpoint_digest, load_backbone
from fairloss.training.build import build_head
from fairloss.training.config import (
    HeadConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
    check_device,
    check_numbers,
)
from fairloss.training.export import export_onnx
from fairloss.training.feature_file import embed_to_devkit, embed_to_npy
from fairloss.training.groups import group_table
from fairloss.training.loss_file import read_loss, write_loss
from fairloss.training.settings import as_yaml, changes, load_config
from fairloss.training.train import read_faces, train
from fairloss.training.trainer import Diverged, EpochSoFar, Trainer

__all__ = [
    "Diverged",
    "EpochSoFar",
    "HeadConfig",
    "ModelConfig",
    "OptimizerConfig",
    "Progress",
    "RunFolder",
    "TrainConfig",
    "Trainer",
    "as_yaml",
    "backbone",
    "build_head",
    "changes",
    "check_device",
    "check_numbers",
    "checkpoint_digest",
    "embed_to_devkit",
    "embed_to_npy",
    "export_onnx",
    "group_table",
    "load_backbone",
    "load_config",
    "read_faces",
    "read_json",
    "read_loss",
    "train",
    "write_json",
    "write_loss",
]

_MOVED = (
    "Embedder",
    "check_embedder",
    "check_same_embedder",
    "claim_gallery",
    "read_embedder",
    "record_embedder",
)
_RENAMED = {name: f"fairloss.gallery:{name}" for name in _MOVED}
_RENAMED["write_whole"] = "fairloss.io.atomic:write_atomic"

__getattr__ = renamed(__name__, _RENAMED)
