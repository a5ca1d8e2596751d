from __future__ import annotations

import pytest
from experience_runs import train_small


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("pretrained"))
