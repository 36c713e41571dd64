"""Lists and interests against the night after, by hand; the jobs over a small lake."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy import sparse

from jobs import evaluate as jobs_evaluate
from jobs import rank as jobs_rank
from jobs.settings import Settings
from recsys_core import evaluation
from recsys_core.declared import NOBODY
from recsys_core.evaluation.baselines import baseline_lists
from recsys_core.evaluation.rows import compared_in, sliced
from recsys_core.events import DEFAULT_WEIGHTS, type_weights
from recsys_core.lake import Lake, Stamp, conform
from recsys_core.privacy.release import Release
from recsys_core.ranking.policy import ListRules
from recsys_core.recommenders.history import History, build, reduce_night, usual
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
    row |= {"reason_text_en": "", "reason_text_zh": "", "evidence_item_id": None, "contributions": "{}"}
    row |= {"model_version": "lists-1", "run_id": "r"}
    return row | changed


def table(name: str, rows: Rows) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=TABLES[name].arrow_schema())


ITEMS = [f"i{n:02d}" for n in range(40)]
CATALOGUE = pa.table({"item_id": ITEMS, "deleted": [False] * 39 + [True]})
SESSIONS = pa.table({"user_key": ["u1", "u2"], "lang": ["en", "zh"]})
COLD = pa.table({"user_key": ["u2", "u1", "nobody"], "value": ["2", "1", "0"]})
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


def cut_of(history: History, nights: int = 1, **given: Any) -> evaluation.Cut:
    langs = usual(SESSIONS, "lang", history.users)[1]
    return evaluation.cut_at(history, nights, np.array([i != "i39" for i in history.items.to_pylist()]), group=langs, **given)


def metrics(facts: Rows = FACTS, shown: Rows = SHOWN, seed: int = 0, nights: int = 1, horizon: str = "", **given: Any) -> Rows:
    history = past(facts)
    cut = cut_of(history, nights, **given)
    dims = {"lang": usual(SESSIONS, "lang", history.users)} | evaluation.user_slices(history, cut, {"cold_level": COLD})
    rows = evaluation.list_metrics(cut, history, table("user_topn", shown), {"ds": D}, dims, 14, seed, horizon)
    conform(table("eval_metric", rows), TABLES["eval_metric"])
    return rows


def one(rows: Rows, metric: str, k: int, dim: str = "all", value: str = "", baseline: str = "popularity") -> dict[str, Any]:
    key = (metric, k, dim, value, baseline)
    (found,) = (r for r in rows if tuple(r[c] for c in ("metric", "k", "slice_dim", "slice_value", "baseline")) == key)
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
        ("cold_level", "1"),
        ("cold_level", "2"),
    }
    assert {r["baseline"] for r in rows} == {"popularity", "popularity_all_time", "last_item"}
    assert {r["k"] for r in rows if r["slice_dim"] != "all"} == {10}
    assert one(rows, "recall", 10, "lang", "en")["value"] == one(rows, "recall", 10, "cold_level", "1")["value"] == 0.5
    assert one(rows, "recall", 10, "activity", "heavy")["value"] == 0
    recall = one(rows, "recall", 20)
    assert (recall["ci_low"], recall["ci_high"]) == (0, 1)
    assert rows == metrics()
    assert rows == metrics(list(reversed(FACTS)), list(reversed(SHOWN)))


def test_permuted_lists_lose_their_hits() -> None:
    swapped = [slot("u2" if s["user_key"] == "u1" else "u1", s["rank"], s["item_id"]) for s in SHOWN if s["user_key"] in ("u1", "u2")]
    assert one(metrics(), "recall", 10, "lang", "en")["value"] == 0.5
    assert one(metrics(shown=swapped), "recall", 10, "lang", "en")["value"] == 0


def test_baseline_knows_nothing_of_tonight() -> None:
    crowd = [day(0, f"c{n}", "i05", view=1) for n in range(50)]
    assert one(metrics([*FACTS, *crowd]), "mrr", 10)["baseline_value"] == one(metrics(), "mrr", 10)["baseline_value"]


def test_nobody_came() -> None:
    assert metrics([f for f in FACTS if f["ds"] < D]) == []
    assert metrics(shown=[]) == []


def baselines(facts: Rows, user: str, nights: int = 1, **given: Any) -> dict[str, list[str]]:
    history = past(facts)
    users = history.user_codes(pa.array([user]))
    made = baseline_lists(cut_of(history, nights, **given), users, 14, 5)
    return {name: [history.items[int(i)].as_py() for i in lists[0] if i >= 0] for name, lists in made.items()}


def test_baselines_keep_the_rules_of_the_lists() -> None:
    """After i07 comes i30 twice and i31 once; i08 was popular long ago; who met an item gets it again only where it may return."""
    facts = [day(5, f"a{n}", "i07", view=1) for n in range(3)] + [day(4, f"a{n}", "i30", view=1) for n in range(2)]
    facts += [day(4, "a2", "i31", view=1), day(3, "me", "i20", view=1), day(2, "me", "i07", view=1), day(0, "me", "i30", view=1)]
    facts += [day(60, f"b{n}", "i08", view=1) for n in range(9)] + [day(2, "b0", "i39", view=99)]
    found = baselines(facts, "me")
    # Shares within the window: i07 4 of 8, i30 2, i31 and i39 1 (i20: 1, met); then by all nights i08, then by id.
    assert found["popularity"] == ["i30", "i31", "i08", "i00", "i01"]
    assert found["popularity_all_time"] == ["i08", "i30", "i31", "i00", "i01"]
    assert found["last_item"] == ["i30", "i31", "i08", "i00", "i01"]
    again = baselines(facts, "me", cool_down=np.zeros(40, np.int64))
    assert again["last_item"] == ["i07", "i30", "i31", "i20", "i08"]
    assert again["popularity"][:2] == ["i07", "i30"]
    later = baselines(facts, "me", cool_down=np.full(40, 2))  # i07 was met one night before the cut, i20 two
    assert "i07" not in later["popularity"]
    assert "i20" in later["popularity"]
    assert baselines(facts, "b8")["last_item"] == baselines(facts, "b8")["popularity"]  # nothing follows i08
    open_to = np.ones((2, 40), bool)
    open_to[0, 30] = False
    region = np.where(np.array(past(facts).users.to_pylist()) == "me", 0, -1)
    assert not any("i30" in items for items in baselines(facts, "me", open_to=open_to, region=region).values())
    assert "i30" in baselines(facts, "b1", open_to=open_to, region=region)["popularity"]


def test_what_may_return_is_relevant_again() -> None:
    facts = [day(3, "u1", "i00", purchase=1), day(2, "u1", "i01", dislike=1), day(0, "u1", "i00", purchase=1), day(0, "u1", "i01", view=1)]
    history = past(facts)
    assert not len(cut_of(history).user)
    for nights, wanted in ((0, ["i00"]), (2, ["i00"]), (3, [])):  # met two nights before the cut; what was disliked never returns
        cut = cut_of(history, cool_down=np.full(40, nights))
        assert [history.items[int(i)].as_py() for i in cut.item] == wanted


def test_seven_nights() -> None:
    """Relevant is what came in any of the nights since with a positive sum; the baselines end where the lists end."""
    facts = [*(f for f in FACTS if f["ds"] < D), day(6, "u1", "i03", view=1), day(1, "u1", "i09", view=3), day(0, "u1", "i09", dislike=1)]
    facts = [f | {"ds": f["ds"] - dt.timedelta(days=7)} if f["user_key"] != "u1" else f for f in facts] + [day(9, "u1", "i04", view=1)]
    shown = [slot("u1", rank, item, nights_ago=7) for rank, item in enumerate(("i00", "i03", "i20"), 1)]
    rows = metrics(facts, shown, nights=7, horizon="_7d")
    assert {r["slice_dim"] for r in rows} == {"all"}
    assert "recall_7d" in {r["metric"] for r in rows}
    assert not {"novelty_7d", "coverage_7d", "recall"} & {r["metric"] for r in rows}
    recall = one(rows, "recall_7d", 5)  # i00 and i03 of u1; i09 sums to 3 − 3
    assert (recall["value"], recall["n"], recall["baseline_value"]) == (1.0, 1, 0.5)


def test_beyond_accuracy_by_hand() -> None:
    """Two users: one whose list is all its own topic, and one whose list is of another; vectors are the topics."""
    vectors = np.zeros((40, 2), np.float32)
    vectors[::2, 0] = vectors[1::2, 1] = 3
    topics = sparse.csr_matrix((np.ones(40), (np.arange(40), np.arange(40) % 2)), shape=(40, 2))
    rows = metrics(vectors=vectors, topics=topics)
    # u1's and u2's lists are half even, half odd, their profiles all even (i00): KL(1, 0 ‖ .99 · .5 + .01, …) = −ln .505
    assert one(rows, "calibration_kl", 10)["value"] == pytest.approx(-np.log(0.505), abs=1e-6)
    # 5 + 5 items: of 45 pairs 20 have cosine 1
    assert one(rows, "diversity", 10)["value"] == pytest.approx(1 - 20 / 45, abs=1e-6)
    assert one(rows, "serendipity", 10)["value"] == 0  # u1's hit i01 stands in popularity's first ten, too
    assert one(rows, "serendipity", 10)["baseline_value"] == 0
    # 39 eligible items, of which 15 are shown: i01 … i05 and i11 … i15 once, i06 … i10 twice
    counts = np.array([0] * 24 + [1] * 10 + [2] * 5)
    expected = ((2 * np.arange(1, 40) - 40) * counts).sum() / (39 * 20)
    assert one(rows, "exposure_gini", 10)["value"] == pytest.approx(expected, abs=1e-6)
    # i00 is known to 2 of 10 users, nothing in the lists to anybody
    assert one(rows, "popularity_lift", 10)["value"] == -1
    assert one(rows, "popularity_lift", 10)["baseline_value"] == pytest.approx((0.8 + 0.4) / 10 / 0.2 - 1, abs=1e-6)
    assert not {"diversity", "calibration_kl"} & {r["metric"] for r in metrics()}  # nothing is known of texts and topics


def test_gaps_between_slices() -> None:
    """40 users of each language; the English all find what they want, a quarter of the Chinese do; four of no language do not count."""
    n = 84
    found = np.r_[np.ones(40), np.arange(40) % 4 == 0, np.zeros(4)].astype(float)[:, None]
    rng = np.random.default_rng(0)
    code = np.r_[np.zeros(40), np.ones(40), np.full(4, -1)].astype(int)
    slices = sliced(np.arange(n), {"lang": (["en", "zh"], code), "region": (["a", "b"], rng.permutation(code))})
    assert [(d, v, int(m.sum())) for d, v, m in slices][:3] == [("lang", "en", 40), ("lang", "zh", 40), ("lang", "unknown", 4)]
    where = {"ds": D, "subject": "recommender", "model_version": "m", "list_name": "for_you", "variant": "default"}
    rows = compared_in(slices, found, {"popularity": np.full((n, 1), 0.5)}, [("recall", 10)], where, 0, 10, ("recall",))
    assert [r["metric"] for r in rows] == ["recall"] * 6 + ["recall_gap"] * 2
    lang, region = rows[-2:]
    assert (lang["slice_dim"], lang["slice_value"], lang["metric"], lang["value"], lang["n"]) == ("lang", "", "recall_gap", 0.75, 80)
    assert (lang["baseline_value"], lang["diff"]) == (0, 0.75)
    assert 0.5 < lang["ci_low"] < 0.75 < lang["ci_high"] < 1
    assert region["ci_low"] < 0 < region["ci_high"]  # dealt at random: nothing to see
    conform(table("eval_metric", [lang, region]), TABLES["eval_metric"])
    many = sliced(np.arange(50), {"city": ([f"c{i:02d}" for i in range(25)], np.arange(50) % 25)})
    assert len(many) == 21
    assert many[-1][:2] == ("city", "other")
    # What a site tells of users is named only where thirty share it.
    code = np.r_[np.zeros(30), np.full(29, 1), 2, -1].astype(int)
    told = sliced(np.arange(61), {"attribute:town": (["Basel", "Genf", "home of u60"], code)})
    assert [(v, int(m.sum())) for _, v, m in told] == [("Basel", 30), ("other", 30), ("unknown", 1)]


def test_lists_that_stand_still() -> None:
    before = [slot("u1", r, f"i{r:02d}") for r in range(1, 4)] + [slot("u2", r, f"i{r:02d}") for r in range(1, 4)]
    now = [slot("u1", r, f"i{r:02d}", nights_ago=0) for r in range(1, 4)] + [slot("u2", r, f"i{r + 9}", nights_ago=0) for r in range(1, 4)]
    now += [slot("u1", 1, "i09", nights_ago=0, list_name="trending"), slot("*", 1, "i01", nights_ago=0)]
    rows = evaluation.list_stability(table("user_topn", before), table("user_topn", now), pa.chunked_array([["u2"]]), D, 0)
    found = {r["slice_value"]: (r["subject"], r["list_name"], r["metric"], r["value"], r["n"]) for r in rows}
    assert found == {
        "": ("recommender", "for_you", "rbo", 0.5, 2),
        "idle": ("recommender", "for_you", "rbo", 1.0, 1),
        "active": ("recommender", "for_you", "rbo", 0.0, 1),
    }
    conform(table("eval_metric", rows), TABLES["eval_metric"])


def test_proxies_by_hand() -> None:
    weights = type_weights()
    week = [
        *(day(n, "u1", "i01", view=1) for n in (6, 3)),
        day(2, "u1", "i02", view=1, hide=1),
        day(1, "u1", "i30", view=9),
        day(0, "u2", "i01", dislike=1),
    ]
    shown = [slot("u1", r, f"i0{r}", 7, exploration=r == 2) for r in (1, 2, 3, 4)] + [slot("u2", 1, "i01", 7), slot("u3", 1, "i01", 7)]
    shown += [slot("*", 1, "i01", 7, list_name="popular")]
    rows = evaluation.proxy_metrics(table("user_topn", shown), table("user_item_day", week), weights, {"ds": D}, 0)
    found = {(r["metric"], r["slice_value"]): (r["value"], r["n"]) for r in rows}
    # u1 met i01 and i02 of four and hid i02 (1 − 3 < 0); u2 disliked its one; u3 did not come
    assert found[("proxy_slot_hit_rate_7d", "")] == (pytest.approx(0.5 / 3, abs=1e-6), 3)
    assert found[("proxy_positive_share_7d", "")] == (pytest.approx(0.25 / 3, abs=1e-6), 3)
    assert found[("proxy_hide_rate_7d", "")] == (pytest.approx(1.25 / 3, abs=1e-6), 3)
    assert found[("proxy_return_7d", "")] == (pytest.approx(2 / 3, abs=1e-6), 3)
    assert found[("proxy_hide_rate_7d", "yes")] == (1.0, 1)  # i02 alone was exploration
    assert found[("proxy_slot_hit_rate_7d", "no")] == (pytest.approx(1 / 3 / 3, abs=1e-6), 3)
    conform(table("eval_metric", rows), TABLES["eval_metric"])
    assert all(
        r["slice_dim"] == "all"
        for r in evaluation.proxy_metrics(table("user_topn", shown[4:]), table("user_item_day", week), weights, {"ds": D}, 0)
    )


def rated(noise: float, seed: int = 0) -> pa.Table:
    """60 users × 30 items in two camps, each rating three quarters of its items 5 and of the other camp's 1, dealt over five nights."""
    rng = np.random.default_rng(seed)
    user, item = (a.ravel() for a in np.mgrid[:60, :30])
    rating = np.clip(np.where(user % 2 == item % 2, 5.0, 1.0) + rng.normal(0, noise, len(user)), 1, 5)
    kept = rng.random(len(user)) < 0.75
    night = rng.integers(0, 5, len(user))
    columns = {"ds": [D - dt.timedelta(days=int(n)) for n in night[kept]], "user_key": [f"u{u:02d}" for u in user[kept]]}
    return pa.table(columns | {"item_id": [f"i{i:02d}" for i in item[kept]], "rating": rating[kept]})


def test_ratings() -> None:
    """Camps are what factors know and biases do not; without them factors are of no use, and without ratings there are no rows."""
    ratings = rated(0.3)
    rows = evaluation.rating_metrics(ratings, D, 0)
    found = {r["metric"]: r for r in rows}
    assert set(found) == {"mae", "rmse"}
    assert found["rmse"]["value"] < 0.6 < 1.8 < found["rmse"]["baseline_value"]
    assert found["rmse"]["diff_ci_high"] < -1
    assert found["mae"]["value"] <= found["rmse"]["value"]
    assert found["mae"]["n"] == ratings.filter(pc.equal(ratings["ds"], pa.scalar(D))).num_rows
    conform(table("eval_metric", rows), TABLES["eval_metric"])
    shuffled = ratings.set_column(3, "rating", ratings["rating"].take(pa.array(np.random.default_rng(1).permutation(len(ratings)))))
    without = {r["metric"]: r for r in evaluation.rating_metrics(shuffled, D, 0)}
    assert without["rmse"]["value"] > 1.7
    assert evaluation.rating_metrics(ratings.filter(pc.less(ratings["ds"], pa.scalar(D))), D, 0) == []
    assert evaluation.rating_metrics(ratings.filter(pc.equal(ratings["ds"], pa.scalar(D))), D, 0) == []


def test_outcomes() -> None:
    shown = [slot("u1", 1, "i01"), slot("u1", 2, "i02"), slot("u1", 3, "i03"), slot("u1", 7, "i01", nights_ago=4, source="content")]
    shown += [slot("u2", 1, "i01"), slot("*", 1, "i01", list_name="popular"), slot("u1", 1, "i01", nights_ago=0)]
    shown += [slot("u1", 1, "i02", nights_ago=7), slot("u1", 1, "i02", nights_ago=8)]  # seven nights are observed, the eighth is not
    tonight = [day(0, "u1", "i01", view=2, purchase=1, rating=1, low_rated=1), day(0, "u1", "i02", hide=1), day(0, "u2", "i09", view=1)]
    found = conform(evaluation.outcomes(table("user_topn", shown), table("user_item_day", tonight), D), TABLES["topn_outcome"])
    assert [(r["list_ds"], r["rank"], r["item_id"], r["event_type"], r["n_events"], r["source"]) for r in found.to_pylist()] == [
        (D - dt.timedelta(days=7), 1, "i02", "hide", 1, "transitions"),
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
    list_rules = ListRules()
    release = Release()
    settings = Settings()
    sensitive: frozenset[int] = frozenset()
    stances = NOBODY

    def __init__(self, lake: Lake, ds: dt.date) -> None:
        self.lake, self.ds, self.topics = lake, ds, None
        self.stamp = Stamp(f"run-{ds}", "hash")

    def nights(self, name: str) -> list[dt.date]:
        return [] if name == "item_topic" else [d for d in self.lake.nights(name) if d <= self.ds]

    def read(self, name: str, back: int | None = None, columns: list[str] | None = None) -> pa.Table:
        return self.lake.read(name, [d for d in self.nights(name) if name == "session" or d == self.ds], columns, None, **self._parts(name))

    def experiment(self, ds: dt.date | None = None) -> None:
        return None

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
        item: dict[str, Any] = {"description": None, "tags": None, "category": None, "brand": None, "price": None, "lang": "en"}
        item |= {"valid_from_ds": ds, "first_ds": ds}
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
