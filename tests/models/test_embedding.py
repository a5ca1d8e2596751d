"""Mirrored views are added for faces, and only for what may be mirrored."""

from __future__ import annotations

import torch
from torch import nn

from fairloss.data import FaceImages, to_input
from fairloss.models import embed

PIXELS = torch.arange(2 * 4 * 6, dtype=torch.uint8).view(2, 1, 4, 6)


def test_image_plus_mirror_where_allowed() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(24, 3))
    plain = model(to_input(PIXELS)).detach()
    mirrored = model(to_input(PIXELS.flip(3))).detach()
    for mirror, expected in ((True, plain + mirrored), (False, plain)):
        faces = FaceImages(PIXELS, [0, 1], ["a", "b"], ["a/1", "b/1"], mirror=mirror)
        torch.testing.assert_close(embed(model, faces), expected)
        torch.testing.assert_close(embed(model, faces, flip=False), plain)


def test_batches_go_to_the_model_s_device() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(24, 3)).to("meta")
    faces = FaceImages(PIXELS, [0, 1], ["a", "b"], ["a/1", "b/1"])
    assert embed(model, faces).device.type == "meta"
