"""Ways side by side: what a process says comes back, tables hold the ratios, and goals are kept."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from benchmarks import all as every
from benchmarks import report, ways
from benchmarks.ways import Run


def test_ways_run_in_processes_of_their_own() -> None:
    found = ways.compare("tests.ways_case", ["small", "large"], rounds=2)
    assert [run.result for run in found.values()] == ["1999999000000"] * 2
    assert [run.figures["rows"] for run in found.values()] == [1_000, 200_000_000]
    assert all(run.first > 0 and run.warm and run.cpu > run.warm for run in found.values())
    with pytest.raises(click.ClickException, match="broken failed"):
        ways.compare("tests.ways_case", ["broken"])


def test_table_has_ratios_to_the_best_other_way_and_to_the_floor(capsys: pytest.CaptureFixture[str]) -> None:
    runs = {
        "ours": Run(1.0, 3.0, 2.0, 9.0, 100.0),
        "slow": Run(0.0, 12.0, 8.0, 9.0, 50.0, figures={"cosine": 0.5}),
        "quick": Run(0.0, 6.0, None, 9.0, 50.0),
        "bare": Run(0.0, 1.0, 1.0, 9.0, 50.0),
    }
    ways.RECORDS.clear()
    ways.show("t", runs, ["ours"], ["bare"], ["said"])
    lines = report.markdown(capsys.readouterr().out).splitlines()
    assert lines[0].startswith("| way | start s | first s | warm s |")
    assert lines[2] == "| **ours** | 1.00 | 3.00 | 2.00 | 0.50 / 0.33 | 2.00 | 9.00 | 100 |  |"
    assert lines[4] == "| quick | 0.00 | 6.00 |  | 1.00 / 1.00 | 6.00 | 9.00 | 50 |  |"
    assert lines[5].startswith("| bare (floor) | 0.00 | 1.00 | 1.00 |  | 1.00 |")
    assert "- said" in lines
    assert ways.RECORDS[0]["ways"]["slow"]["figures"] == {"cosine": 0.5}
    assert [row["kind"] for row in ways.RECORDS[0]["ways"].values()] == ["ours", "other", "other", "floor"]


def test_all_writes_sections_goals_and_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(section: report.Section, data: Path) -> str:
        if section.runs[0][1] == "fails":
            raise RuntimeError("no")
        ways.show("t", {"ours": Run(0.0, 1.0, None, 1.0, 1.0)}, ["ours"])
        ways.aim("a thing, s", "≤ 2", "1.0", True)
        return f"\n{section.runs[0][1]}\n\n"

    sections = {name: report.Section("no time", (("", name),)) for name in ("one", "fails", "two")}
    monkeypatch.setattr(every, "SECTIONS", sections)
    monkeypatch.setattr(every, "made", made)
    docs, results = tmp_path / "b.md", tmp_path / "r.json"
    docs.write_text("".join(f"<!-- {n} -->\n<!-- /{n} -->\n" for n in ("goals", *sections)), encoding="utf-8")
    argv = ["--docs", str(docs), "--results", str(results)]
    ran = CliRunner().invoke(every.main, argv)
    assert ran.exit_code == 1
    assert "failed: fails" in ran.output
    assert "| `one` | a thing, s | ≤ 2 | 1.0 | yes |\n| `two` |" in docs.read_text(encoding="utf-8")
    assert "<!-- two -->\n\ntwo\n\n<!-- /two -->" in docs.read_text(encoding="utf-8")
    assert list(json.loads(results.read_text(encoding="utf-8"))["benchmarks"]) == ["one", "two"]
    assert CliRunner().invoke(every.main, [*argv, "--only", "two"]).exit_code == 0
    assert list(json.loads(results.read_text(encoding="utf-8"))["benchmarks"]) == ["one", "two"]
    assert "no benchmark of speed is named three" in CliRunner().invoke(every.main, [*argv, "--only", "three"]).output
