"""The simulated shop keeps its promises: stable bytes, planted truth that is hard but there, and dirt only where asked for."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import jieba
import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import normalized_mutual_info_score

from recsys_core.events import EVENT_TYPES
from recsys_core.simulate import simulate
from recsys_core.simulate.vocabulary import TOPICS, topic_vocabulary
from recsys_core.simulate.wording import item_text, query_text, review_text

START = dt.date(2025, 3, 3)
TOPIC_OF_NAME = {topic.name: topic for topic in TOPICS}


def hashes(landing: Path) -> dict[str, str]:
    return {str(f.relative_to(landing)): hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(landing.rglob("*")) if f.is_file()}


def raw_lines(landing: Path, kind: str = "events") -> dict[str, list[bytes]]:
    nights: dict[str, list[bytes]] = {}
    for folder in sorted((landing / kind).iterdir()):
        nights[folder.name[3:]] = [line for f in sorted(folder.iterdir()) for line in gzip.decompress(f.read_bytes()).split(b"\n")[:-1]]
    return nights


class Shop:
    """A clean shop of 10 nights, read back."""

    def __init__(self, landing: Path) -> None:
        self.landing = landing
        self.counts = simulate(str(landing), START, nights=10, users=400, items=1200, events_per_night=4000, seed=11)
        self.events = {ds: [json.loads(line) for line in lines] for ds, lines in raw_lines(landing).items()}
        self.deltas = {ds: [json.loads(line) for line in lines] for ds, lines in raw_lines(landing, "items").items()}
        self.items: dict[str, dict[str, Any]] = {row["item_id"]: row for rows in self.deltas.values() for row in rows}
        self.topic = dict(pq.read_table(landing / "_truth/item_topic.parquet").to_pandas().itertuples(index=False))
        self.shares: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        for row in pq.read_table(landing / "_truth/user_topic.parquet").to_pylist():
            self.shares[str(row["ds"]), row["user_id"]][row["topic"]] = row["share"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop") / "landing")


def tokens(text: str) -> set[str]:
    words = (
        re.findall(r"[a-z][a-z-]+", text.lower())
        if text.isascii()
        else [w for w in jieba.cut(text) if re.fullmatch(r"[\u4e00-\u9fff]+", w)]
    )
    return set(words)


def test_same_seed_same_bytes_and_another_seed_other_bytes(tmp_path: Path) -> None:
    def made(name: str, seed: int) -> dict[str, str]:
        simulate(str(tmp_path / name), START, nights=3, users=120, items=60, events_per_night=500, seed=seed, dirt=True)
        return hashes(tmp_path / name)

    a, b, c = made("a", 1), made("b", 1), made("c", 2)
    assert a == b
    same = {path for path in a if a[path] == c.get(path)}
    assert same == {"_source.json"}
    assert not (tmp_path / "a.partial").exists()


def test_counts_and_files(shop: Shop) -> None:
    assert sorted(shop.events) == [str(START + dt.timedelta(k)) for k in range(10)]
    assert shop.counts["events"] == sum(map(len, shop.events.values()))
    sizes = [len(events) for events in shop.events.values()]
    assert 0.85 * 4000 < np.mean(sizes[:7]) < 1.15 * 4000
    assert all(0.75 * 4000 < size < 1.3 * 4000 for size in sizes)
    texts = shop.counts["searches"] + shop.counts["reviews"]
    assert 0.035 < texts / shop.counts["events"] < 0.065
    assert json.loads((shop.landing / "_source.json").read_text()) == {
        "source": "simulated", "time_zone_of_naive_ts": None, "expected_reasons": [],
    }  # fmt: skip
    assert {e["event_type"] for events in shop.events.values() for e in events} < set(EVENT_TYPES)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_text_share(tmp_path: Path, share: float) -> None:
    counts = simulate(str(tmp_path / "x"), START, nights=1, users=300, items=60, events_per_night=5000, seed=1, text_share=share)
    found = (counts["searches"] + counts["reviews"]) / counts["events"]
    assert found == 0 if share == 0 else abs(found - share) < 0.05


def test_events_are_well_formed_and_clean(shop: Shop) -> None:
    ids: Counter[str] = Counter()
    for ds, events in shop.events.items():
        for e in events:
            ids[e["event_id"]] += 1
            assert re.fullmatch(rf"{ds}T\d\d:\d\d:\d\d\.\d{{3}}Z", e["ts"])
            assert e["ts"] < e["received_ts"]
            assert e["received_ts"][:10] == ds
            assert ("item_id" in e and e["item_id"] in shop.items) or e["query"]
            assert ("rating" in e) == (e["event_type"] in ("rating", "review"))
            assert ("text" in e) == (e["event_type"] == "review")
            assert e["lang"] == ("en" if e.get("text", e.get("query", "")).isascii() else "zh") or not ({"text", "query"} & e.keys())
    assert max(ids.values()) == 1
    assert shop.counts["duplicates"] == shop.counts["late"] == shop.counts["malformed"] == 0


def test_funnel_is_ordered(shop: Shop) -> None:
    earlier = {
        "click": "view",
        "add_to_cart": "click",
        "purchase": "add_to_cart",
        "like": "view",
        "hide": "view",
        "return": "purchase",
        "rating": "purchase",
    }
    done: set[tuple[str, str, str]] = set()
    for events in shop.events.values():
        for e in sorted(events, key=lambda e: e["ts"]):
            if e["event_type"] in earlier:
                assert (e["user_id"], e["item_id"], earlier[e["event_type"]]) in done, e
            done.add((e["user_id"], e.get("item_id", ""), e["event_type"]))


def test_topics_share_words(shop: Shop) -> None:
    assert Counter(topic.lang for topic in TOPICS) == {"en": 12, "zh": 12}
    for topic in TOPICS:
        own, shared = topic_vocabulary(topic)
        assert len(shared) / (len(own) + len(shared)) >= 0.4
        assert len(own) >= 15
    words: dict[str, set[str]] = {topic.name: set() for topic in TOPICS}
    for topic in TOPICS:  # pure items only: what mixing adds does not count
        for state in range(60):
            text = item_text(topic, None, state * 7919)
            words[topic.name] |= tokens(f"{text['title']} {text['description']}")
    for topic in TOPICS:
        others = set().union(*(words[other.name] for other in TOPICS if other is not topic))
        assert len(words[topic.name] & others) / len(words[topic.name]) >= 0.4, topic.name


def test_items_mix_topics_and_categories_disagree(shop: Shop) -> None:
    own_words = {topic.name: topic_vocabulary(topic)[0] for topic in TOPICS}
    mixed = agree = 0
    for item_id, row in shop.items.items():
        main = TOPIC_OF_NAME[shop.topic[item_id]]
        assert row["lang"] == main.lang
        foreign = set().union(*(own_words[topic.name] for topic in TOPICS if topic.lang == main.lang and topic is not main))
        mixed += any(len(word) > 3 and word in row["description"] for word in foreign)
        agree += row["category"] == main.category
    assert mixed / len(shop.items) >= 0.15
    assert 0.55 < agree / len(shop.items) < 0.65


def test_ids_carry_no_order_and_no_meaning(shop: Shop) -> None:
    names = {topic.name: k for k, topic in enumerate(TOPICS)}
    rng = np.random.default_rng(0)
    for order in (sorted(shop.topic), [row["item_id"] for row in shop.deltas[str(START)]]):
        topics = np.array([names[shop.topic[item]] for item in order])
        place = np.arange(len(order)) * 24 // len(order)
        found = normalized_mutual_info_score(place, topics)
        chance = [normalized_mutual_info_score(place, rng.permutation(topics)) for _ in range(30)]
        assert found < np.mean(chance) + 4 * np.std(chance)
        assert abs(np.corrcoef(np.arange(len(order)), topics)[0, 1]) < 0.12
    assert all(re.fullmatch("[0-9a-f]{16}", item) for item in shop.topic)


def test_noise_share_and_robots(shop: Shop) -> None:
    views: Counter[str] = Counter()
    off = total = 0
    for ds, events in shop.events.items():
        for e in events:
            if e["event_type"] == "view":
                views[e["user_id"]] += 1
                if shares := shop.shares.get((ds, e["user_id"])):
                    total, off = total + 1, off + (shop.topic[e["item_id"]] not in shares)
    # Noise sometimes lands on an interest, browsing sometimes on a mixed item of another topic: both move the count by a few points.
    assert 0.15 < off / total < 0.28
    robots = set(views) - {user for _, user in shop.shares}
    assert len(robots) == shop.counts["robots"] == 1
    assert views[robots.pop()] > 4 * np.median(list(views.values()))


def test_user_truth_sums_to_one_and_users_arrive(shop: Shop) -> None:
    assert all(abs(sum(shares.values()) - 1) < 1e-9 and 1 <= len(shares) <= 4 for shares in shop.shares.values())
    sizes = Counter(ds for ds, _ in shop.shares)
    first, last = sizes[str(START)], sizes[str(START + dt.timedelta(9))]
    assert first < 0.9 * last
    assert last == 399  # all but the robot
    for ds, events in shop.events.items():  # nobody acts before joining
        present = {user for day, user in shop.shares if day == ds}
        assert len({e["user_id"] for e in events} - present) <= 1


def test_interests_switch_on_the_truths_days(shop: Shop) -> None:
    changes = pq.read_table(shop.landing / "_truth/user_change.parquet").to_pylist()
    assert {row["change"] for row in changes} == {"switch", "start", "grow", "fade"}
    before: Counter[bool] = Counter()
    after: Counter[bool] = Counter()
    for row in changes:
        eve, ds, user = str(row["ds"] - dt.timedelta(1)), str(row["ds"]), row["user_id"]
        old, new = shop.shares[eve, user], shop.shares[ds, user]
        assert old != new, row
        if row["change"] != "switch":
            continue
        (gone,), (come,) = old.keys() - new.keys(), new.keys() - old.keys()
        assert abs(old[gone] - new[come]) < 1e-6
        for day, events in shop.events.items():
            side = before if day < ds else after
            for e in events:
                if e["user_id"] == user and e["event_type"] == "view" and shop.topic[e["item_id"]] in (gone, come):
                    side[shop.topic[e["item_id"]] == come] += 1
    assert before[False] > 8 * before[True]
    assert after[True] > 8 * after[False]


def test_walks_carry_signal_that_popularity_does_not(shop: Shop) -> None:
    days = sorted(shop.events)
    history: dict[str, list[str]] = defaultdict(list)
    popular: Counter[str] = Counter()
    follow: dict[str, Counter[str]] = defaultdict(Counter)
    for ds in days[:-1]:
        for e in sorted(shop.events[ds], key=lambda e: e["ts"]):
            if e["event_type"] == "view" and (ds, e["user_id"]) in shop.shares:
                popular[e["item_id"]] += 1
                for item in history[e["user_id"]][-3:]:
                    follow[item][e["item_id"]] += 1
                history[e["user_id"]].append(e["item_id"])
    truth: dict[str, set[str]] = defaultdict(set)
    for e in shop.events[days[-1]]:
        if e["event_type"] == "view" and e["user_id"] in history:
            truth[e["user_id"]].add(e["item_id"])
    ranked = [item for item, _ in popular.most_common()]
    recalls: list[tuple[float, float]] = []
    for user, items in truth.items():
        seen = set(history[user])
        if unseen := items - seen:
            score: Counter[str] = Counter()
            for age, item in enumerate(reversed(history[user][-30:])):
                total = sum(follow[item].values())
                for nxt, n in follow[item].items():
                    if nxt not in seen:
                        score[nxt] += 0.9**age * n / total  # type: ignore[assignment]
            ours = {item for item, _ in score.most_common(10)}
            base = set([item for item in ranked if item not in seen][:10])
            recalls.append((len(unseen & ours) / len(unseen), len(unseen & base) / len(unseen)))
    walk, popularity = np.mean(recalls, axis=0)
    assert len(recalls) > 100
    assert walk > 3 * popularity
    assert popularity > 0.01  # popularity is a baseline, not a straw man


def test_catalogue_deltas(shop: Shop) -> None:
    first = shop.deltas[str(START)]
    assert 0.8 * 1200 < len(first) < 0.9 * 1200
    known: dict[str, dict[str, Any]] = {}
    kinds: Counter[str] = Counter()
    for ds in sorted(shop.deltas):
        for row in shop.deltas[ds]:
            old = known.get(row["item_id"])
            kinds["new" if old is None else "deleted" if row["deleted"] else "changed"] += 1
            assert old is None or old != row
            known[row["item_id"]] = row
    assert kinds["new"] >= 1195
    assert kinds["changed"] > 0


def test_text_agrees_with_topic_and_sentiment() -> None:
    for topic in TOPICS:
        words = topic.products + topic.details + topic.uses
        hits = [any(w in query_text(topic, state).lower() for w in words) for state in range(40)]
        assert all(hits)
        bad, good = ({review_text(topic, topic.products[0], stars, state) for state in range(40)} for stars in (1, 5))
        assert not bad & good


def test_some_items_are_kept_off_lists(shop: Shop) -> None:
    last = {row["item_id"]: (day, row) for day, rows in sorted(shop.deltas.items()) for row in rows}
    told = [row for _, row in last.values() if "stock" in row]
    assert 5 < len(told) < 40
    assert any(row["stock"] == 0 for row in told)
    assert all(row["stock"] > 0 for row in shop.deltas[str(START)] if "stock" in row and last[row["item_id"]][1]["stock"] > 0)
    regional = [row for _, row in last.values() if "regions" in row]
    assert 5 < len(regional) < 50
    assert {row["regions"][0] for row in regional} <= {e["region"] for events in shop.events.values() for e in events}
    gone = {item_id: dt.date.fromisoformat(day) for item_id, (day, row) in last.items() if row["deleted"]}
    ends = {row["item_id"]: dt.date.fromisoformat(row["available_to_ds"]) for _, row in last.values() if "available_to_ds" in row}
    assert ends
    assert {i: day + dt.timedelta(1) for i, day in ends.items() if i in gone}.items() <= gone.items(), "the last day on sale"
    assert all(ends[i] >= dt.date.fromisoformat(max(shop.deltas)) for i in ends.keys() - gone.keys())
    # What few ask for is sold out or regional, so that lists may leave it out without leaving out what shoppers turn to.
    n = Counter(e["item_id"] for events in shop.events.values() for e in events if "item_id" in e)
    kept_off = [n[row["item_id"]] for row in told + regional]
    assert sum(kept_off) / len(kept_off) < 0.8 * sum(n.values()) / len(shop.items)


def test_dirt_is_there_when_asked_for(tmp_path: Path) -> None:
    landing = tmp_path / "dirty"
    counts = simulate(str(landing), START, nights=5, users=300, items=100, events_per_night=4000, seed=3, dirt=True)
    lines = raw_lines(landing)
    assert sorted(lines) == [str(START + dt.timedelta(k)) for k in range(5)]  # nothing lands after the last night
    assert sum(map(len, lines.values())) == counts["lines"] == counts["events"] + counts["duplicates"]
    assert 0.006 < counts["duplicates"] / counts["events"] < 0.014
    assert 0.004 < counts["late"] / counts["events"] < 0.014
    assert 0.0015 < counts["malformed"] / counts["events"] < 0.005
    assert len(counts["malformed_by_kind"]) >= 8
    repeats = sum(n - 1 for n in Counter(line for night in lines.values() for line in night if len(line) > 60).values())
    assert repeats == counts["duplicates"]
    broken = late = 0
    for ds, night in lines.items():
        for line in night:
            try:
                e = json.loads(line.decode("utf-8"))
                delay = (dt.date.fromisoformat(ds) - dt.date.fromisoformat(e["ts"][:10])).days
            except (ValueError, KeyError, TypeError):
                broken += 1
                continue
            assert 0 <= delay <= 3 or "2026" in e["ts"]
            assert e["received_ts"][:10] == ds
            late += delay > 0
    assert 0.5 * counts["malformed"] < broken <= counts["malformed"]
    assert 0.9 * counts["late"] < late < 1.1 * counts["late"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"items": 10}, "items is 10"),
        ({"nights": 0}, "nights is 0"),
        ({"text_share": 0.9}, "text_share"),
        ({"landing": "s3://b/x"}, "local folder"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    arguments: dict[str, Any] = {
        "landing": str(tmp_path / "x"),
        "start": START,
        "nights": 1,
        "users": 10,
        "items": 60,
        "events_per_night": 10,
        "seed": 0,
    }
    with pytest.raises(ValueError, match=says):
        simulate(**(arguments | change))
    assert not list(tmp_path.iterdir())


def test_a_full_landing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("keep")
    with pytest.raises(ValueError, match="not empty"):
        simulate(str(tmp_path), START, nights=1, users=10, items=60, events_per_night=10, seed=0)
    assert [f.name for f in tmp_path.iterdir()] == ["precious.txt"]


def test_large_nights_are_split_into_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys_core.simulate._BLOCK_EVENTS", 1500)
    monkeypatch.setattr("recsys_core.simulate.landing.MAX_LINES", 600)
    counts = simulate(str(tmp_path / "x"), START, nights=2, users=400, items=60, events_per_night=3000, seed=5)
    lines = raw_lines(tmp_path / "x")
    files = list((tmp_path / "x/events").rglob("*.gz"))
    assert len(files) >= 8
    assert all(gzip.decompress(f.read_bytes()).count(b"\n") <= 600 for f in files)
    ids = [json.loads(line)["event_id"] for night in lines.values() for line in night]
    assert len(set(ids)) == len(ids) == counts["events"]
