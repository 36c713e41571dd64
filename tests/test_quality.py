"""The checks of a night's deliveries: each fails for its own reason, blocks or warns as it should, and says what is behind it."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from jobs.publish import refuse
from recsys_core.acceptance import accept, acceptances
from recsys_core.lake import Lake, LakeError
from recsys_core.quality import COMPARED_NIGHTS, FileLedger, Night, explained, failed, landing_file_rows, quality_rows
from recsys_core.tables import TABLES
from recsys_core.warehouse import PublishError

DAY = dt.date(2026, 1, 30)


def ledger(name: str = "a.jsonl", kind: str = "events", **changes: Any) -> FileLedger:
    """A file of 100 good objects (of none when it is refused), with changes."""
    counts = ({} if changes.get("reason") else {"lines": 100, "objects_in": 100, "good": 100}) | changes
    counts |= {n: Counter(counts[n]) for n in ("by_reason", "fields") if n in counts}
    return FileLedger(kind, DAY, f"{kind}/ds={DAY}/{name}", **counts)


def night(*files: FileLedger, ds: dt.date = DAY, reasons: tuple[str, ...] = ()) -> Night:
    """A night of these files, by way of the table."""
    return Night(ds, landing_file_rows(ds, files, reasons).to_pylist())


def checks(tonight: Night, history: list[Night] | None = None, block: bool = False) -> dict[tuple[str, str], dict[str, Any]]:
    """Rows of quality_result by table and name."""
    rows = quality_rows("run", tonight, history or [], block).to_pylist()
    found = {(r["table_name"], r["check_name"]): r for r in rows}
    assert len(found) == len(rows), "a check has one row"
    return found


def stopped(tonight: Night, **more: Any) -> set[tuple[str, str]]:
    """The blocking checks that fail."""
    return {(r["table_name"], r["check_name"]) for r in failed(checks(tonight, **more).values())}


def test_a_good_night_passes_everything_and_counts_what_was_met() -> None:
    good = night(ledger(good=97, repaired=3, other_nights=2, by_reason={"late": 3}), ledger("items.csv", "items"))
    assert not [r for r in checks(good).values() if not r["passed"]]
    observed = {name: r["observed"] for (_, name), r in checks(good).items()}
    assert observed.items() >= {"objects_in": 100, "good": 97, "repaired": 3, "other_nights": 2, "repaired:late": 3}.items()
    assert not failed(checks(night()).values()), "an empty night is a good night"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([ledger(good=99)], {("event_clean", "balance"), ("event_clean", "file_balance")}),
        ([ledger(good=99), ledger("b.jsonl", good=101)], {("event_clean", "file_balance")}),
        ([ledger(good=98, quarantined=2, by_reason={"json_syntax": 2})], set()),
        ([ledger(good=97, quarantined=3, by_reason={"json_syntax": 3})], {("event_clean", "quarantined_share")}),
        ([ledger(good=50, quarantined=50, by_reason={"no_user": 50})], set()),
        ([ledger(reason="gz_truncated")], {("event_clean", "refused_files")}),
        ([ledger(reason="gz_truncated", expected=False)], set()),
        ([ledger(reason="file_repeated"), ledger("_x.jsonl", reason="hidden_name")], set()),
        ([ledger(reason="empty_source")], {("event_clean", "expected_files")}),
        (
            [ledger(reason="missing_file"), ledger("c", reason="encoding")],
            {("event_clean", "expected_files"), ("event_clean", "refused_files")},
        ),
        ([ledger("i.csv", "items", reason="parent_cycle")], {("item", "refused_files")}),
        ([ledger("i.csv", "items", good=98, quarantined=2, by_reason={"bad_row": 2})], {("item", "quarantined_share")}),
        ([ledger(fields={"case:Price~price": 2})], set()),
        ([ledger(fields={"case:Price~price": 3})], {("event_clean", "field_case:Price~price")}),
        ([ledger(fields={"new:colour": 100, "type:price": 100, "note:id_conflict": 4, "night:2026-01-29": 5, "short:text": 3})], set()),
        ([ledger("o.jsonl", "optout", reason="gz_corrupt")], {("event_clean", "refused_files")}),
    ],
)
def test_each_gate_stops_the_night_for_its_own_reason(files: list[FileLedger], expected: set[tuple[str, str]]) -> None:
    assert stopped(night(*files, reasons=("no_user",))) == expected


def test_the_error_names_files_reasons_fields_and_the_way_out() -> None:
    bad = ledger(
        good=80, quarantined=20, by_reason={"missing_required": 15, "no_user": 5}, fields={"case:EVENT_ID~event_id": 15, "type:user_id": 5}
    )
    rows = list(checks(night(bad, ledger("b.gz", reason="gz_corrupt"), ledger("c.gz", reason="file_repeated"))).values())
    said = "; ".join(explained(r, rows) for r in failed(rows))
    assert "quarantined_share of event_clean: observed 0.2, allowed 0.02 (missing_required 15×, no_user 5×" in said
    assert "field_case:EVENT_ID~event_id" in said
    assert "field_type:user_id" in said
    assert f"refused_files of event_clean: observed 1, allowed 0 (gz_corrupt:events/ds={DAY}/b.gz)" in said


def weekdays(*objects: int, nulls: int = 10) -> list[Night]:
    """The same weekday of the four weeks before."""
    return [
        night(ledger(objects_in=n, good=n, fields={"null:price": n * nulls // 100}), ds=DAY - dt.timedelta(days=d))
        for d, n in zip(COMPARED_NIGHTS, objects, strict=False)
    ]


def test_volume_and_null_shares_are_held_against_the_same_weekday_of_four_weeks() -> None:
    history = weekdays(90, 100, 110, 1000)  # median 105
    for objects, passes in ((147, True), (148, False), (63, True), (62, False)):
        found = checks(night(ledger(objects_in=objects, good=objects)), history)["event_clean", "volume"]
        assert (found["passed"], found["severity"]) == (passes, "warn"), objects
    assert ("event_clean", "volume") not in checks(night(ledger()), history[:3]), "three weeks are no history"
    for nulls, passes in ((30, True), (31, False), (0, True)):
        found = checks(night(ledger(fields={"null:price": nulls})), history)["event_clean", "null_share:price"]
        assert found["passed"] is passes, nulls
    big = night(ledger(objects_in=20_000, good=20_000))
    assert stopped(big, history=history) == set()
    assert stopped(big, history=history, block=True) == {("event_clean", "volume")}
    assert stopped(night(ledger(objects_in=9_999, good=9_999)), history=history, block=True) == set(), "small nights swing"


def test_what_somebody_accepted_is_recorded_and_lets_the_night_through(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    rows = quality_rows("run", night(ledger(good=50, quarantined=50, by_reason={"bad_ts": 50})), [])
    assert acceptances(lake, DAY).num_rows == 0
    with pytest.raises(
        PublishError, match=r"quarantined_share .* \(bad_ts 50×\).*python -m jobs accept --ds 2026-01-30 --check quarantined_share"
    ):
        refuse(rows, acceptances(lake, DAY), DAY)
    accept(lake, DAY, "item", "quarantined_share", "another table's", dt.datetime(2026, 1, 31, 8, tzinfo=dt.UTC))
    with pytest.raises(PublishError, match="quarantined_share"):
        refuse(rows, acceptances(lake, DAY), DAY)
    for reason in ("first", "known outage"):
        accept(lake, DAY, "event_clean", "quarantined_share", reason, dt.datetime(2026, 1, 31, 9, tzinfo=dt.UTC))
    refuse(rows, acceptances(lake, DAY), DAY)
    found = acceptances(lake, DAY)
    assert found.schema.equals(TABLES["quality_acceptance"].arrow_schema())
    assert [(r["table_name"], r["reason"]) for r in found.to_pylist()] == [("event_clean", "known outage"), ("item", "another table's")]
    (tmp_path / "_accepted" / f"ds={DAY}.json").write_text("{")
    with pytest.raises(LakeError, match="is not JSON"):
        acceptances(lake, DAY)
