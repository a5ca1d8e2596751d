"""The command `fairloss data histogram`."""

from collections.abc import Iterator
from typing import Any

from fairloss.cli._console import print_line
from fairloss.cli._tables import print_table
from fairloss.cli.data._source import ReportFile, Source
from fairloss.io.output import check_output

WIDTH = 50  # characters of the longest bar


def histogram(source: Source, output: ReportFile = None) -> None:
    """Show the numbers of images per identity: a histogram, quantiles, shares and imbalance.

    Labels and names are read, and no image is decoded. The count bins are the terciles by which
    Fair Loss groups identities. Example: `fairloss data histogram faces`
    """
    from fairloss.agent.state import GroupState
    from fairloss.data.class_counts import count_bars, summarize_counts
    from fairloss.data.convert import open_source
    from fairloss.io.json import write_json

    if output is not None:
        check_output(output, folder=False)
    counts = open_source(source).counts.numpy()
    summary = summarize_counts(counts)
    state = GroupState(counts)
    summary["count_bins"] = {"cuts": state.count_cuts, "empty": state.empty_count_bins}
    bars = count_bars(counts)
    print_table(str(source), ("images", "identities", ""), _bar_rows(bars), "left")
    print_table("Images per identity", ("", ""), _summary_rows(summary))
    if state.unused_states:
        print_line(f"Fair Loss: {state.unused_states}")
    if output is not None:
        report = [{"from": low, "to": high, "identities": number} for low, high, number in bars]
        write_json(output, summary | {"histogram": report})
        print_line(f"wrote {output}")


def _bar_rows(bars: list[tuple[int, int, int]]) -> Iterator[list[str]]:
    most = max(number for _, _, number in bars)
    for low, high, number in bars:
        # an identity is one character at least
        length = max(round(WIDTH * number / most), min(number, 1))
        yield [f"{low}" if low == high else f"{low}..{high}", str(number), "#" * length]


def _summary_rows(summary: dict[str, Any]) -> Iterator[list[str]]:
    yield ["identities", f"{summary['identities']}, of which {summary['single']} have one image"]
    yield ["images", str(summary["images"])]
    yield ["fewest, mean, most", "{smallest}, {mean:.1f}, {largest}".format(**summary)]
    for quantile, count in summary["quantiles"].items():
        yield [f"{float(quantile):.0%} quantile", f"{count:g}"]
    yield ["most / fewest", f"{summary['imbalance']:.1f}"]
    yield ["Gini coefficient", f"{summary['gini']:.3f}"]
    for name, share in summary["shares"].items():
        yield [f"images of the {name} third", f"{share:.1%}"]
    low, high = summary["count_bins"]["cuts"]
    yield ["cuts of Fair Loss's count bins", f"{low:g}, {high:g}"]
