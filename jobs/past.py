"""What lists are made from, as the nightly lists and the training of their ranker read it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from recsys_core.kept import Kept, encoded

if TYPE_CHECKING:
    import pyarrow as pa
    from pyspark.sql import SparkSession

    from jobs.night import Night
    from recsys_core.recommenders.history import History

# From job to job and from night to night. Of a night of 100,000 events, 64,000 facts of 43 bytes, 18,000 sessions of 36 and 1,200
# ratings of 96 are 3.5 MB: 315 MB for 90 nights. 340,000 slots of 10,000 users are 13.3 MB: 106 MB tonight and the seven nights before.
_kept, _lists = Kept(320 << 20), Kept(128 << 20)
LISTED = [
    "ds",
    "user_key",
    "list_name",
    "variant",
    "rank",
    "item_id",
    "source",
    "exploration",
    "reason_code",
    "evidence_item_id",
    "model_version",
]


@dataclass(frozen=True)
class Past:
    """Everything up to a night.

    history    users' languages and items' vectors among the interactions
    languages  those that the groups of the interactions stand for
    catalogue  all columns of `item`
    sessions   user_key, lang, region
    topics     item_id, topic_id, weight, rank (empty without a topic model)
    """

    history: History
    languages: list[str]
    catalogue: pa.Table
    sessions: pa.Table
    topics: pa.Table


def read(night: Night) -> Past:
    """The past of a night, from the tables that its job reads."""
    from recsys_core.recommenders import history

    catalogue = night.read("item")
    texts = night.read("item_text", columns=["item_id", "text_hash"])
    past = history.build(facts(night), catalogue["item_id"].to_pylist(), night.ds)
    vectors = history.item_vectors(past, texts["item_id"], night.vectors(texts["text_hash"].to_pylist()))
    topics = night.read("item_topic", columns=["item_id", "topic_id", "weight", "rank"])
    come = sessions(night)
    languages, group = history.usual(come, "lang", past.users)
    known = replace(past.interactions, group=group, vectors=vectors)
    return Past(replace(past, interactions=known), languages, catalogue, come, topics)


def facts(night: Night) -> pa.Table:
    """What the nights of a job's user_item_day hold as of `history.reduce_night`."""
    import pyarrow as pa

    return pa.concat_tables(by_night(night))


def by_night(night: Night) -> Iterator[pa.Table]:
    """The same, one night after the other; a night of equal contents is read once in a process."""
    from recsys_core.recommenders import history

    def of_night(ds: dt.date) -> pa.Table:
        made = night.lake.manifest("user_item_day", ds)
        key = (ds, made.checksum if made else None, *sorted(night.event_types.base.items()))
        return _kept.of(
            key, lambda: history.in_order(history.reduce_night(night.lake.read("user_item_day", [ds], history.COLUMNS), night.event_types))
        )

    return map(of_night, night.nights("user_item_day"))


def sessions(night: Night) -> pa.Table:
    """ds, user_key, lang and region of the sessions of a job's nights, texts as dictionaries; a night is read once in a process."""
    return _encoded(night, "session", night.nights("session"), ["user_key", "lang", "region"])


def contexts(night: Night, back: int) -> pa.Table:
    """ds, user_key, item_id and daypart of a job's user_item_context_day, of the last `back` of them, in the same way."""
    table = "user_item_context_day"
    nights = [d for d in night.nights(table) if (night.ds - d).days < back]
    return _encoded(night, table, nights, ["user_key", "item_id", "daypart"])


def _encoded(night: Night, table: str, nights: list[dt.date], columns: list[str]) -> pa.Table:
    import pyarrow as pa

    def of_night(ds: dt.date) -> pa.Table:
        made = night.lake.manifest(table, ds)
        rows = _kept.of((table, made.checksum if made else None), lambda: encoded(night.lake.read(table, [ds], columns)))
        return rows.append_column("ds", pa.repeat(pa.scalar(ds, pa.date32()), rows.num_rows))

    nothing = encoded(night.lake.read(table, [], [*columns, "ds"]))
    return pa.concat_tables([nothing, *map(of_night, nights)])


def ratings(night: Night) -> pa.Table:
    """All ratings up to the night: ds, user_key, item_id, rating."""
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = ["ds", "user_key", "item_id", "rating"]

    def of_night(ds: dt.date) -> pa.Table:
        def given() -> pa.Table:
            rows = night.lake.read("user_item_day", [ds], columns)
            return rows.filter(pc.is_valid(rows["rating"]))

        made = night.lake.manifest("user_item_day", ds)
        return _kept.of(("ratings", ds, made.checksum if made else None), given)

    found = [*map(of_night, night.nights("user_item_day"))]
    return pa.concat_tables(found) if found else night.lake.read("user_item_day", [], columns)


def lists(night: Night, ds: dt.date) -> pa.Table:
    """LISTED of the lists of one night, texts as dictionaries; of a large shop those of all nights would not lie in memory together."""
    made = night.lake.manifest("user_topn", ds)
    return _lists.of((ds, made.checksum if made else None), lambda: encoded(night.lake.read("user_topn", [ds], LISTED)))


def cluster(night: Night) -> SparkSession | None:
    """The session on which recommenders learn that can; None where they learn in this process."""
    return night.spark if night.settings.recommend_on == "spark" else None
