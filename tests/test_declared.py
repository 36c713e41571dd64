"""What users declare: rows, repairs and refusals of their files, and what they say in topics of a model."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from recsys_core.declared import Stances, declared_as_of, declared_rows, declared_topics
from recsys_core.identity import Identities
from recsys_core.landing import Landing

DAY = dt.date(2026, 1, 5)
BEFORE = DAY - dt.timedelta(days=1)


def put(root: Path, day: dt.date, *rows: dict[str, Any] | str) -> None:
    folder = root / "declared" / f"ds={day}"
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in rows)
    (folder / f"part-{len(list(folder.iterdir()))}.jsonl").write_text(text + "\n", encoding="utf-8")


def known(root: Path, ds: dt.date = DAY, identities: Identities | None = None) -> list[tuple[Any, ...]]:
    found = declared_rows(declared_as_of(Landing(str(root)), ds, identities or Identities()), ds, lambda user: f"key-{user}")
    return [tuple(r[c] for c in ("user_key", "declared", "stance", "topic_id", "term", "declared_ds")) for r in found.to_pylist()]


def test_the_last_word_on_a_topic_or_a_term_holds_from_its_night_on(tmp_path: Path) -> None:
    put(
        tmp_path,
        BEFORE,
        {"user_id": "u1", "term": " Ｃamping  Gear "},
        {"user_id": "u1", "term": "露营"},
        {"user_id": "u2", "topic_id": "17"},
    )
    put(
        tmp_path, DAY, {"user_id": "u1", "term": "camping gear", "stance": "mute"}, {"user_id": "u1", "term": "露营", "stance": "withdrawn"}
    )
    put(tmp_path, DAY + dt.timedelta(days=1), {"user_id": "u9", "term": "tea"})
    first = [
        ("key-u1", "term:camping gear", "interest", None, "camping gear", BEFORE),
        ("key-u1", "term:露营", "interest", None, "露营", BEFORE),
        ("key-u2", "topic:17", "interest", 17, None, BEFORE),
    ]
    assert known(tmp_path, BEFORE) == first
    assert known(tmp_path) == [("key-u1", "term:camping gear", "mute", None, "camping gear", DAY), first[2]]


def test_an_anonymous_id_is_its_user_and_nothing_is_kept_of_who_opted_out(tmp_path: Path) -> None:
    put(tmp_path, DAY, {"user_id": "cookie", "term": "tea"}, {"user_id": "gone", "term": "tea"})
    assert [r[0] for r in known(tmp_path, identities=Identities(stitched={"cookie": "u1"}, opted_out={"gone"}))] == ["key-u1"]


@pytest.mark.parametrize(
    ("row", "code", "field"),
    [
        ({"term": "tea"}, "no_user", "user_id"),
        ({"user_id": "null", "term": "tea"}, "no_user", "user_id"),
        ({"user_id": "u", "term": "tea", "stance": "hate"}, "bad_stance", "stance"),
        ({"user_id": "u"}, "missing_required", "term"),
        ({"user_id": "u", "term": "x" * 201}, "text_too_long", "term"),
        ({"user_id": "u", "topic_id": 1.5}, "bad_number", "topic_id"),
        ({"user_id": "u", "topic_id": True}, "bad_number", "topic_id"),
        ({"user_id": "u", "topic_id": 0}, "bad_number", "topic_id"),
        ('{"user_id": "u", "term"', "json_truncated", None),
    ],
)
def test_a_row_that_says_nothing_usable_is_quarantined_with_its_reason(tmp_path: Path, row: Any, code: str, field: str | None) -> None:
    put(tmp_path, DAY, {"user_id": "u", "term": "call 13812345678"}, row)
    found = declared_as_of(Landing(str(tmp_path)), DAY, Identities())
    assert [(q["reason"], q["field"], q["file"]) for q in found.quarantine] == [(code, field, f"declared/ds={DAY}/part-0.jsonl")]
    (ledger,) = found.files
    assert (ledger.kind, ledger.objects_in, ledger.good, ledger.repaired, ledger.quarantined) == ("declared", 2, 0, 1, 1)
    assert ledger.by_reason == {"pii_masked": 1, code: 1}
    assert [r[4] for r in known(tmp_path)] == ["call [phone]"]


def declared(*rows: tuple[str, str, int | None, str | None]) -> pa.Table:
    return pa.table([list(c) for c in zip(*rows, strict=True)], ["user_key", "stance", "topic_id", "term"])


def test_terms_and_topics_become_shares_of_what_a_user_wants() -> None:
    of_term = {"露营": {1: 0.8, 2: 0.2}, "tea": {3: 0.6, 1: 0.4}}
    said = declared(
        ("a", "interest", None, "露营"),
        ("a", "interest", 2, None),
        ("b", "interest", None, "露营"),
        ("b", "mute", None, "tea"),  # topic 3, to which it belongs for the most part, and no other
        ("c", "interest", 99, None),  # no topic of this model
        ("d", "interest", 3, None),
        ("d", "mute", 3, None),
    )
    rows = declared_topics(DAY, said, of_term, {1, 2, 3}, "m")
    found = [(r["user_key"], r["topic_id"], r["stance"], r["weight"]) for r in rows.to_pylist()]
    assert found == [
        ("a", 1, "interest", 0.4),
        ("a", 2, "interest", 0.6),
        ("b", 1, "interest", 0.8),
        ("b", 2, "interest", 0.2),
        ("b", 3, "mute", 1.0),
        ("d", 3, "mute", 1.0),
    ]
    stances = Stances.of(rows)
    assert stances.muted == {("b", 3), ("d", 3)}
    assert stances.prior.num_rows == 4
    kept = stances.keep(pa.table({"user_key": ["a", "b", "b"], "topic_id": [3, 3, 1], "x": [1, 2, 3]}))
    assert kept["x"].to_pylist() == [1, 3]


def test_nobody_declares_anything(tmp_path: Path) -> None:
    put(tmp_path, DAY)
    assert known(tmp_path) == []
    empty = declared_topics(DAY, declared_rows(declared_as_of(Landing(str(tmp_path)), DAY, Identities()), DAY, str), {}, {1}, "m")
    assert (empty.num_rows, Stances.of(empty).muted) == (0, frozenset())
