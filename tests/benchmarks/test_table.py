from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import record
import table
from interleaved import Result
from record import Record


def cells(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_ratios_compare_rows_of_one_comparison_and_thread_count(results):
    head, _, *lines = cells(table.markdown(results))
    column = {name: [line[i] for line in lines] for i, name in enumerate(head)}
    assert column["candidate"] == ["ours", "bound", "eager", "ours", "ours", "bound", "bound"]
    assert column["over bound"] == ["2.00", "1.00", "4.00", "1.33", "1.00", "1.00", "1.00"]
    assert column["over eager"] == ["0.50", "", "1.00", "", "", "", ""]  # no plain torch: no ratio
    assert column["time"][:3] == ["500 ms", "250 ms", "1 s"]
    assert column["op and size"][:2] == ["head, B=2 C=3", ""]


def test_all_lines_of_the_table_have_one_length(results):
    lines = [line for line in table.markdown(results).splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1


def test_scaling_is_over_the_bounds(results):
    text = table.markdown(results)
    assert "2 threads are 2.00x as fast as 1, the bound's 1.50x: a quotient of 1.33" in text
    assert text.endswith("- a note\n")


def test_other_instruction_sets_are_separate_comparisons(row):
    rows = [row("ours", 1.0), row("ours", 2.0, isa="portable"), row("bound", 1.0, isa="portable")]
    assert [len(comparison) for comparison in table.comparisons(rows)] == [1, 2]
    assert table.over_bound(rows[0], table.comparisons(rows)[0]) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.34, "12.3 s"), (0.9996, "1000 ms"), (0.0123, "12.3 ms"), (4.5e-5, "45 us")],
)
def test_durations_have_three_figures(seconds, text):
    assert table.duration(seconds) == text


def test_the_headline_names_the_cpu_and_skips_empty_values(results):
    assert table.headline(results.machine) == (
        "Test CPU (AVX2), threads 2 of 2; torch 2.13.0, instruction set avx2"
    )


def test_rows_compare_with_ours_on_as_many_threads():
    timed = [("ours", 1, 4.0), ("bound", 1, 2.0), ("ours", 2, 3.0), ("bound", 2, 6.0)]
    added = Record({})
    added.add("x", "B=1", "avx2", [Result(n, t, wall, wall, None, 5) for n, t, wall in timed])
    assert [row.wall_over_ours for row in added.rows] == [1, 0.5, 1, 2]
    added.add("x", "B=1", "avx2", [Result("bound", 1, 1.0, 1.0, None, 5)])
    assert added.rows[-1].wall_over_ours is None


def test_results_survive_their_file(results, tmp_path):
    written, rows = results.write(tmp_path / "deeper" / "name.with.dots")
    assert written.name == "name.with.dots.json"
    assert record.read(written) == results
    with rows.open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["contender"] for line in lines] == [row.candidate for row in results.rows]
    assert float(lines[1]["wall_s"]) == 0.25


def test_another_version_is_refused(results, tmp_path):
    written, _ = results.write(tmp_path / "results")
    written.write_text(
        json.dumps(json.loads(written.read_text(encoding="utf-8")) | {"version": 2}),
        encoding="utf-8",
    )
    with pytest.raises(ValueError, match="expected version 1, got 2"):
        record.read(written)


def test_committed_results_are_read_under_the_present_names():
    results = record.read(Path(record.__file__).parent / "results" / "xeon-2-cores.json")
    assert {"ours", "bound", "eager"} <= {row.candidate for row in results.rows}
    assert not [row for row in results.rows if row.candidate == "floor"]
    assert any(": roofline bound: mm" in note for note in results.notes)
