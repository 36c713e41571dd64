"""The store of vectors: from all nights, each partition read once, and nothing of what is live no more."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from recsys_core.lake import Lake, LakeError, Stamp
from recsys_core.tables import TABLES
from recsys_core.vectors import VectorStore

D = dt.date(2026, 3, 2)
NEXT = D + dt.timedelta(days=1)


def rows(ds: dt.date, **vectors: list[float]) -> pa.Table:
    found = [
        {"ds": ds, "text_hash": name, "embedding_space": "s", "vec": np.array(v, "<f2").tobytes()} for name, v in sorted(vectors.items())
    ]
    return pa.Table.from_pylist(found, schema=TABLES["text_embedding"].arrow_schema())


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path))
    lake.write("text_embedding", D, rows(D, a=[1, 0], b=[0, 2]), Stamp("first", "h"), embedding_space="s")
    return lake


def test_vectors_come_from_every_night_in_the_order_asked_for(lake: Lake) -> None:
    store = VectorStore(lake, "s")
    assert store.get(["b", "a", "b"]).tolist() == [[0, 1], [1, 0], [0, 1]]
    assert store.get([]).shape == (0, 2)
    assert store.missing(["c", "a"]) == ["c"]
    with pytest.raises(LakeError, match=r"1 texts have no vector in s \(first: c\): run `python -m jobs embed` of their night"):
        store.get(["a", "c"])
    lake.write("text_embedding", NEXT, rows(NEXT, c=[3, 4]), Stamp("second", "h"), embedding_space="s")
    assert store.get(["c", "a"]) == pytest.approx(np.array([[0.6, 0.8], [1, 0]]), abs=1e-3)
    assert VectorStore(lake, None).get(["a", "c"]).tolist() == [[0], [0]]


def test_hashes_are_read_once_and_vectors_where_one_is_asked_for(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.write("text_embedding", NEXT, rows(NEXT, c=[3, 4]), Stamp("second", "h"), embedding_space="s")
    read: list[tuple[dt.date, tuple[str, ...]]] = []
    inner = Lake.read

    def noted(self: Lake, table: str, nights: list[dt.date], columns: list[str], **parts: str) -> pa.Table:
        read.append((nights[0], tuple(columns)))
        return inner(self, table, nights, columns, embedding_space=parts["embedding_space"])

    monkeypatch.setattr(Lake, "read", noted)
    store = VectorStore(lake, "s")
    for _ in range(2):
        store.refresh()
        store.get(["c"])
    assert read == [(D, ("text_hash",)), (NEXT, ("text_hash",)), (NEXT, ("text_hash", "vec"))]


def test_what_is_live_no_more_is_forgotten_and_what_was_added_stays(lake: Lake) -> None:
    store = VectorStore(lake, "s")
    store.add(rows(NEXT, c=[3, 4]))
    assert store.missing(["a", "b", "c"]) == []
    lake.write("text_embedding", D, rows(D, a=[0, 1]), Stamp("again", "h"), embedding_space="s")
    store.refresh()
    assert store.missing(["a", "b", "c"]) == ["b"]
    assert store.get(["a", "c"]) == pytest.approx(np.array([[0, 1], [0.6, 0.8]]), abs=1e-3)
