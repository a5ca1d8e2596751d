from __future__ import annotations

from command import succeed


def test_doctor_names_the_backend():
    done = succeed("doctor")
    assert "compiled" in done.stdout
