"""Every reason of a small night's lists, found again by hand from what happened: histories, vectors, counts and the catalogue."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter, defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recsys_core.declared import Stances
from recsys_core.explain import TEMPLATES
from recsys_core.lists import Recipe, Variant, make
from recsys_core.ranking.blender import Blend
from recsys_core.ranking.policy import ListRules
from recsys_core.ranking.shop import Shop
from recsys_core.recommenders import recommender
from recsys_core.recommenders.history import History, build, reduce_night, usual
from recsys_core.tables import TABLES

D = dt.date(2026, 3, 10)
N_USERS, N_ITEMS, NIGHTS, WINDOW = 60, 36, 42, 14
SOURCES = ("transitions", "item_knn", "ease", "content", "popularity")
LABELS = {t: (f"topic {t}", f"主题{t}") for t in range(4)}
RULES = ListRules(
    because_you_liked=5,
    new_for_you=5,
    trending=5,
    new_nights=10,
    diversity=0.0,
    calibration=0.0,
    exploration_slots=1,
    category={"daily": {"repeat": 5}},
)


def ago(nights: int) -> dt.date:
    return D - dt.timedelta(days=nights)


def title(item: int) -> str:
    return f"Thing {{{item}}}"


# What happened: a user's taste is one of four groups of nine items; groups 0 and 1 are met daily and come back, item 30 rises, 35 is new.
def events() -> list[dict[str, Any]]:
    rng = np.random.default_rng(5)
    found = {}
    for user in range(N_USERS):
        for age in sorted(rng.choice(np.arange(1, NIGHTS), 6, replace=False).tolist()) + ([0] if user % 3 == 0 else []):
            item = int(user % 4 * 9 + (NIGHTS - age + user) // 3 % 7) if rng.random() < 0.8 else int(rng.integers(0, 34))
            found[user, item, age] = ("view", "purchase", "hide")[int(rng.choice(3, p=[0.6, 0.3, 0.1]))]
        if user % 4 != 3 and user % 2:
            found[user, 30, user % 7] = "view"
    rows = []
    for (user, item, age), what in found.items():
        counts = {n: 0 for n in TABLES["user_item_day"].names if n.startswith("n_")} | {f"n_{what}": 1, "n_events": 1}
        when = dt.datetime.combine(ago(age), dt.time(12), dt.UTC)
        rows.append({"ds": ago(age), "user_key": f"u{user:02}", "item_id": f"i{item:02}", "last_event_ts": when, **counts})
    return rows


ROWS = events()
WEIGHT = {"view": 1.0, "purchase": 5.0, "hide": -3.0}
VECTORS = np.random.default_rng(6).normal(size=(N_ITEMS, 6)).astype(np.float32) + np.repeat(np.eye(4, 6, dtype=np.float32) * 4, 9, axis=0)
FIRST = [ago(90 if item < 32 else 4 * (item - 31)) for item in range(N_ITEMS)]
CATALOGUE = pa.table(
    {
        "item_id": [f"i{n:02}" for n in range(N_ITEMS)],
        "title": [title(n) for n in range(N_ITEMS)],
        "deleted": [n == 2 for n in range(N_ITEMS)],
        "category": ["daily" if n < 18 else None for n in range(N_ITEMS)],
        "stock": pa.array([None] * N_ITEMS, pa.int64()),
        "regions": pa.array([None] * N_ITEMS, pa.list_(pa.string())),
        "available_from_ds": pa.array([None] * N_ITEMS, pa.date32()),
        "available_to_ds": pa.array([None] * N_ITEMS, pa.date32()),
        "first_ds": pa.array(FIRST, pa.date32()),
    }
)
EXPANSION: list[dict[str, Any]] = [
    {"user_key": f"u{u:02}", "topic_id": (u + 2) % 4, "method": "context", "via_topic_id": u % 4, "score": 0.5}
    for u in range(0, N_USERS, 2)
]


def night() -> tuple[History, list[dict[str, Any]]]:
    """The history and the rows of user_topn."""
    rows = pa.Table.from_pylist(ROWS, schema=TABLES["user_item_day"].arrow_schema())
    past = build(reduce_night(rows), CATALOGUE["item_id"].to_pylist(), D)
    sessions = pa.table({"user_key": past.users, "lang": ["en", "zh"] * (N_USERS // 2), "region": pa.nulls(N_USERS, pa.string())})
    languages, group = usual(sessions, "lang", past.users)
    past = replace(past, interactions=replace(past.interactions, group=group, vectors=VECTORS))
    topics = {
        "item_id": CATALOGUE["item_id"],
        "topic_id": np.arange(N_ITEMS) // 9,
        "weight": np.ones(N_ITEMS),
        "rank": np.ones(N_ITEMS, np.int16),
    }
    told = [{"ds": D, "rank": 1, "reason": "", **row} for row in EXPANSION]
    shop = Shop(
        D,
        past,
        languages,
        CATALOGUE,
        pa.table({"category": ["daily"], "parent": pa.nulls(1, pa.string())}),
        sessions,
        pa.table(topics),
        TABLES["user_item_context_day"].arrow_schema().empty_table(),
        pa.table({"user_key": pa.array([], pa.string()), "topic_id": pa.array([], pa.int64()), "share": pa.array([], pa.float64())}),
        pa.Table.from_pylist(told, schema=TABLES["user_interest_expansion"].arrow_schema()),
        LABELS,
        Stances(
            pa.table({"user_key": pa.array([], pa.string()), "topic_id": pa.array([], pa.int64()), "weight": pa.array([], pa.float64())}),
            frozenset(),
        ),
    )
    sources = {name: recommender(name)().fit(past.interactions) for name in SOURCES}
    variant = Variant("default", Blend.default(SOURCES), "blend")
    made = make(shop, Recipe(list_size=9, popularity_nights=WINDOW, rules=RULES), sources, [variant], np.zeros(N_USERS, np.int64), "run")
    return past, made.to_pylist()


@pytest.fixture(scope="module")
def made() -> tuple[History, list[dict[str, Any]]]:
    return night()


class Facts:
    """What happened, in plain lists: item numbers by user in the order of time."""

    def __init__(self) -> None:
        self.met: dict[str, list[tuple[int, int, float]]] = defaultdict(list)  # (nights ago, item, weight)
        for row in sorted(ROWS, key=lambda r: (r["user_key"], r["last_event_ts"], r["item_id"])):
            what = next(w for w in WEIGHT if row[f"n_{w}"])
            self.met[row["user_key"]].append(((D - row["ds"]).days, int(row["item_id"][1:]), WEIGHT[what]))
        self.chosen = {user: [item for _, item, weight in rows if weight > 0] for user, rows in self.met.items()}

    def times(self, item: int, first: int, end: int, users: set[str] | None = None) -> int:
        """User-nights with a positive event, from `first` to before `end` nights ago."""
        return sum(
            i == item and w > 0 and first <= age < end for u, rows in self.met.items() if users is None or u in users for age, i, w in rows
        )

    def liked_last(self, user: str) -> int:
        """The last thing bought, and not hidden since."""
        for place, (_, item, weight) in reversed([*enumerate(self.met[user])]):
            if weight == WEIGHT["purchase"] and all(i != item or w > 0 for _, i, w in self.met[user][place + 1 :]):
                return item
        return -1


FACTS = Facts()


def falsehoods(past: History, rows: list[dict[str, Any]]) -> list[str]:
    """Reasons that what happened does not bear out."""
    centred = VECTORS - VECTORS.mean(axis=0, dtype=np.float64)
    ease = recommender("ease")().fit(past.interactions)
    found = []
    for row in rows:
        user, item, code = row["user_key"], int(row["item_id"][1:]), row["reason_code"]
        evidence = int(row["evidence_item_id"][1:]) if row["evidence_item_id"] else -1
        others = {u: chosen for u, chosen in FACTS.chosen.items() if u != user}
        words: dict[str, Any] = {"nights": WINDOW, "compared": 28, "title": title(evidence)}
        true = TEMPLATES[code].about != "item" or evidence in FACTS.chosen[user]
        if code == "followed":
            true &= any(evidence in c and item in c[c.index(evidence) + 1 :] for c in others.values())
        elif code == "together":
            true &= any(evidence in c and item in c for c in others.values())
        elif code == "similar_text":
            true &= centred[evidence] @ centred[item] > 0
        elif code == "points":
            who, history = int(past.user_codes(pa.array([user]))[0]), past.interactions
            without = ease.about(history.take((history.user != who) | (history.item != evidence)))
            true &= without.scores(np.array([who]))[0, item] < ease.scores(np.array([who]))[0, item]
        elif code in ("popular", "catalogue"):
            true &= (FACTS.times(item, 0, WINDOW) > 0) == (code == "popular")
        elif code == "because_you_liked":
            true &= evidence == FACTS.liked_last(user)
        elif code == "repeat":
            last = min((age for age, i, _ in FACTS.met[user] if i == item), default=-1)
            true &= item < 18 and last >= 5 and sum(w for _, i, w in FACTS.met[user] if i == item) >= 0
            words["date"] = ago(last)
        elif code == "new":
            true &= ago(10) < FIRST[item] and all(i != item for _, i, _ in FACTS.met[user])
            words["date"] = FIRST[item]
        elif code == "trending":
            lang = row["list_name"].removeprefix("trending").removeprefix("_")
            speakers = {u for u in FACTS.met if lang in ("", "zh" if int(u[1:]) % 2 else "en")}
            words |= {"now": FACTS.times(item, 0, 7, speakers), "before": FACTS.times(item, 7, 35, speakers)}
            true &= words["now"] / 7 > words["before"] / 28
        elif code == "explore":
            (proposal,) = (p for p in EXPANSION if p["user_key"] == user)
            via, topic = LABELS[proposal["via_topic_id"]], LABELS[proposal["topic_id"]]
            true &= item // 9 == proposal["topic_id"] and row["exploration"]
            said = [{"topic": topic[side], "why": why.format(via[side])} for side, why in enumerate(("close to {}", "与“{}”相近"))]
        else:
            true = False
        for side, (template, column) in enumerate(
            ((TEMPLATES[code].english, "reason_text_en"), (TEMPLATES[code].chinese, "reason_text_zh"))
        ):
            true &= row[column] == template.format(**words, **(said[side] if code == "explore" else {}))
        if not true:
            found.append(f"{user} {row['list_name']} {row['rank']}: {row['reason_text_en']} ({code}, {evidence} → {item})")
    return found


def test_every_reason_is_true(made: tuple[History, list[dict[str, Any]]]) -> None:
    past, rows = made
    codes = Counter(r["reason_code"] for r in rows)
    wanted = {"followed", "together", "similar_text", "popular", "repeat", "new", "trending", "explore", "because_you_liked"}
    assert wanted <= set(codes), codes
    assert falsehoods(past, rows) == []
    for row in rows:
        adds = json.loads(row["contributions"])
        assert sum(adds.values()) == pytest.approx(row["score"], abs=1e-5) or not adds


def test_a_false_reason_is_found(made: tuple[History, list[dict[str, Any]]]) -> None:
    """The evidence of another slot is no evidence: most reasons that were given it are false."""
    past, rows = made
    for code in ("followed", "together", "similar_text", "because_you_liked"):
        own = [r for r in rows if r["reason_code"] == code]
        moved = [{**r, "evidence_item_id": other["evidence_item_id"]} for r, other in zip(own, own[7:] + own[:7], strict=True)]
        changed = sum(r["evidence_item_id"] != m["evidence_item_id"] for r, m in zip(own, moved, strict=True))
        assert len(falsehoods(past, moved)) >= 0.9 * changed > 0
