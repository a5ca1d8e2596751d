from __future__ import annotations

import command
import pytest
from cli_cases import SMALL, write_checkpoint
from command import succeed
from command_inputs import write_inputs
from synthetic import write_folder

# Markup of rich with its closing tag.
MARKED = "x[bold]q[/bold]"


@pytest.fixture
def tmp_path(tmp_path):
    """A folder whose path is shown otherwise if it is parsed as markup."""
    folder = tmp_path / MARKED
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(autouse=True)
def _paths_are_printed_as_they_are(tmp_path, monkeypatch):
    run, parent = command.fairloss, str(tmp_path).removesuffix(MARKED)

    def run_and_check(*arguments):
        done = run(*arguments)
        for path in (done.stdout + done.stderr).split(parent)[1:]:
            assert path.startswith(MARKED)
        return done

    monkeypatch.setattr(command, "fairloss", run_and_check)


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


@pytest.fixture(scope="session")
def written_inputs(tmp_path_factory):
    pytest.importorskip("faiss")
    folder = tmp_path_factory.mktemp("inputs") / "in"
    write_inputs(folder)
    return folder


@pytest.fixture
def inputs(written_inputs, tmp_path):
    """A folder of links to inputs of all commands."""
    for entry in written_inputs.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    return tmp_path
