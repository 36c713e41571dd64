"""The corpus of bad input through the real parser and through the real nightly job: nothing is lost, nothing good is harmed."""

from __future__ import annotations

import base64
import datetime as dt
import gzip
import io
import json
from collections import Counter
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs.runner import Runner
from jobs.settings import Settings
from recsys_core.parse import RULES, ParseJob, parsed_rows
from recsys_core.texts import text_hash, tokenize
from tests.corpus import BEYOND, DAY, KINDS, LINES, SECRET, UNRULED, File, Line, Outcome, line, numbered
from tests.corpus_catalogues import CATALOGUES
from tests.corpus_files import FILES
from tests.corpus_landings import LANDINGS, Landing

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# So many files share the lines of the corpus: in one alone they would be reason to refuse it.
N_LINE_FILES = 6


def parsed(data: bytes, name: str = "a.jsonl") -> tuple[list[dict[str, Any]], str | None, dict[str, Any]]:
    """(rows of objects, why the file is refused, its counts) of a file that is delivered on DAY."""
    job = ParseJob("/landing", (), DAY, "UTC", None, "test", SECRET.encode())
    rows, counted_ = parsed_rows(job, f"events/ds={DAY}/{name}", DAY, lambda: io.BytesIO(data))
    return [r for r in rows if r["verdict"] != "user"], counted_["reason"], counted_


def counted(outcomes: tuple[Outcome, ...]) -> dict[str, Any]:
    """What a file's counts must be for its outcomes."""
    verdicts = Counter(o.verdict for o in outcomes)
    codes = Counter(code for o in outcomes for code in o.codes)
    return {"objects": len(outcomes), **{v: verdicts[v] for v in ("good", "repaired", "quarantined")}, "by_reason": dict(codes)}


def counts(note: dict[str, Any]) -> dict[str, Any]:
    """The same of a file's own counts, blank lines left out."""
    codes = {code: n for code, n in note["by_reason"].items() if code != "blank_line"}
    return {n: note[n] for n in ("objects", "good", "repaired", "quarantined")} | {"by_reason": codes}


def differing(outcome: Outcome, row: dict[str, Any]) -> dict[str, Any]:
    """Columns of an accepted row that are not what the corpus says, with what they are."""
    row = {c: str(v) if isinstance(v, Decimal) else v for c, v in row.items()}
    return {c: row[c] for c, v in ({"ds": DAY, "repairs": list(outcome.codes)} | outcome.row).items() if row[c] != v}


def test_all_kinds_are_there_and_every_code_is_a_rule() -> None:
    cases: list[Line | File | Landing] = [*LINES, *FILES, *LANDINGS, *CATALOGUES]
    assert {c.kind for c in cases} == {*KINDS, BEYOND}
    assert len({str(c) for c in cases}) == len(cases)
    of_events: list[Line | File] = [*LINES, *FILES]
    for case in of_events:
        for outcome in case.outcomes:
            verdicts = {RULES[code][0] for code in outcome.codes if code != UNRULED}
            assert verdicts <= {outcome.verdict}, str(case)
            assert bool(outcome.codes) == (outcome.verdict != "good"), str(case)


@pytest.mark.parametrize("case", LINES, ids=str)
def test_a_line_gets_its_verdict_and_its_neighbours_live(case: Line) -> None:
    before, after = numbered(line(), "before"), numbered(line(), "after")
    rows, refused, note = parsed(b"\n".join([before, case.data, after, b""]))
    assert refused is None
    assert counts(note) == counted((Outcome("good"), *case.outcomes, Outcome("good")))
    assert [(rows[n]["event_id"], rows[n]["repairs"]) for n in (0, -1)] == [("before", []), ("after", [])]
    for outcome, row in zip(case.outcomes, rows[1:-1], strict=True):
        if outcome.verdict == "quarantined":
            own = outcome.raw or case.data.rstrip(b"\r")
            assert (row["verdict"], row["reason"], base64.b64decode(row["raw_base64"])) == ("quarantine", *outcome.codes, own)
            assert row["byte_offset"] == len(before) + 1 + case.data.index(own)
        elif "ds" in outcome.row:
            assert (row["verdict"], row["ds"]) == ("beside", outcome.row["ds"])
        else:
            assert differing(outcome, row) == {}
            assert tokenize(row["text"] or "", row["lang"] or "other") is not None


@pytest.mark.parametrize("case", FILES, ids=str)
def test_a_file_is_used_or_refused_whole(case: File) -> None:
    rows, refused, note = parsed(case.data, case.file)
    assert refused == case.reason
    if case.reason:
        assert rows == []
    else:
        assert counts(note) == counted(case.outcomes)
        assert [r.get("repairs") if r["verdict"] == "event" else r["reason"] for r in rows] == [
            o.codes[0] if o.verdict == "quarantined" else list(o.codes) for o in case.outcomes
        ]


# -- the same through the nightly job, all cases in one landing zone -----------------------------------------------------------------------
class Zone:
    """A landing zone and the lake made of it: the corpus' lines and files, or landings that share a declaration.

    lines  (path, offset of its data, name, case)
    near   names of the good lines between them
    files  path → (case, bytes as delivered)
    """

    def __init__(self, spark: SparkSession, root: Path, landings: list[Landing]) -> None:
        self.root = root / "landing"
        self.lines: list[tuple[str, int, str, Line]] = []
        self.near: list[str] = []
        self.files: dict[str, tuple[File, bytes]] = {}
        if not landings:
            self._lay_lines()
            self.files = {f"events/ds={DAY}/f{i:02}-{c.file}": (c, numbered(c.data, f"f{i:02}")) for i, c in enumerate(FILES)}
        for path, data in (*((p, d) for p, (_, d) in self.files.items()), *((p, d) for c in landings for p, d in c.files.items())):
            self.put(path, data)
        if landings and landings[0].source:
            self.put("_source.json", json.dumps(landings[0].source).encode())
        self.audited = {c.ds for c in landings} or {DAY}
        self.nights = sorted(self.audited | {night_of(path) for c in landings for path in (*c.refused, *c.quarantined, *c.repaired)})
        self.runner = Runner(Settings(landing=str(self.root), lake=str(root / "lake"), user_key_secret=SECRET), lambda _: None)
        self.runner.__dict__["spark"] = spark
        for ds in self.nights:
            self.runner.night(ds, ("clean", "audit") if ds in self.audited else ("clean",))
        self.rows = cache(self._rows)

    def put(self, path: str, data: bytes) -> None:
        """Write a file of the landing zone."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(data)

    def _lay_lines(self) -> None:
        contents = {f"events/ds={DAY}/lines-{n}.jsonl{'.gz' if n % 2 else ''}": bytearray() for n in range(N_LINE_FILES)}
        for number, case in enumerate(LINES):
            path, data = list(contents.items())[number % N_LINE_FILES]
            data += numbered(line(), f"near{number:03}") + b"\n"
            self.near.append(f"near{number:03}")
            self.lines.append((path, len(data), f"case{number:03}", case))
            data += numbered(case.data, f"case{number:03}") + b"\n"
        for path, data in contents.items():
            self.put(path, gzip.compress(data) if path.endswith(".gz") else bytes(data))

    def _rows(self, table: str, ds: dt.date = DAY) -> list[dict[str, Any]]:
        """Rows of a night."""
        found: list[dict[str, Any]] = self.runner.lake.read(table, [ds]).to_pylist()
        return found

    def sessions(self) -> dict[str, dict[str, Any]]:
        """Rows of event_clean by session_id, which every event of the corpus has of its own."""
        return {r["session_id"]: r for r in self.rows("event_clean")}

    def ledgers(self, ds: dt.date = DAY) -> dict[str, dict[str, Any]]:
        """Rows of landing_file by path."""
        return {r["file"]: r | {"by_reason": json.loads(r["by_reason"])} for r in self.rows("landing_file", ds)}

    def quarantine(self, path: str) -> list[tuple[int, str, bytes]]:
        """(offset, code, bytes) of a file's quarantined objects, in order."""
        rows = (r for r in self.rows("event_quarantine", night_of(path)) if r["file"] == path)
        return sorted((r["byte_offset"], r["reason"], base64.b64decode(r["raw_base64"])) for r in rows)


def night_of(path: str) -> dt.date:
    """The day of the partition that a file lies in."""
    return dt.date.fromisoformat(path.split("/")[1].removeprefix("ds="))


@pytest.fixture(scope="module")
def zone(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Zone:
    """All lines and files of the corpus as one night, its texts too."""
    made = Zone(spark, tmp_path_factory.mktemp("zone"), [])
    made.runner.night(DAY, ("aggregate", "texts"))
    return made


@pytest.fixture(scope="module")
def zones(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Zone]:
    """The corpus' landings: those with the same declaration lie in one zone."""
    cases: dict[str, list[Landing]] = {}
    for case in (*LANDINGS, *CATALOGUES):
        cases.setdefault(json.dumps(case.source), []).append(case)
    made = {source: Zone(spark, tmp_path_factory.mktemp("zone"), given) for source, given in cases.items()}
    made["null"].runner.night(DAY, ("aggregate", "texts"))
    return made


def test_each_quarantined_line_lies_in_the_lake_with_its_bytes(zone: Zone) -> None:
    found = {(path, row[0]): row[1:] for path in dict.fromkeys(path for path, *_ in zone.lines) for row in zone.quarantine(path)}
    wrong = {}
    for path, offset, name, case in zone.lines:
        data = numbered(case.data, name)
        for outcome in (o for o in case.outcomes if o.verdict == "quarantined"):
            own = numbered(outcome.raw, name) or data.rstrip(b"\r")
            row = found.pop((path, offset + data.index(own)), None)
            if row != (outcome.codes[0], own):
                wrong[str(case)] = row
    assert (wrong, found) == ({}, {})


def test_each_accepted_line_is_an_event_with_its_repairs(zone: Zone) -> None:
    found = zone.sessions()
    wrong = {}
    for _, _, name, case in zone.lines:
        accepted = [o for o in case.outcomes if o.verdict != "quarantined" and o.row.get("ds", DAY) == DAY]
        rows = [found[s] for s in (name, f"{name}b") if s in found]
        differences = [differing(o, r) for o, r in zip(accepted, rows, strict=False)]
        if len(rows) != len(accepted) or any(differences):
            wrong[str(case)] = (len(rows), differences)
    assert wrong == {}


def test_no_good_line_is_harmed_and_nothing_else_comes_in(zone: Zone) -> None:
    found = Counter(r["session_id"] for r in zone.rows("event_clean"))
    assert max(found.values()) == 1
    assert [zone.sessions()[s]["repairs"] for s in zone.near] == [[]] * len(zone.near)
    of_files = {
        r["session_id"] for c, data in zone.files.values() if c.reason is None for r in parsed(data, c.file)[0] if r["verdict"] == "event"
    }
    of_lines = {s for s in found if s.startswith("case")}
    assert set(found) == {*zone.near, *of_files, *of_lines}


def test_each_file_is_accounted_for(zone: Zone) -> None:
    ledgers = zone.ledgers()
    assert {path: ledgers[path]["reason"] for path in zone.files} == {path: c.reason for path, (c, _) in zone.files.items()}
    outcomes: dict[str, tuple[Outcome, ...]] = {path: c.outcomes for path, (c, _) in zone.files.items() if c.reason is None}
    for path, _, _, case in zone.lines:
        outcomes[path] = (*outcomes.get(path, ()), Outcome("good"), *case.outcomes)
    for path, given in outcomes.items():
        of_file = {n: ledgers[path][f"n_{n}"] for n in ("objects", "good", "repaired", "quarantined")}
        assert counts(of_file | {"by_reason": ledgers[path]["by_reason"]}) == counted(given), path


def test_the_balance_is_exact_on_every_night(zone: Zone, zones: dict[str, Zone]) -> None:
    for found in (zone, *zones.values()):
        for path, row in ((p, r) for ds in found.nights for p, r in found.ledgers(ds).items() if not r["reason"]):
            assert row["n_objects"] == row["n_good"] + row["n_repaired"] + row["n_quarantined"], path
        for ds in found.audited:
            assert {r["observed"] for r in found.rows("quality_result", ds) if r["check_name"] in ("balance", "file_balance")} == {0.0}


@pytest.mark.parametrize("case", [*LANDINGS, *CATALOGUES], ids=str)
def test_a_landing_becomes_what_it_must(zones: dict[str, Zone], case: Landing) -> None:
    found = zones[json.dumps(case.source)]
    kept = {r["event_id"]: r["repairs"] for r in found.rows("event_clean", case.ds) if r["event_id"] in case.events}
    assert kept == case.events
    assert {r["event_id"] for ds in found.nights for r in found.rows("event_clean", ds)}.isdisjoint(case.gone)
    assert {path: found.ledgers(night_of(path))[path]["reason"] for path in case.refused} == case.refused
    assert {path: [(code, raw) for _, code, raw in found.quarantine(path)] for path in case.quarantined} == case.quarantined
    for path, codes in case.repaired.items():
        met = found.ledgers(night_of(path))[path]["by_reason"]
        assert {code: n for code, n in met.items() if RULES[code][0] == "repaired"} == codes, path
    items = {r["item_id"]: {c: str(v) if isinstance(v, Decimal) else v for c, v in r.items()} for r in found.rows("item", case.ds)}
    for item, columns in case.items.items():
        assert (None if columns is None else {c: items[item][c] for c in columns}) == columns, item
        assert (item in items) == (columns is not None), item
    passed = {r["check_name"]: r["passed"] for r in found.rows("quality_result", case.ds)}
    assert {name: passed.get(name) for name in case.checks} == case.checks


def test_many_users_of_one_text_share_it(zones: dict[str, Zone]) -> None:
    said = [r for r in zones["null"].rows("user_text") if r["text_hash"] == text_hash("best shop ever, visit my page")]
    assert len(said) == 100
