"""Names in texts, and the interests that texts belong to; the head that tells them from item categories."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.as_of import end_of
from recsys_core import registry
from recsys_core.lake import canonical_json, digest, empty
from recsys_core.tables import TABLES

if TYPE_CHECKING:
    from jobs.night import Night
    from recsys_core.annotate.classify import Taxonomy

# Kinds of models that give labels.
HEAD, TAXONOMY = "text_head", "text_taxonomy"


def annotate(night: Night) -> None:
    """Write text_entity and text_label of the night: of what items say and of what users wrote and searched for."""
    from recsys_core.annotate import entities, models

    settings = night.settings
    items = night.read("item_text", columns=["item_id", "text_hash", "text"])
    users = night.read("user_text", columns=["kind", "text_hash", "text"])
    users = users.filter(pc.is_in(users["kind"], pa.array(["review", "search"]))).select(["text_hash", "text"])
    texts = pa.concat_tables([items.select(["text_hash", "text"]), users])
    texts = texts.group_by("text_hash").aggregate([("text", "min")]).sort_by("text_hash").combine_chunks()
    finders: dict[str, entities.Finder] = {
        "gazetteer": entities.Gazetteer(entities.names_of(night.read("item", columns=["brand", "tags", "deleted"])))
    }
    if settings.entity_model:
        model = models.EntityModel(settings.entity_model, settings.device)
        finders[model.source] = model
    found = [b for source, find in finders.items() for b in entities.text_entities(texts.to_batches(), night.ds, find, source)]
    night.write("text_entity", pa.Table.from_batches(found, TABLES["text_entity"].arrow_schema()))
    night.write("text_label", _labels(night, items, texts["text_hash"].to_pylist()))


def _labels(night: Night, items: pa.Table, hashes: list[str]) -> pa.Table:
    """Rows of text_label, by the head that is valid for the night and by the site's taxonomy; none where there is neither."""
    from recsys_core.annotate import classify

    table, rows = TABLES["text_label"], []
    head, taxonomy = registry.valid_for(night.lake, HEAD, night.ds), night.settings.taxonomy
    if head and head.embedding_space != night.space:
        night.runner.say(
            f"{night.ds} annotate: {head.model_version} reads vectors of {head.embedding_space}, not of {night.space}: left out"
        )
        head = None
    if not hashes or night.space is None or not (head or taxonomy):
        return empty(table)
    vectors = night.vectors(hashes)
    if head:
        trained = classify.LinearHead.of(registry.arrays_from_bytes(registry.load(night.lake, head, "head.npz")))
        found = classify.chosen(trained.probabilities(vectors), trained.threshold, 1)
        rows += [(night.ds, hashes[row], trained.labels[label], round(score, 6), head.model_version) for row, label, score in found]
    if taxonomy:
        version, label_vectors = _embedded(night, taxonomy)
        scores = classify.similarities(vectors, label_vectors, taxonomy.texts()[1])
        threshold = _threshold(night, taxonomy, items, dict(zip(hashes, scores, strict=True)))
        found = classify.chosen(scores, threshold)
        rows += [(night.ds, hashes[row], taxonomy.labels[label], round(score, 6), version) for row, label, score in found]
    return pa.Table.from_pylist([dict(zip(table.names, row, strict=True)) for row in rows], schema=table.arrow_schema())


def _embedded(night: Night, taxonomy: Taxonomy) -> tuple[str, np.ndarray]:
    """(version, vectors) of the taxonomy's texts in the night's embedding space; made once and registered."""
    from recsys_core.encoders.versions import open_space

    lake, settings, space = night.lake, night.settings, night.space
    assert space is not None, "there are vectors"
    texts, _ = taxonomy.texts()
    fingerprint, first = digest([list(taxonomy.labels), texts]), dt.date.min
    name = registry.version_name(TAXONOMY, first, fingerprint, {"encoder": space})
    version = registry.find(lake, TAXONOMY, name)
    if version is None:
        vectors = open_space(lake, space, settings.encoder, settings.device).encode(texts)
        day = first.isoformat()
        version = registry.ModelVersion(name, TAXONOMY, day, day, day, {"encoder": space}, fingerprint, night.stamp.code, space)
        version = registry.register(lake, version, {"labels.npz": registry.arrays_to_bytes(vectors=vectors)})
    found = registry.arrays_from_bytes(registry.load(lake, version, "labels.npz"))["vectors"].astype(np.float32)
    return name, found / np.linalg.norm(found, axis=1, keepdims=True)


def _threshold(night: Night, taxonomy: Taxonomy, items: pa.Table, scores: dict[str, np.ndarray]) -> float:
    """Cosine from which a label holds: chosen on every other item whose category is a label, and said with its F1 on the rest."""
    from recsys_core.annotate import classify

    place = {label: i for i, label in enumerate(taxonomy.labels)}
    rows = night.read("item", columns=["item_id", "category"])
    category = dict(zip(rows["item_id"].to_pylist(), rows["category"].to_pylist(), strict=True))
    known = sorted(
        (h, place[c])
        for i, h in zip(items["item_id"].to_pylist(), items["text_hash"].to_pylist(), strict=True)
        if (c := category.get(i)) in place
    )
    if len(known) < classify.MIN_KNOWN:
        return classify.THRESHOLD
    given, truth = np.stack([scores[h] for h, _ in known]), np.array([c for _, c in known])
    threshold, _ = classify.tuned(given[::2], truth[::2])
    rest = given[1::2]
    f1 = classify.f1_at(rest.max(axis=1), rest.argmax(axis=1) == truth[1::2], threshold)
    night.runner.say(f"{night.ds} annotate: labels from a cosine of {threshold:.2f} on, F1 {f1:.3f} on {len(rest):,} held-out items")
    return threshold


def fit_labels(
    night: Night,
    *,
    seed: Annotated[int, "seed of what is held out", range(2**31)] = 0,
    min_items: Annotated[int, "items that a category must have", range(2, 1_000_001)] = 20,
    force: bool = False,
) -> None:
    """Register a linear head that tells the categories of the night's items from their vectors, valid from the next night.

    It comes into use when the low end of its held-out accuracy is above always naming the commonest category.
    """
    from recsys_core.annotate import classify

    lake, say, ds = night.lake, night.runner.say, night.ds.isoformat()
    rows = night.read("item", columns=["item_id", "category", "deleted"]).to_pylist()
    category = {r["item_id"]: r["category"] for r in rows if r["category"] and not r["deleted"]}
    texts = (
        night.read("item_text", columns=["item_id", "text_hash"]).group_by("item_id").aggregate([("text_hash", "min")]).sort_by("item_id")
    )
    pairs = [
        (h, category[i]) for i, h in zip(texts["item_id"].to_pylist(), texts["text_hash_min"].to_pylist(), strict=True) if i in category
    ]
    counts = Counter(c for _, c in pairs)
    pairs = [(h, c) for h, c in pairs if counts[c] >= min_items]
    if len({c for _, c in pairs}) < 2:
        say(f"{ds} fit_labels: fewer than two categories have {min_items} items: no head")
        return
    params = {"seed": seed, "min_items": min_items, "encoder": night.space}
    fingerprint = digest([list(p) for p in pairs])
    name = registry.version_name(HEAD, night.ds, fingerprint, params)
    if force or registry.find(lake, HEAD, name) is None:
        head, metrics = classify.fit_head(night.vectors([h for h, _ in pairs]), [c for _, c in pairs], seed)
        valid = (night.ds + dt.timedelta(days=1)).isoformat()
        version = registry.ModelVersion(
            name, HEAD, ds, ds, valid, params | {"held_out": metrics}, fingerprint, night.stamp.code, night.space
        )
        version = registry.register(lake, version, {"head.npz": registry.arrays_to_bytes(**head.arrays())})
        better = metrics["accuracy_ci_low"] > metrics["majority_accuracy"]
        if better:
            end = end_of(night.ds, night.settings)
            registry.promote(lake, version, end, night.runner.now or end, canonical_json(metrics))
        n, right, common = (metrics[m] for m in ("n", "accuracy", "majority_accuracy"))
        said = f"accuracy {right:.3f} on {n:.0f} held-out items, {common:.3f} by the commonest category"
        say(f"{ds} fit_labels: {len(head.labels)} categories of {len(pairs):,} items: {said}{'' if better else ': not used'}")
    say(f"{ds} fit_labels: {name}")
