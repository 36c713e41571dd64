"""Interests of users and what lies near them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import pyarrow as pa

from recsys_core.lake import empty
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from jobs.runner import Night


def profile(night: Night) -> None:
    """Write user_interest, user_profile and user_history_text of the night."""
    from recsys_core import profiles
    from recsys_core.topics.tables import labels
    from recsys_core.user_texts import history_texts

    if night.topics is None:
        night.write("user_interest", empty(TABLES["user_interest"]))
    else:
        held = profiles.user_interest(
            night.scan("user_topic_day"),
            night.scan("user_item_day"),
            night.scan("item_topic"),
            night.ds,
            night.topics.model_version,
            night.stamp.run_id,
            night.event_types,
        )
        night.write("user_interest", held)
    # Of an item with several texts the one with the lowest hash, the last one here, stands for it.
    texts = night.read("item_text", columns=["item_id", "text_hash"]).sort_by([("item_id", "ascending"), ("text_hash", "descending")])
    weights = profiles.item_weights(night.scan("user_item_day"), night.ds, weights=night.event_types).toArrow()
    vectors = profiles.pooled_vectors(weights, texts["item_id"].to_pylist(), night.vectors(texts["text_hash"].to_pylist()))
    rows = profiles.user_profile(
        night.read("session", columns=["ds", "user_key", "n_events"]),
        night.lake.read("user_interest", [night.ds]),
        vectors,
        labels(night.lake, night.topics),
        night.ds,
        night.space,
        night.topics.model_version if night.topics else None,
        night.stamp.run_id,
    )
    night.write("user_profile", pa.Table.from_pylist(rows, schema=TABLES["user_profile"].arrow_schema()))
    tonight = night.read("session", 1, ["user_key", "lang"])
    night.write("user_history_text", history_texts(night.ds, weights, night.read("item", columns=["item_id", "title"]), tonight))


def expand(
    night: Night, *, min_users: Annotated[int, "users that an edge of the topic graph must have been seen with", range(1, 1_000_001)] = 20
) -> None:
    """Write interest_edge and user_interest_expansion of the night."""
    import numpy as np

    from recsys_core import expand as expansion
    from recsys_core import graph
    from recsys_core.topics.tables import centroids, labels

    if night.topics is None:
        night.write("interest_edge", empty(TABLES["interest_edge"]))
        night.write("user_interest_expansion", empty(TABLES["user_interest_expansion"]))
        return
    held, then = graph.counted(night.scan("user_topic_day"), night.ds)
    topic_ids, centres = centroids(night.lake, night.topics)
    edges = graph.cooccurrence(held, min_users) + graph.transitions(then, min_users) + graph.similar(topic_ids, centres)
    edge_rows = pa.Table.from_pylist([{"ds": night.ds, **e} for e in edges], schema=TABLES["interest_edge"].arrow_schema())
    night.write("interest_edge", edge_rows)

    interests = night.read("user_interest", columns=["user_key", "topic_id", "horizon", "share"]).to_pylist()
    users = sorted({r["user_key"] for r in interests if r["horizon"] == "90d"})
    row_of, column_of = {u: i for i, u in enumerate(users)}, {int(t): i for i, t in enumerate(topic_ids)}
    shares = np.zeros((len(users), len(topic_ids)))
    for r in interests:
        if r["horizon"] == "90d" and r["topic_id"] in column_of:
            shares[row_of[r["user_key"]], column_of[r["topic_id"]]] = r["share"]
    names, rows = labels(night.lake, night.topics), []
    words = {"context": ("similar", "close to {}"), "collaborative": ("cooccur", "people who like {} also like this")}
    for method, (relation, reason) in words.items():
        matrix = expansion.neighbour_matrix(topic_ids, edges, relation)
        for row, column, via, score, rank in expansion.expansions(shares, matrix, shares > 0):
            via_id = int(topic_ids[via])
            rows.append((night.ds, users[row], int(topic_ids[column]), method, via_id, score, rank, reason.format(names[via_id][0])))
    schema = TABLES["user_interest_expansion"].arrow_schema()
    found = pa.Table.from_pylist([dict(zip(schema.names, r, strict=True)) for r in rows], schema=schema)
    night.write("user_interest_expansion", found)
