from __future__ import annotations

import pytest
from command import succeed
from synthetic import write_folder


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """A folder of 120 images of 20 identities."""
    return write_folder(tmp_path_factory.mktemp("data") / "faces", [6] * 20)


@pytest.fixture(scope="session")
def features(images, model, tmp_path_factory):
    """A file of the features of `images`."""
    path = tmp_path_factory.mktemp("features") / "f.npy"
    succeed("embed", "--data", images, "--checkpoint", model, "--output", path)
    return path
