"""A published shop for the explorer: two nights under one topic model, a user with everything, and texts of one's choice."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa

from recsys_core.lake import canonical_json
from recsys_core.warehouse import NightTables, Warehouse
from tests.hostile_texts import TEXTS
from tests.test_warehouse import MODEL, interest, models, night, row, slot, table

BEFORE, FIRST, SECOND = dt.date(2024, 3, 7), dt.date(2024, 3, 8), dt.date(2024, 3, 9)
ANA, BEN = "a" * 64, "b" * 64
EVIDENCE = '{"items":[{"item_id":"h%d","n_events":2,"weight":2.0}],"rest":0.5}'
TITLES = {"i1": "A chess set", "i2": "A green tea", "i3": "A board"}


def titles(ds: dt.date, item_ids: Collection[str]) -> Mapping[str, str]:
    """What the shop calls its items; those with a number have the hostile text of that number."""
    hostile = {f"h{n}": text for n, text in enumerate(TEXTS)}
    return {item: name for item, name in (TITLES | hostile).items() if item in item_ids}


def topics(sensitive: Collection[int] = (), texts: Sequence[str] = ()) -> dict[str, pa.Table]:
    """The models of tests.test_warehouse, topic 2 after topic 1, and topics 100, 101 … that `texts` are the labels and keywords of."""
    found = models()
    topic, version = found["topic"].to_pylist(), found["topic_version"].to_pylist()
    for n, text in enumerate(texts):
        names = {"topic_id": 100 + n, "parent_topic_id": None, "level": 0, "label_en": text, "label_zh": texts[n - 1]}
        topic.append(topic[0] | names | {"keywords": canonical_json([text, texts[n - 2]])})
        version.append(version[0] | {"topic_id": 100 + n})
    topic = [one | {"sensitive": one["topic_id"] in sensitive} for one in topic]
    step = row(model_version=MODEL, prev_model_version="topics-before", topic_id=2, prev_topic_id=1, relation="split", similarity=0.75)
    return found | {
        "topic": table("topic", topic),
        "topic_version": table("topic_version", version),
        "topic_lineage": table("topic_lineage", [step]),
    }


def publish(warehouse: Warehouse, text: str = "like “A chess set”", texts: Sequence[str] = ()) -> None:
    """Two nights: of Ana, who turns from chess to tea, everything, of Ben a profile; reasons and summaries say `text`.

    `texts` are those of further users, topics, slots and proposals: Ben's.
    """
    warehouse.publish_nights([_night(ds, chess, text, texts) for ds, chess in ((FIRST, 0.75), (SECOND, 0.4375))], topics((), texts))


def _night(ds: dt.date, chess: float, text: str, texts: Sequence[str]) -> NightTables:
    ana, ben = {"ds": ds, "user_key": ANA}, {"ds": ds, "user_key": BEN}
    profile: dict[str, Any] = {
        "ds": ds,
        "lifecycle": "active",
        "cold_level": 2,
        "n_events_30d": 7,
        "n_topics": 2,
        "entropy": 0.5,
        "run_id": "r1",
    }
    profile |= {"summary_en": text, "summary_zh": text}
    held = sorted([(chess, 11), (1 - chess, 2)], reverse=True)
    items = ("i1", "i2") if ds == FIRST else ("i2", "i3")
    proposed: dict[str, Any] = {"via_topic_id": 11, "score": 0.125, "method": "context"}
    metric: dict[str, Any] = {"subject": "recommender", "list_name": "for_you", "variant": "default", "slice_dim": "all", "slice_value": ""}
    metric |= {"ds": ds, "metric": "recall", "k": 10, "baseline": "popularity", "n": 5}
    said = {"reason_text_en": text, "reason_text_zh": text}
    rows: dict[str, list[dict[str, Any]]] = {
        "user_profile": [
            profile | {"user_key": ANA, "top_topic_id": 11},
            profile | {"user_key": BEN},
            *(profile | {"user_key": f"{n:064x}", "summary_en": t, "summary_zh": t} for n, t in enumerate(texts)),
        ],
        "user_interest": [
            interest(ds, ANA, topic, horizon, share, rank) for horizon in ("90d", "7d") for rank, (share, topic) in enumerate(held, 1)
        ]
        + [interest(ds, BEN, 100 + n, "90d", 0.02, n + 1, evidence=EVIDENCE % n) for n in range(len(texts))],
        "user_interest_change": [
            ana
            | {"topic_id": 2, "change": "rising", "share_prev": 0.25, "share_now": 1 - chess, "z": 3.0, "slope": 0.0, "compared_ds": BEFORE}
        ],
        "user_interest_forecast": [
            ana | {"topic_id": 2, "horizon_days": 7, "probability": 0.625, "baseline_probability": 0.25, "rank": 1, "model_version": "f-1"}
        ],
        "user_interest_expansion": [ana | proposed | {"topic_id": 2, "rank": 1, "reason": text}]
        + [ben | proposed | {"topic_id": 100 + n, "rank": n + 1, "reason": t} for n, t in enumerate(texts)],
        "user_segment": [ana | {"segment": "chess players", "score": 1.0, "reason": text}]
        + [ben | {"segment": t, "score": 1.0, "reason": t} for t in texts],
        "user_topn": [slot(ds, ANA, rank, item, topic_id=11, **said) for rank, item in enumerate(items, 1)]
        + [slot(ds, "*", 1, "i3", list_name="popular", **said)]
        + [slot(ds, BEN, n + 1, f"h{n}", reason_text_en=t, reason_text_zh=t) for n, t in enumerate(texts)],
        "item_topic": [{"ds": ds, "item_id": "i1", "topic_id": 11, "weight": 0.5, "rank": 1, "model_version": MODEL}],
        "topic_audience": [{"ds": ds, "topic_id": topic, "horizon": "90d", "n_users": 1, "model_version": MODEL} for topic in (11, 2)],
        "interest_edge": [
            {"ds": ds, "src_topic_id": 11, "dst_topic_id": 2, "relation": "transition", "directed": True}
            | {"n_users": 25, "weight": 0.5, "lift": 2.0}
        ],
        "eval_metric": [metric | {"model_version": model, "value": value} for model, value in (("blend-1", 0.25), ("blend-2", 0.375))],
    }
    return night(ds, {name: table(name, found) for name, found in rows.items()})
