"""Labelled face images: reading them, shaping their long tail, and batching them repeatably."""

from __future__ import annotations

from fairloss.data.arrays import read_arrays, read_images, write_arrays
from fairloss.data.batches import augment, epoch_batches, epoch_order, to_input
from fairloss.data.decode import UnreadableImage
from fairloss.data.faces import FaceImages
from fairloss.data.folder import read_folder
from fairloss.data.groups import read_groups
from fairloss.data.long_tail import long_tailed, orl_split, pareto_counts, split_identities
from fairloss.data.orl import export_orl, orl_wheel, read_orl

__all__ = [
    "FaceImages",
    "UnreadableImage",
    "augment",
    "epoch_batches",
    "epoch_order",
    "export_orl",
    "long_tailed",
    "orl_split",
    "orl_wheel",
    "pareto_counts",
    "read_arrays",
    "read_folder",
    "read_groups",
    "read_images",
    "read_orl",
    "split_identities",
    "to_input",
    "write_arrays",
]
