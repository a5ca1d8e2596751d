from __future__ import annotations

import pytest
from command import succeed


@pytest.fixture(scope="session")
def built(data, model, tmp_path_factory):
    """A gallery of the 33 images of `data`."""
    output = tmp_path_factory.mktemp("built") / "gallery"
    done = succeed("gallery", "build", "--data", data, "--checkpoint", model, "--output", output)
    assert "33 embeddings added, 33 in all, flat index" in done.stdout
    return output
