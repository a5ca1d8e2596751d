"""Labeled face images: reading them, cutting their long tail, and batching them repeatably."""

from fairloss.data.align import align_face, open_aligned, similarity_transform
from fairloss.data.arrays import read_arrays, write_arrays
from fairloss.data.batches import augment, augment_sample, epoch_batches, epoch_order, to_input
from fairloss.data.cmc import Cmc, cmc_name, read_cmc, write_cmc
from fairloss.data.decode import UnreadableImage
from fairloss.data.face_images import FaceImages
from fairloss.data.features import Features, read_features, write_features, write_manifest
from fairloss.data.groups import read_groups
from fairloss.data.ijb import (
    Enrolled,
    Landmarks,
    TemplateMedia,
    TemplatePairs,
    read_enrolled,
    read_landmarks,
    read_template_media,
    read_template_pairs,
)
from fairloss.data.image_folder import list_images, read_folder
from fairloss.data.images import encoded_batches, image_batches, open_images, read_images
from fairloss.data.labeled_images import LabeledImages
from fairloss.data.listed_images import FolderImages, ListedImages
from fairloss.data.long_tail import long_tailed, orl_split, pareto_counts, split_identities
from fairloss.data.megaface import (
    DevkitList,
    read_devkit_list,
    read_noise_list,
    read_vector,
    read_vectors,
    write_devkit_list,
    write_vector,
)
from fairloss.data.named_pairs import NamedPairs, contiguous_folds, interleaved_folds
from fairloss.data.npy import read_matrix
from fairloss.data.orl import export_orl, orl_wheel, read_orl
from fairloss.data.pair_bin import PairBin, read_pair_bin, write_pair_bin
from fairloss.data.pair_lists import identity_of, read_pairs
from fairloss.data.record_images import RecordImages
from fairloss.data.record_writer import write_records
from fairloss.data.restricted_pickle import load_plain
from fairloss.data.samplers import balanced_batches, per_class_batches
from fairloss.data.synthetic_megaface import Planted, planted_megaface, write_planted
from fairloss.data.ytf import read_ytf_splits
from fairloss.deprecation import renamed

__all__ = [
    "Cmc",
    "DevkitList",
    "Enrolled",
    "FaceImages",
    "Features",
    "FolderImages",
    "LabeledImages",
    "Landmarks",
    "ListedImages",
    "NamedPairs",
    "PairBin",
    "Planted",
    "RecordImages",
    "TemplateMedia",
    "TemplatePairs",
    "UnreadableImage",
    "align_face",
    "augment",
    "augment_sample",
    "balanced_batches",
    "cmc_name",
    "contiguous_folds",
    "encoded_batches",
    "epoch_batches",
    "epoch_order",
    "export_orl",
    "identity_of",
    "image_batches",
    "interleaved_folds",
    "list_images",
    "load_plain",
    "long_tailed",
    "open_aligned",
    "open_images",
    "orl_split",
    "orl_wheel",
    "pareto_counts",
    "per_class_batches",
    "planted_megaface",
    "read_arrays",
    "read_cmc",
    "read_devkit_list",
    "read_enrolled",
    "read_features",
    "read_folder",
    "read_groups",
    "read_images",
    "read_landmarks",
    "read_matrix",
    "read_noise_list",
    "read_orl",
    "read_pair_bin",
    "read_pairs",
    "read_template_media",
    "read_template_pairs",
    "read_vector",
    "read_vectors",
    "read_ytf_splits",
    "similarity_transform",
    "split_identities",
    "to_input",
    "write_arrays",
    "write_cmc",
    "write_devkit_list",
    "write_features",
    "write_manifest",
    "write_pair_bin",
    "write_planted",
    "write_records",
    "write_vector",
]

__getattr__ = renamed(__name__, {"person_of": "fairloss.data.pair_lists:identity_of"})
