"""Lists and interests against the night after, by hand; the jobs over a small lake."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs import evaluate as jobs_evaluate
from jobs import rank as jobs_rank
from recsys_core import evaluation
from recsys_core.declared import NOBODY
from recsys_core.events import DEFAULT_WEIGHTS, type_weights
from recsys_core.lake import Lake, Stamp, conform
from recsys_core.recommenders.history import History, build, reduce_night
from recsys_core.tables import TABLES

D = dt.date(2026, 3, 10)
YESTERDAY = D - dt.timedelta(days=1)
Rows = list[dict[str, Any]]


def day(nights_ago: int, user: str, item: str, **counts: int) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(TABLES["user_item_day"].names)
    ds = D - dt.timedelta(days=nights_ago)
    row |= {f"n_{t}": counts.get(t, 0) for t in type_weights()}
    row |= {"ds": ds, "user_key": user, "item_id": item, "n_events": sum(counts.values()), "n_positive": 0, "n_negative": 0}
    return row | {"last_event_ts": dt.datetime(ds.year, ds.month, ds.day, 12, tzinfo=dt.UTC)}


def slot(user: str, rank: int, item: str, nights_ago: int = 1, **changed: Any) -> dict[str, Any]:
    row = {"ds": D - dt.timedelta(days=nights_ago), "user_key": user, "list_name": "for_you", "variant": "default", "rank": rank}
    row |= {"item_id": item, "score": 1.0, "source": "transitions", "topic_id": None, "exploration": False, "reason_code": "followed"}
    row |= {"reason_text_en": "", "reason_text_zh": "", "evidence_item_id": None, "model_version": "lists-1", "run_id": "r"}
    return row | changed


def table(name: str, rows: Rows) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=TABLES[name].arrow_schema())


ITEMS = [f"i{n:02d}" for n in range(40)]
CATALOGUE = pa.table({"item_id": ITEMS, "deleted": [False] * 39 + [True]})
SESSIONS = pa.table({"user_key": ["u1", "u2"], "lang": ["en", "zh"]})
FACTS = [
    # before: i20 is what everybody takes, i21 less so
    *(day(3, f"f{n}", "i20", view=1) for n in range(8)),
    *(day(3, f"f{n}", "i21", view=1) for n in range(4)),
    day(2, "u1", "i00", view=1),
    day(2, "u2", "i00", view=40),
    # tonight
    day(0, "u1", "i01", view=1),
    day(0, "u1", "i20", purchase=1),
    day(0, "u1", "i00", view=9),  # met before
    day(0, "u1", "i02", dislike=1),  # not liked
    day(0, "u1", "i39", view=1),  # deleted
    day(0, "u2", "i05", view=1),
    day(0, "newcomer", "i01", view=1),  # no list
]
SHOWN = [
    *(slot("u1", rank, f"i{rank:02d}") for rank in range(1, 21)),
    *(slot("u2", rank, f"i{rank + 5:02d}") for rank in range(1, 21)),
    *(slot("f0", rank, f"i{rank:02d}") for rank in range(1, 21)),  # did not come
    slot("*", 1, "i01", list_name="popular"),
]


def past(rows: Rows) -> History:
    return build(reduce_night(table("user_item_day", rows)), ITEMS, D)


def metrics(facts: Rows = FACTS, shown: Rows = SHOWN, seed: int = 0) -> Rows:
    rows = evaluation.list_metrics(past(facts), CATALOGUE, table("user_topn", shown), YESTERDAY, SESSIONS, D, 14, seed)
    conform(table("eval_metric", rows), TABLES["eval_metric"])
    return rows


def one(rows: Rows, metric: str, k: int, dim: str = "all", value: str = "") -> dict[str, Any]:
    (found,) = (r for r in rows if (r["metric"], r["k"], r["slice_dim"], r["slice_value"]) == (metric, k, dim, value))
    return found


def test_lists_by_hand() -> None:
    rows = metrics()
    # u1 wants i01 (its rank 1) and i20 (its rank 20); u2 wants i05, which its list does not hold. The baseline: i20, i21, i01, i02 … by id
    recall = one(rows, "recall", 5)
    assert (recall["value"], recall["n"], recall["subject"], recall["model_version"]) == (0.25, 2, "recommender", "lists-1")
    assert recall["baseline_value"] == 0.5
    assert recall["diff"] == -0.25
    assert one(rows, "recall", 20)["value"] == 0.5
    assert one(rows, "precision", 5)["value"] == 0.1
    assert one(rows, "mrr", 10)["value"] == 0.5
    assert one(rows, "hit_rate", 20)["value"] == 0.5
    # u2's baseline: i20, i21 then by id, i00 met: i01 … i18; i05 at place 7
    assert one(rows, "mrr", 10, "lang", "zh")["baseline_value"] == pytest.approx(1 / 7, abs=1e-6)
    # places 1–5 of two lists: i01–i05 and i06–i10, of 39 items on sale
    assert one(rows, "coverage", 5)["value"] == round(10 / 39, 6)
    # i20 was met by 8 of the 10 known users, i21 by 4, i01 … by none: −log2 of 9/11, 5/11, 1/11
    assert one(rows, "novelty", 5)["value"] == pytest.approx(np.log2(11), abs=1e-6)
    expected = (np.log2(11 / 9) + np.log2(11 / 5) + 3 * np.log2(11)) / 5
    assert one(rows, "novelty", 5)["baseline_value"] == pytest.approx(expected, abs=1e-6)


def test_slices_and_intervals() -> None:
    rows = metrics()
    assert {(r["slice_dim"], r["slice_value"]) for r in rows} == {
        ("all", ""),
        ("lang", "en"),
        ("lang", "zh"),
        ("activity", "light"),
        ("activity", "heavy"),
    }
    assert one(rows, "recall", 20, "lang", "en")["value"] == 1
    assert one(rows, "recall", 20, "activity", "heavy")["value"] == 0
    recall = one(rows, "recall", 20)
    assert (recall["ci_low"], recall["ci_high"]) == (0, 1)
    assert rows == metrics()
    assert rows == metrics(list(reversed(FACTS)), list(reversed(SHOWN)))


def test_permuted_lists_lose_their_hits() -> None:
    swapped = [slot("u2" if s["user_key"] == "u1" else "u1", s["rank"], s["item_id"]) for s in SHOWN if s["user_key"] in ("u1", "u2")]
    assert one(metrics(), "recall", 5, "lang", "en")["value"] == 0.5
    assert one(metrics(shown=swapped), "recall", 5, "lang", "en")["value"] == 0


def test_baseline_knows_nothing_of_tonight() -> None:
    crowd = [day(0, f"c{n}", "i05", view=1) for n in range(50)]
    assert one(metrics([*FACTS, *crowd]), "mrr", 10)["baseline_value"] == one(metrics(), "mrr", 10)["baseline_value"]


def test_nobody_came() -> None:
    assert metrics([f for f in FACTS if f["ds"] < D]) == []
    assert metrics(shown=[]) == []


def test_outcomes() -> None:
    shown = [slot("u1", 1, "i01"), slot("u1", 2, "i02"), slot("u1", 3, "i03"), slot("u1", 7, "i01", nights_ago=4, source="content")]
    shown += [slot("u2", 1, "i01"), slot("*", 1, "i01", list_name="popular"), slot("u1", 1, "i01", nights_ago=0)]
    tonight = [day(0, "u1", "i01", view=2, purchase=1, rating=1, low_rated=1), day(0, "u1", "i02", hide=1), day(0, "u2", "i09", view=1)]
    found = conform(evaluation.outcomes(table("user_topn", shown), table("user_item_day", tonight), D), TABLES["topn_outcome"])
    assert [(r["list_ds"], r["rank"], r["item_id"], r["event_type"], r["n_events"], r["source"]) for r in found.to_pylist()] == [
        (D - dt.timedelta(days=4), 7, "i01", "purchase", 1, "content"),
        (D - dt.timedelta(days=4), 7, "i01", "rating", 1, "content"),
        (D - dt.timedelta(days=4), 7, "i01", "view", 2, "content"),
        (YESTERDAY, 1, "i01", "purchase", 1, "transitions"),
        (YESTERDAY, 1, "i01", "rating", 1, "transitions"),
        (YESTERDAY, 1, "i01", "view", 2, "transitions"),
        (YESTERDAY, 2, "i02", "hide", 1, "transitions"),
    ]
    nothing = table("user_topn", [])
    assert evaluation.outcomes(nothing, table("user_item_day", tonight), D).num_rows == 0


def interest(user: str, topic: int, rank: int, score: float, horizon: str = "90d", version: str = "topics-1") -> dict[str, Any]:
    return {"user_key": user, "topic_id": topic, "horizon": horizon, "score": score, "rank": rank, "model_version": version}


def mass(user: str, topic: int, micro: int) -> dict[str, Any]:
    return {"user_key": user, "topic_id": topic, "mass_micro": micro}


def test_interests_by_hand() -> None:
    held = [interest("u1", t, rank, 5.0 - rank) for rank, t in enumerate((11, 12, 13, 14), 1)]
    held += [interest("u2", t, rank, 100.0 - rank) for rank, t in enumerate((21, 22, 14), 1)]
    held += [interest("u1", 99, 1, 50.0, horizon="1d")]
    came = [mass("u1", 12, 3_000_000), mass("u1", 14, 1_000_000), mass("u2", 30, 2_000_000), mass("stranger", 12, 5_000_000)]
    (row,) = evaluation.interest_metrics(pa.Table.from_pylist(held), pa.Table.from_pylist(came), "topics-1", D, 0)
    # u1: 3 of 4 on its top three, u2: none; the population's top three are 21, 22 and 14: 1 of 4, and none
    assert (row["metric"], row["k"], row["value"], row["baseline_value"], row["diff"], row["n"]) == ("topic_hit", 3, 0.375, 0.125, 0.25, 2)
    conform(table("eval_metric", [row]), TABLES["eval_metric"])
    assert evaluation.interest_metrics(pa.Table.from_pylist(held), pa.Table.from_pylist(came), "topics-2", D, 0) == []


def test_stability_by_hand() -> None:
    """Idle users keep their ranking, the active one changed places; who has interests on one night only does not count."""
    before = [interest("u1", t, r, 1.0) for r, t in enumerate((11, 12, 13), 1)] + [
        interest("u2", t, r, 1.0) for r, t in enumerate((11, 12), 1)
    ]
    before += [interest("gone", 11, 1, 1.0), interest("u2", 13, 1, 1.0, horizon="7d")]
    tonight = [interest("u1", t, r, 1.0) for r, t in enumerate((12, 11), 1)] + [
        interest("u2", t, r, 1.0) for r, t in enumerate((11, 12), 1)
    ]
    tonight += [interest("came", 11, 1, 1.0), interest("u2", 14, 1, 1.0, horizon="7d")]
    first, second, came = pa.Table.from_pylist(before), pa.Table.from_pylist(tonight), pa.chunked_array([["u1", "came", "u1"]])
    rows = evaluation.stability_metrics(first, second, came, "topics-1", D, 0)
    # Lists 11 12 13 and 12 11: overlaps 0, 2, 2; the shorter list's agreement of 1 is taken on to depth 3 (eq. 32).
    p = 0.9
    moved = (1 - p) / p * (2 / 2 * p**2 + 2 / 3 * p**3 + 2 * (3 - 2) / (2 * 3) * p**3) + ((2 - 2) / 3 + 2 / 2) * p**3
    found = {(r["slice_dim"], r["slice_value"]): (r["value"], r["n"], r["k"], r["baseline"]) for r in rows}
    assert found == {
        ("all", ""): (pytest.approx((1 + moved) / 2, abs=1e-6), 2, 0, ""),
        ("activity", "idle"): (1.0, 1, 0, ""),
        ("activity", "active"): (pytest.approx(moved, abs=1e-6), 1, 0, ""),
    }
    assert {(r["subject"], r["metric"]) for r in rows} == {("profile", "rbo")}
    assert pa.Table.from_pylist(rows, schema=TABLES["eval_metric"].arrow_schema()).num_rows == 3
    assert evaluation.stability_metrics(first, second, came, "topics-2", D, 0) == []


# -- the jobs --------------------------------------------------------------------------------------------------------------------
class SmallNight:
    """What the jobs ask of a Night, over a real lake: no topic model, no texts."""

    event_types = DEFAULT_WEIGHTS
    sensitive: frozenset[int] = frozenset()
    stances = NOBODY

    def __init__(self, lake: Lake, ds: dt.date) -> None:
        self.lake, self.ds, self.topics = lake, ds, None
        self.stamp = Stamp(f"run-{ds}", "hash")

    def nights(self, name: str) -> list[dt.date]:
        return [] if name == "item_topic" else [d for d in self.lake.nights(name) if d <= self.ds]

    def read(self, name: str, back: int | None = None, columns: list[str] | None = None) -> pa.Table:
        return self.lake.read(name, [d for d in self.nights(name) if name == "session" or d == self.ds], columns, **self._parts(name))

    def vectors(self, hashes: list[str]) -> np.ndarray:
        return np.zeros((len(hashes), 3), np.float32)

    def write(self, name: str, rows: pa.Table) -> None:
        self.lake.write(name, self.ds, rows, self.stamp)

    def _parts(self, name: str) -> dict[str, str]:
        return {"model_version": "none"} if "model_version" in TABLES[name].partition else {}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path / "lake"))
    for nights_ago in range(4):
        ds = D - dt.timedelta(days=nights_ago)
        item = {"description": None, "tags": None, "category": None, "brand": None, "price": None, "lang": "en", "valid_from_ds": ds}
        rows = {
            "user_item_day": [f for f in FACTS if f["ds"] == ds],
            "item": [item | {"ds": ds, "item_id": i, "title": f"Title {i}", "deleted": i == "i39"} for i in ITEMS],
            "item_text": [],
            "session": [],
        }
        for name, found in rows.items():
            lake.write(name, ds, table(name, found), Stamp("facts", "hash"))
    return lake


def test_jobs_over_a_lake(lake: Lake) -> None:
    before, tonight = SmallNight(lake, YESTERDAY), SmallNight(lake, D)
    jobs_rank.recommend(before)  # type: ignore[arg-type]
    jobs_evaluate.evaluate(before)  # type: ignore[arg-type]
    assert lake.read("eval_metric", [YESTERDAY]).num_rows == 0  # no earlier lists
    assert lake.read("topn_outcome", [YESTERDAY]).num_rows == 0
    jobs_rank.recommend(tonight)  # type: ignore[arg-type]
    jobs_evaluate.evaluate(tonight)  # type: ignore[arg-type]
    shown = lake.read("user_topn", [YESTERDAY]).to_pylist()
    assert [s["item_id"] for s in shown if s["user_key"] == "u1"][:2] == ["i20", "i21"]
    assert {len([s for s in shown if s["user_key"] == u]) for u in ("u1", "f0", "f7")} == {20}
    recall = one(lake.read("eval_metric", [D]).to_pylist(), "recall", 5)
    assert recall["value"] == recall["baseline_value"] > 0  # without texts and transitions, lists are popularity
    happened = lake.read("topn_outcome", [D]).to_pylist()
    assert ("u1", "i20", "purchase") in {(r["user_key"], r["item_id"], r["event_type"]) for r in happened}


def test_the_future_changes_nothing(lake: Lake) -> None:
    jobs_rank.recommend(SmallNight(lake, YESTERDAY))  # type: ignore[arg-type]
    first = lake.manifest("user_topn", YESTERDAY)
    scrambled = [day(0, f"z{n}", f"i{n:02d}", purchase=3) for n in range(30)]
    lake.write("user_item_day", D, table("user_item_day", scrambled), Stamp("facts", "hash"))
    jobs_rank.recommend(SmallNight(lake, YESTERDAY))  # type: ignore[arg-type]
    again = lake.manifest("user_topn", YESTERDAY)
    assert first
    assert again
    assert first.checksum == again.checksum
