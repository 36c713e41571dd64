"""The graph of topics, and what users may take up next."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pyarrow as pa

from recsys_core.coded import repeated, values_at
from recsys_core.lake import empty
from recsys_core.lake.contents import declared
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    import numpy as np

    from jobs.night import Night
    from recsys_core.expansion.neighbours import Scores
    from recsys_core.expansion.state import Week

_TABLES = ("interest_edge", "user_interest_expansion")
# Rows of user_topic_day, of all nights, that a range of users has.
RANGE_ROWS = 2_000_000


def expand(
    night: Night,
    *,
    min_users: Annotated[int, "users that an edge of the topic graph must have been seen with", range(1, 1_000_001)] = 20,
    collaborative: Annotated[
        Literal["neighbours", "pagerank"], "by users who are alike, or by walks over users, topics and items (up to some 100,000 users)"
    ] = "neighbours",
) -> None:
    """Write interest_edge and user_interest_expansion of the night; sensitive topics have no part in either."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    from recsys_core import expansion, graph
    from recsys_core.expansion import llm, state
    from recsys_core.expansion.neighbours import similar_users
    from recsys_core.topics import tables

    if night.topics is None:
        for table in _TABLES:
            night.write(table, empty(TABLES[table]))
        return
    hidden = night.sensitive
    all_ids, all_centres = tables.centroids(night.lake, night.topics)
    shown = np.array([int(t) not in hidden for t in all_ids], bool)
    ids, centres = all_ids[shown], all_centres[shown]
    topic = {r["topic_id"]: r for r in tables.read_rows(night.lake, night.topics, "topic").to_pylist()}
    labels = [(topic[t]["label_en"], topic[t]["label_zh"]) for t in ids.tolist()]
    words = [json.loads(topic[t]["keywords"]) for t in ids.tolist()]

    taken = _taken(night)
    edges = _counted(night, taken, ids.tolist(), max(min_users, night.release.least))
    alike = graph.similarity(centres, words)
    edges += graph.similar(ids, alike) + graph.taxonomy(*_known(night, topic, ids.tolist(), hidden))
    edges = [{"ds": night.ds, **e} for e in edges if hidden.isdisjoint((e["src_topic_id"], e["dst_topic_id"]))]
    night.write("interest_edge", pa.Table.from_pylist(edges, schema=TABLES["interest_edge"].arrow_schema()))

    said = night.stances
    found = state.week(taken, ids.tolist(), said.prior, night.read("user_interest", columns=["user_key", "topic_id"]), said.muted)
    described = [f"{en} ({', '.join(w)})" for (en, _), w in zip(labels, words, strict=True)]
    leads = {
        "context": alike - np.eye(len(ids)),
        "knowledge": graph.matrix(ids, edges, "taxonomy"),
        "llm": llm.pairs(night.settings.generator(), described, alike, night.lake, night.runner.say),
    }
    peers = _walks(night, found, ids) if collaborative == "pagerank" else similar_users
    with threadpool_limits(1, "blas"):  # blocks of users have threads of their own
        proposed = expansion.expansions(found, leads, peers)
    parts = [_rows(night.ds, method, made, found.users, ids, expansion.reasons(method, labels)) for method, made in proposed.items()]
    night.write("user_interest_expansion", pa.concat_tables(parts).unify_dictionaries())


def _counted(night: Night, taken: pa.Table, ids: list[int], least: int) -> list[dict[str, object]]:
    """Edges that `least` users stand behind; with noise those of topics held together alone, since an order in time would take too much."""
    from recsys_core import graph
    from recsys_core.privacy import release

    rule = night.release
    if rule.epsilon is None:
        counted = graph.counted(taken, night.ds)
        return graph.cooccurrence(counted.held, least) + graph.transitions(counted, least)
    held = graph.counted(release.strongest(taken, rule.cap), night.ds).held
    noisy, spent = release.together(held, ids, night.ds, rule, night.settings.secret())
    release.spend(night.lake, night.ds, "interest_edge", spent)
    return graph.cooccurrence(noisy, least)


def _taken(night: Night) -> pa.Table:
    """What users have to do with topics within the window (`graph.taken`): a range of users at a time, and of those a night at a time."""
    from recsys_core import graph
    from recsys_core.profiles.spread import ranges

    assert night.topics is not None, "only the topics of a model are taken up"
    ds, base, of_model = night.ds, night.event_types.base, {"model_version": night.topics.model_version}
    columns, nights = graph.columns(base), night.nights("user_topic_day")
    live = [night.lake.manifest("user_topic_day", d, **of_model) for d in nights]
    found = []
    for users in ranges(1 + sum(m.rows for m in live if m) // RANGE_ROWS):
        days = (night.lake.read("user_topic_day", [d], columns, users, **of_model) for d in nights)
        found.append(graph.taken(days, ds, base))
    return pa.concat_tables(found).unify_dictionaries()


def _known(
    night: Night, topic: dict[int, Any], ids: list[int], hidden: frozenset[int]
) -> tuple[dict[int, int | None], list[tuple[int, int]]]:
    """(the topic above each, the site's own edges between topics of the night); names of the site's file that are none are said."""
    names = {t: (topic[t]["label_en"], topic[t]["label_zh"]) for t in ids}
    given, unknown = night.settings.taxonomy_edges.between(names)
    known = {n.casefold() for t in hidden & topic.keys() for n in (topic[t]["label_en"], topic[t]["label_zh"], str(t))}
    if strange := [n for n in unknown if n.casefold() not in known]:
        night.runner.say(f"TAXONOMY_EDGE_FILE: no topic of {night.ds} is {', '.join(map(repr, strange[:5]))}{' …' if strange[5:] else ''}")
    return {t: topic[t]["parent_topic_id"] for t in ids}, given


def _rows(ds: dt.date, method: str, made: Any, users: list[str], ids: np.ndarray, reasons: list[str]) -> pa.Table:
    """Proposals as rows of user_interest_expansion."""
    n = len(made.user)
    columns = {
        "ds": pa.repeat(pa.scalar(ds, pa.date32()), n),
        "user_key": values_at(made.user, pa.array(users, pa.string())),
        "topic_id": ids[made.topic],
        "method": repeated(method, n),
        "via_topic_id": ids[made.via],
        "score": made.score,
        "rank": made.rank,
        "reason": values_at(made.via, pa.array(reasons, pa.string())),
    }
    return declared(pa.table(columns), TABLES["user_interest_expansion"])


def _walks(night: Night, found: Week, ids: np.ndarray) -> Scores:
    """Scores by PageRank: what users did with items in the window, up to now and up to seven nights ago, and the items' topics."""
    import numpy as np
    import pyarrow.compute as pc
    from scipy import sparse

    from recsys_core.expansion.pagerank import walks
    from recsys_core.graph import AHEAD_DAYS

    topics = night.read("item_topic", 1, ["item_id", "topic_id", "weight"])
    items = pc.unique(topics["item_id"]).sort()
    cut, users = night.ds - dt.timedelta(days=AHEAD_DAYS), pa.array(found.users, pa.string())

    def spread(frame: pa.Table, row: Any, column: Any, value: str, shape: tuple[int, int]) -> Any:
        kept = pc.and_(row.is_valid(), column.is_valid())
        at = [c.filter(kept).to_numpy() for c in (frame[value], row, column)]
        return sparse.csr_matrix((at[0].astype(np.float64), (at[1], at[2])), shape=shape)

    done = []
    for last in (cut, night.ds):
        nights = [d for d in night.nights("user_item_day") if d <= last]
        days = night.lake.read("user_item_day", nights, ["user_key", "item_id", "n_events"])
        places = (
            pc.index_in(days["user_key"].cast(pa.string()), users),
            pc.index_in(days["item_id"].cast(pa.string()), items.cast(pa.string())),
        )
        done.append(spread(days, *places, "n_events", (len(users), len(items))))
    places = pc.index_in(topics["item_id"], items), pc.index_in(topics["topic_id"], pa.array(ids, pa.int64()))
    return walks([(found.before, done[0]), (found.now, done[1])], spread(topics, *places, "weight", (len(items), len(ids))))
