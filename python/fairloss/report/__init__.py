"""One self-contained HTML page about a run folder."""

from fairloss.report.writer import write_report

__all__ = ["write_report"]
