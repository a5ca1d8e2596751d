from __future__ import annotations

from command import succeed


def test_report_writes_one_page(run):
    succeed("report", run)
    assert "<html" in (run / "report.html").read_text(encoding="utf-8")
