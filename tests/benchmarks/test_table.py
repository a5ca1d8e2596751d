from __future__ import annotations

import csv
import json

import pytest
import record
import table
from interleaved import Result
from record import Record


def cells(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_ratios_compare_rows_of_one_race_and_thread_count(results):
    head, _, *lines = cells(table.markdown(results))
    column = {name: [line[i] for line in lines] for i, name in enumerate(head)}
    assert column["contender"] == ["ours", "floor", "eager", "ours", "ours", "floor", "floor"]
    assert column["over floor"] == ["2.00", "1.00", "4.00", "1.33", "1.00", "1.00", "1.00"]
    assert column["over eager"] == ["0.50", "", "1.00", "", "", "", ""]  # no plain torch: no ratio
    assert column["time"][:3] == ["500 ms", "250 ms", "1 s"]
    assert column["op and size"][:2] == ["head, B=2 C=3", ""]


def test_every_line_of_the_table_is_as_long(results):
    lines = [line for line in table.markdown(results).splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1


def test_scaling_is_over_the_floors(results):
    text = table.markdown(results)
    assert "2 threads are 2.00x as fast as 1, the floor's 1.50x: a quotient of 1.33" in text
    assert text.endswith("- a note\n")


def test_other_instruction_sets_are_races_of_their_own(row):
    rows = [row("ours", 1.0), row("ours", 2.0, isa="portable"), row("floor", 1.0, isa="portable")]
    assert [len(race) for race in table.races(rows)] == [1, 2]
    assert table.over_floor(rows[0], table.races(rows)[0]) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.34, "12.3 s"), (0.9996, "1000 ms"), (0.0123, "12.3 ms"), (4.5e-5, "45 us")],
)
def test_durations_have_three_figures(seconds, text):
    assert table.duration(seconds) == text


def test_the_headline_names_the_processor_and_skips_what_is_unknown(results):
    assert table.headline(results.machine) == (
        "Test Processor (AVX2), threads 2 of 2; torch 2.13.0, instruction set avx2"
    )


def test_rows_compare_with_ours_on_as_many_threads():
    timed = [("ours", 1, 4.0), ("floor", 1, 2.0), ("ours", 2, 3.0), ("floor", 2, 6.0)]
    found = Record({})
    found.add("x", "B=1", "avx2", [Result(n, t, wall, wall, None, 5) for n, t, wall in timed])
    assert [row.wall_over_ours for row in found.rows] == [1, 0.5, 1, 2]
    found.add("x", "B=1", "avx2", [Result("floor", 1, 1.0, 1.0, None, 5)])
    assert found.rows[-1].wall_over_ours is None


def test_results_survive_their_file(results, tmp_path):
    written, rows = results.write(tmp_path / "deeper" / "name.with.dots")
    assert written.name == "name.with.dots.json"
    assert record.read(written) == results
    with rows.open() as file:
        lines = list(csv.DictReader(file))
    assert [line["contender"] for line in lines] == [row.contender for row in results.rows]
    assert float(lines[1]["wall_s"]) == 0.25


def test_another_version_is_refused(results, tmp_path):
    written, _ = results.write(tmp_path / "results")
    written.write_text(json.dumps(json.loads(written.read_text()) | {"version": 2}))
    with pytest.raises(ValueError, match="expected version 1, got 2"):
        record.read(written)
