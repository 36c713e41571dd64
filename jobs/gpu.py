"""Vectors of texts, and topics of what they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from jobs.runner import Night


def embed(
    night: Night,
    *,
    embed_behaviour_text: Annotated[bool, "also embed the nightly descriptions of users' behaviour"] = False,
    device: Annotated[Literal["auto", "cpu", "cuda"], "where the encoder runs; auto: as the setting DEVICE says"] = "auto",
) -> None:
    """Write vectors of the night's texts that no other night has embedded; what the night embedded before is kept."""
    from recsys_core import encoders

    settings, lake, say = night.settings, night.lake, night.runner.say
    space = encoders.space_of(settings.encoder)
    users = night.read("user_text", columns=["kind", "text_hash", "text"])
    kinds = ["review", "search", *(["behaviour"] if embed_behaviour_text else [])]
    users = users.filter(pc.is_in(users["kind"], pa.array(kinds)))
    texts: dict[str, str] = {}
    for rows in (night.read("item_text", columns=["text_hash", "text"]), users):
        texts.update(zip(rows["text_hash"].to_pylist(), rows["text"].to_pylist(), strict=True))

    built = lake.nights("text_embedding", embedding_space=space)
    elsewhere = lake.read("text_embedding", [d for d in built if d != night.ds], ["text_hash"], embedding_space=space)
    own = lake.read("text_embedding", [d for d in built if d == night.ds], embedding_space=space)
    new = sorted(set(texts) - set(elsewhere["text_hash"].to_pylist()) - set(own["text_hash"].to_pylist()))
    hit = 1 - len(new) / len(texts) if texts else 1.0
    say(f"{night.ds.isoformat()} embed: {len(texts):,} distinct texts, {len(new):,} of them new ({hit:.1%} known)")
    fresh, made_by = own.slice(0, 0), {"encoder": space}
    if manifest := lake.manifest("text_embedding", night.ds, embedding_space=space):
        made_by = {**manifest.models, **made_by}
    if new:
        encoder = encoders.load(settings.encoder, settings.device if device == "auto" else device)
        made_by["device"] = encoder.device
        vectors = encoder.encode([texts[h] for h in new], say)
        fresh = pa.table(
            {
                "ds": pa.repeat(pa.scalar(night.ds, pa.date32()), len(new)),
                "text_hash": new,
                "embedding_space": pa.repeat(pa.scalar(space), len(new)),
                "vec": [vector.astype("<f2").tobytes() for vector in vectors],
            },
            schema=TABLES["text_embedding"].arrow_schema(),
        )
    night.write("text_embedding", pa.concat_tables([own, fresh]), **made_by)


def assign_topics(night: Night) -> None:
    """Write item_topic and user_topic_day of the night under the topic model that the run is for."""
    from recsys_core.encoders import space_of
    from recsys_core.lake import LakeError, empty
    from recsys_core.topics import assign
    from recsys_core.topics.tables import load_topics

    version = night.topics
    if version is None:
        raise LakeError(f"no topic model is valid for {night.ds.isoformat()}: run `python -m jobs training` of an earlier night")
    if version.embedding_space != (space := space_of(night.settings.encoder)):
        raise LakeError(
            f"{version.model_version} was trained on vectors of {version.embedding_space}, not of {space}: train again or set ENCODER back"
        )
    topics = load_topics(night.lake, version)
    # Of an item with several texts the one with the lowest hash speaks for it.
    texts = (
        night.read("item_text", columns=["item_id", "text_hash"]).group_by("item_id").aggregate([("text_hash", "min")]).sort_by("item_id")
    )
    items = assign.item_topic(
        texts["item_id"].to_pylist(), night.vectors(texts["text_hash_min"].to_pylist()), topics, night.ds, version.model_version
    )
    night.write("item_topic", items)

    # A search that led to an item is among the item's events already.
    asked = night.read("user_text", columns=["user_key", "kind", "item_id", "text_hash", "n_events"])
    asked = asked.filter(pc.and_(pc.equal(asked["kind"], "search"), pc.is_null(asked["item_id"])))
    queries = assign.search_topics(
        asked["user_key"].to_pylist(), asked["n_events"].to_pylist(), night.vectors(asked["text_hash"].to_pylist()), topics
    )
    manifest = night.lake.manifest("user_item_day", night.ds)
    if not queries.num_rows and (manifest is None or not manifest.rows or not items.num_rows):
        night.write("user_topic_day", empty(TABLES["user_topic_day"]))
        return
    spark = night.spark
    rows = assign.user_topic_day(
        night.scan("user_item_day"), spark.createDataFrame(items), spark.createDataFrame(queries), night.ds, version.model_version
    )
    night.write("user_topic_day", rows)
