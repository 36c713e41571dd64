"""What a site tells of its users: the last word holds, nothing is kept of who opted out, and what cannot be used is refused."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from recsys_core.identity import Identities
from recsys_core.landing import Landing
from recsys_core.user_attributes import attribute_rows, attributes_as_of

DAY = dt.date(2026, 1, 5)
BEFORE = DAY - dt.timedelta(days=1)


def put(root: Path, day: dt.date, *rows: dict[str, Any]) -> None:
    folder = root / "attributes" / f"ds={day}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "crm.jsonl").write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n", encoding="utf-8")


def known(root: Path, ds: dt.date = DAY, identities: Identities | None = None) -> list[tuple[str, str, str]]:
    found = attribute_rows(attributes_as_of(Landing(str(root)), ds, identities or Identities()), ds, lambda user: f"key-{user}")
    return [(r["user_key"], r["attribute"], r["attribute_value"]) for r in found.to_pylist()]


def test_the_last_word_on_each_attribute_holds_from_its_night_on(tmp_path: Path) -> None:
    put(
        tmp_path,
        BEFORE,
        {"user_id": "u1", "attributes": {"age_band": "18-24", "gender": "女"}},
        {"user_id": "u2", "attributes": {"age": 7}},
    )
    put(tmp_path, DAY, {"user_id": "u1", "attributes": {"age_band": "25-34", "gender": None}})
    put(tmp_path, DAY + dt.timedelta(days=1), {"user_id": "u9", "attributes": {"age_band": "65+"}})
    assert known(tmp_path, BEFORE) == [("key-u1", "age_band", "18-24"), ("key-u1", "gender", "女"), ("key-u2", "age", "7")]
    assert known(tmp_path) == [("key-u1", "age_band", "25-34"), ("key-u2", "age", "7")]


def test_a_stitched_id_is_its_user_and_nothing_is_kept_of_who_opted_out(tmp_path: Path) -> None:
    put(tmp_path, DAY, {"user_id": "cookie", "attributes": {"gender": "f"}}, {"user_id": "gone", "attributes": {"gender": "f"}})
    assert known(tmp_path, identities=Identities(stitched={"cookie": "u1"}, opted_out={"gone"})) == [("key-u1", "gender", "f")]


@pytest.mark.parametrize(
    ("row", "code", "field"),
    [
        ({"attributes": {"gender": "f"}}, "no_user", "user_id"),
        ({"user_id": "u"}, "missing_required", "attributes"),
        ({"user_id": "u", "attributes": []}, "missing_required", "attributes"),
        ({"user_id": "u", "attributes": {"age band": "7"}}, "bad_attributes", "attributes"),
        ({"user_id": "u", "attributes": {"age": {"from": 7}}}, "bad_attributes", "attributes"),
        ({"user_id": "u", "attributes": {"age": " "}}, "bad_attributes", "attributes"),
        ({"user_id": "u", "attributes": {f"a{n}": "x" for n in range(21)}}, "bad_attributes", "attributes"),
        ({"user_id": "u", "attributes": {"note": "x" * 101}}, "text_too_long", "attributes"),
    ],
)
def test_a_row_that_says_nothing_usable_is_quarantined_with_its_reason(tmp_path: Path, row: Any, code: str, field: str) -> None:
    put(tmp_path, DAY, {"user_id": "u", "attributes": {"phone": "call 13812345678"}}, row)
    found = attributes_as_of(Landing(str(tmp_path)), DAY, Identities())
    assert [(q["reason"], q["field"], q["file"]) for q in found.quarantine] == [(code, field, f"attributes/ds={DAY}/crm.jsonl")]
    (ledger,) = found.files
    assert (ledger.kind, ledger.objects_in, ledger.good, ledger.repaired, ledger.quarantined) == ("attributes", 2, 0, 1, 1)
    assert known(tmp_path) == [("key-u", "phone", "call [phone]")]
