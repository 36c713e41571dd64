"""Vectors of texts, and topics of what they stand for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.as_of import end_of
from recsys_core import registry
from recsys_core.lake import STAGING, LakeError, digest, empty
from recsys_core.tables import TABLES
from recsys_core.texts import language

if TYPE_CHECKING:
    from jobs.night import Night
    from jobs.runner import Runner
    from recsys_core.topics.tables import Topics


def fit_encoder(night: Night, *, refit: Annotated[bool, "fit anew although a fitted version is in use"] = False) -> None:
    """See that there is an encoder for the training, registered, and that the vectors of its nights are in its space.

    An encoder that is fitted (ENCODER=lsa) is fitted on the texts of the nights up to ds when none was yet, and is then kept: a new one
    would be another space, in which every text is embedded anew.
    """
    from recsys_core.encoders import FITTED, versions

    settings, lake, runner = night.settings, night.lake, night.runner
    tomorrow = night.ds + dt.timedelta(days=1)
    version = versions.valid_for(lake, settings.encoder, tomorrow)
    if settings.encoder in FITTED and (version is None or refit):
        version = _fitted(night, tomorrow)
    if version is None:
        raise LakeError(f"no {settings.encoder} encoder is in use: see `python -m jobs fine_tune --help`, or set ENCODER to another")
    version = versions.registered(lake, version)
    runner.say(f"{night.ds.isoformat()} fit_encoder: {version.model_version}")
    for ds in night.nights("item_text"):
        runner.run("embed", ds, trigger=night.trigger, under=version)


def _fitted(night: Night, valid_from: dt.date) -> registry.ModelVersion | None:
    """A new version of the encoder that is set, fitted on the texts of the nights up to ds; None for one that is not fitted on texts."""
    from recsys_core import encoders
    from recsys_core.encoders import versions

    name, ds = night.settings.encoder, night.ds.isoformat()
    fit = encoders.fitter(name)
    if fit is None:
        return None
    nights, texts = night.nights("item_text"), _texts(night)
    if not texts:
        raise LakeError(f"no night up to {ds} has texts: run `python -m jobs nights --jobs clean,aggregate,texts` on some first")
    fingerprint, kind = digest([list(i) for i in night.stamp.inputs]), versions.kind_of(name)
    made = registry.version_name(kind, night.ds, fingerprint, {"encoder": name})
    version = registry.ModelVersion(
        made, kind, nights[0].isoformat(), ds, valid_from.isoformat(), {"encoder": name}, fingerprint, night.stamp.code, made
    )
    try:
        version = registry.register(night.lake, version, fit([texts[h] for h in sorted(texts)]))
    except ValueError as error:
        raise LakeError(f"{name} cannot be fitted on the texts of the {len(nights)} nights up to {ds}: {error}") from error
    end = end_of(night.ds, night.settings)
    registry.promote(night.lake, version, end, night.runner.now or end, "fitted for the training")
    return versions.valid_for(night.lake, name, valid_from)


def embed(
    night: Night,
    *,
    embed_behaviour_text: Annotated[bool, "also embed the nightly descriptions of users' behaviour"] = False,
    device: Annotated[Literal["auto", "cpu", "cuda"], "where the encoder runs; auto: as the setting DEVICE says"] = "auto",
) -> None:
    """Write vectors of the night's texts that no other night has embedded; what the night embedded before is kept.

    Vectors that `embed_shard` left are taken up; only what none of them has is encoded here.
    """
    lake, space = night.lake, _space(night)
    texts, own = _new_texts(night, embed_behaviour_text)
    made_by = {}
    if manifest := lake.manifest("text_embedding", night.ds, embedding_space=space):
        made_by = dict(manifest.models)
    left = _left_by_shards(night, texts)
    taken = set(left["text_hash"].to_pylist())
    rest = {h: text for h, text in texts.items() if h not in taken}
    parts = [own, left]
    if rest:
        fresh, how = _encoded(night, rest, device)
        parts.append(fresh)
        made_by |= how
    night.write("text_embedding", pa.concat_tables(parts), **made_by)
    lake.remove(_shards(night))


def embed_shard(runner: Runner, ds: dt.date, part: int, of: int, embed_behaviour_text: bool = False, device: str = "auto") -> None:
    """Encode the part-th of `of` shards of the night's new texts, by their hashes, and leave the vectors for `embed`.

    So several workers, each with its own GPU, share a night. A shard that is lost is encoded by `embed` itself.
    """
    for under in runner.models_for("embed", ds):
        night = runner.prepared("embed", ds, under)
        texts, _ = _new_texts(night, embed_behaviour_text)
        mine = {h: text for h, text in texts.items() if int(h[:16], 16) % of == part - 1}
        rows = _encoded(night, mine, device)[0] if mine else TABLES["text_embedding"].arrow_schema().empty_table()
        sink = pa.BufferOutputStream()
        pq.write_table(rows, sink)
        night.lake.write_bytes(f"{_shards(night)}/{part}-of-{of}.parquet", sink.getvalue().to_pybytes())
        runner.say(f"{ds.isoformat()} embed_shard {part} of {of}: {len(mine):,} of {len(texts):,} new texts")


def _space(night: Night) -> str:
    assert night.space is not None, "without an encoder the job does not run"
    return night.space


def _shards(night: Night) -> str:
    """Where shards of the night's vectors wait for the run that writes them into the table."""
    return f"{STAGING}/embed_shards/{_space(night)}/ds={night.ds.isoformat()}"


def _left_by_shards(night: Night, wanted: Collection[str]) -> pa.Table:
    """The vectors of wanted texts that shards left, by the hash; a text is there once, however the night was cut."""
    parts = [TABLES["text_embedding"].arrow_schema().empty_table()]
    left = set(wanted)
    for name in night.lake.names(_shards(night)):
        rows = pq.read_table(pa.BufferReader(night.lake.read_bytes(f"{_shards(night)}/{name}")), schema=parts[0].schema)
        parts.append(rows.filter(pc.is_in(rows["text_hash"], pa.array(sorted(left), pa.string()))))
        left -= set(parts[-1]["text_hash"].to_pylist())
    return pa.concat_tables(parts).sort_by("text_hash")


def _texts(night: Night, *more_kinds: str) -> dict[str, str]:
    """Hash → text of all that the job's nights say of items, and of the reviews and searches of users, and of `more_kinds` of theirs."""
    users = night.read("user_text", columns=["kind", "text_hash", "text"])
    users = users.filter(pc.is_in(users["kind"], pa.array(["review", "search", *more_kinds])))
    texts: dict[str, str] = {}
    for rows in (night.read("item_text", columns=["text_hash", "text"]), users):
        texts.update(zip(rows["text_hash"].to_pylist(), rows["text"].to_pylist(), strict=True))
    return texts


def _new_texts(night: Night, embed_behaviour_text: bool) -> tuple[dict[str, str], pa.Table]:
    """(hash → text of what has no vector yet, the vectors that the night wrote before); the share that is known already is said."""
    lake, space = night.lake, _space(night)
    texts = _texts(night, *(["behaviour"] if embed_behaviour_text else [])) | _terms(night)
    store = night.runner.vectors(space)
    store.refresh()
    new = {h: texts[h] for h in store.missing(texts)}
    own = empty(TABLES["text_embedding"])
    if lake.manifest("text_embedding", night.ds, embedding_space=space):
        own = lake.read("text_embedding", [night.ds], embedding_space=space)
    hit = 1 - len(new) / len(texts) if texts else 1.0
    night.runner.say(f"{night.ds.isoformat()} embed: {len(texts):,} distinct texts, {len(new):,} of them new ({hit:.1%} known)")
    return new, own


def _terms(night: Night) -> dict[str, str]:
    """Hash → term, of those in which users declared interests and mutes."""
    rows = night.read("declared_interest", 1, ["text_hash", "term"]).drop_null()
    return dict(sorted(zip(rows["text_hash"].to_pylist(), rows["term"].to_pylist(), strict=True)))


def _encoded(night: Night, texts: Mapping[str, str], device: str) -> tuple[pa.Table, Mapping[str, str]]:
    """(rows of text_embedding for texts by hash, by the hash, how they were made)."""
    from recsys_core.encoders import FITTED, versions

    settings, lake, space = night.settings, night.lake, _space(night)
    where, backend = settings.device if device == "auto" else device, settings.encoder_backend
    name, _ = versions.encoder_of(lake, space, settings.encoder)
    if settings.embed_on == "spark" and name not in FITTED:  # the files of a fitted one are in the lake, and it is quick
        from recsys_core.encoders.spark_udf import BATCH_ROWS, embed_frame

        given = pa.table({"text_hash": pa.array(texts.keys(), pa.string()), "text": pa.array(texts.values(), pa.string())})
        spread = night.spark.createDataFrame(given).repartition(1 + len(texts) // BATCH_ROWS, "text_hash")
        found = embed_frame(spread, name, where, backend).toArrow().sort_by("text_hash")
        vectors = np.array(found["vector"].to_pylist(), np.float32)
        return _rows(night, found["text_hash"].to_pylist(), vectors), {"device": "spark"}
    encoder = versions.open_space(lake, space, settings.encoder, where, backend)
    hashes = sorted(texts)
    return _rows(night, hashes, encoder.encode([texts[h] for h in hashes], night.runner.say)), encoder.made_by


def _rows(night: Night, hashes: list[str], vectors: np.ndarray) -> pa.Table:
    """Rows of text_embedding."""
    return pa.table(
        {
            "ds": pa.repeat(pa.scalar(night.ds, pa.date32()), len(hashes)),
            "text_hash": pa.array(hashes, pa.string()),
            "embedding_space": pa.repeat(pa.scalar(_space(night)), len(hashes)),
            "vec": [vector.astype("<f2").tobytes() for vector in vectors],
        },
        schema=TABLES["text_embedding"].arrow_schema(),
    )


def assign_topics(night: Night) -> None:
    """Write item_topic and user_topic_day of the night under the topic model that the run is for."""
    from recsys_core.topics import assign
    from recsys_core.topics.tables import load_topics

    version = night.topics
    if version is None:
        raise LakeError(f"no topic model is valid for {night.ds.isoformat()}: run `python -m jobs training` of an earlier night")
    topics = load_topics(night.lake, version)
    # Of an item with several texts the one with the lowest hash speaks for it.
    texts = night.read("item_text", columns=["item_id", "text_hash", "text", "lang"])
    texts = texts.sort_by([("item_id", "ascending"), ("text_hash", "ascending")])
    ids = texts["item_id"].to_numpy()
    texts = texts.filter(pa.array(np.append([True] * min(len(ids), 1), ids[1:] != ids[:-1]).astype(bool)))
    items = assign.item_topic(texts["item_id"].to_pylist(), _documents(night, topics, texts), topics, night.ds, version.model_version)
    night.write("item_topic", items)
    night.write("declared_topic", _declared_topics(night, topics, version.model_version))

    # A search that led to an item is among the item's events already.
    asked = night.read("user_text", columns=["user_key", "kind", "item_id", "text_hash", "text", "lang", "n_events"])
    asked = asked.filter(pc.and_(pc.equal(asked["kind"], "search"), pc.is_null(asked["item_id"])))
    queries = assign.search_topics(asked["user_key"].to_pylist(), asked["n_events"].to_pylist(), _documents(night, topics, asked), topics)
    manifest = night.lake.manifest("user_item_day", night.ds)
    if manifest is None or manifest.rows < night.settings.spark_from_rows:
        days = assign.topic_days(night.read("user_item_day"), items, queries, night.ds, version.model_version)
        night.write("user_topic_day", days)
        return
    spark = night.spark
    spread = spark.createDataFrame(items), spark.createDataFrame(queries)
    night.write("user_topic_day", assign.user_topic_day(night.scan("user_item_day"), *spread, night.ds, version.model_version))


def _declared_topics(night: Night, topics: Topics, model_version: str) -> pa.Table:
    """Rows of declared_topic."""
    from recsys_core.declared import declared_topics, topics_of_terms

    terms = _terms(night)
    said = pa.table({"text_hash": [*terms], "text": [*terms.values()], "lang": [language(t) for t in terms.values()]})
    of_term = topics_of_terms([*terms.values()], topics.assign(_documents(night, topics, said))) if terms else {}
    return declared_topics(night.ds, night.read("declared_interest", 1), of_term, set(topics.ids.tolist()), model_version)


def _documents(night: Night, topics: Topics, texts: pa.Table) -> Any:
    """Texts (text_hash, text, lang) as the topic model takes them."""
    hashes, said, langs = (texts[c].to_pylist() for c in ("text_hash", "text", "lang"))
    return topics.documents(hashes, said, langs, night.vectors)
