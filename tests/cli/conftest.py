from __future__ import annotations

import pytest
from cli_cases import SMALL, write_checkpoint
from command import succeed
from synthetic import write_folder


@pytest.fixture(autouse=True, scope="module")
def _wide_terminal():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "200")
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder of 33 images of 6 identities."""
    return write_folder(tmp_path_factory.mktemp("data") / "faces", [8, 7, 6, 5, 4, 3])


@pytest.fixture(scope="session")
def run(data, tmp_path_factory):
    """The folder of a finished run of `fairloss train`."""
    output = tmp_path_factory.mktemp("runs") / "mine"
    done = succeed("train", f"data={data}", f"output={output}", *SMALL)
    assert str(output / "model.pt") in done.stdout
    return output


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The checkpoint of an untrained network."""
    return write_checkpoint(tmp_path_factory.mktemp("untrained"), seed=0)
