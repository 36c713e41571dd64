"""Vectors, topics of a night and training, as jobs over a small lake with the real encoder."""

from __future__ import annotations

import datetime as dt
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.evaluate import _topic_rows
from jobs.night import Night
from jobs.runner import ParameterError, Runner
from jobs.settings import Settings
from recsys_core import encoders, registry
from recsys_core.events import COUNTED_TYPES
from recsys_core.lake import LakeError, Stamp
from recsys_core.tables import TABLES
from recsys_core.texts import text_hash
from recsys_core.topics import assign, tables
from recsys_core.warehouse import connect

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

D1, D2, D3 = (dt.date(2024, 5, day) for day in (1, 2, 3))
SPACE = encoders.space_of(Settings.model_fields["encoder"].default)
BOOTS = [
    f"{word} hiking boots for {place} trails"
    for word in ("light", "waterproof", "sturdy")
    for place in ("alpine", "muddy", "forest", "desert")
]
CAKES = [
    f"{word} chocolate cake baked with {what}"
    for word in ("moist", "dark", "layered")
    for what in ("butter", "cream", "almonds", "cherries")
]
ITEMS = {f"i{n:02}": text for n, text in enumerate([t for pair in zip(BOOTS, CAKES, strict=True) for t in pair])}
LATE = {"late1": "warm wool socks for hiking boots", "late2": "chocolate muffins baked with cherries"}


def rows(table: str, found: list[dict[str, Any]]) -> pa.Table:
    """Rows with nulls and zeros where nothing is said."""
    schema = TABLES[table].arrow_schema()
    zeros = {f.name: 0 for f in schema if pa.types.is_integer(f.type) or (pa.types.is_floating(f.type) and not f.nullable)}
    return pa.Table.from_pylist([zeros | r for r in found], schema=schema)


def item_texts(ds: dt.date, items: dict[str, str]) -> pa.Table:
    said = [{"ds": ds, "item_id": i, "text_hash": text_hash(t), "lang": "en", "kind": "title", "text": t} for i, t in items.items()]
    return rows("item_text", said)


def user_texts(ds: dt.date, found: list[tuple[str, str, str, str | None]]) -> pa.Table:
    """Rows from (user, kind, text, item)."""
    said = [
        {"ds": ds, "user_key": u, "text_hash": text_hash(t), "lang": "en", "kind": kind, "item_id": item, "n_events": 2, "text": t}
        for u, kind, t, item in found
    ]
    return rows("user_text", said)


def touched(ds: dt.date, found: list[tuple[str, str, dict[str, int]]]) -> pa.Table:
    """Rows of user_item_day from (user, item, events by type)."""
    when = dt.datetime.combine(ds, dt.time(12), dt.UTC)
    said = [
        {"ds": ds, "user_key": u, "item_id": i, "n_events": sum(n.values()), "last_event_ts": when} | {f"n_{t}": c for t, c in n.items()}
        for u, i, n in found
    ]
    return rows("user_item_day", said)


class Shop:
    """A runner over a lake whose facts are written by hand."""

    def __init__(self, folder: Path, spark: SparkSession | None = None) -> None:
        self.said: list[str] = []
        settings = Settings.model_validate(
            {
                "landing": str(folder / "landing"),
                "lake": str(folder / "lake"),
                "warehouse": f"duckdb:///{folder / 'w.duckdb'}",
                "user_key_secret": "secret of the tests",
            }
        )
        self.runner = Runner(settings, self.said.append)
        self.lake = self.runner.lake
        if spark is not None:
            self.runner.__dict__["spark"] = spark

    def land(self, ds: dt.date, items: dict[str, str], users: list[tuple[str, str, str, str | None]], done: list[Any]) -> None:
        """Make the facts of a night."""
        (Path(self.runner.landing.root) / "events" / f"ds={ds}").mkdir(parents=True, exist_ok=True)
        catalogue = [
            {"ds": ds, "item_id": i, "title": t, "lang": "en", "valid_from_ds": ds, "first_ds": ds, "deleted": False}
            for i, t in items.items()
        ]
        for table, found in (
            ("item", rows("item", catalogue)),
            ("item_text", item_texts(ds, items)),
            ("user_text", user_texts(ds, users)),
            ("user_item_day", touched(ds, done)),
            *((name, rows(name, [])) for name in ("declared_interest", "session", "category")),
        ):
            self.lake.write(table, ds, found, Stamp(f"{table}-{ds}", "hash"))

    def hashes(self, ds: dt.date) -> set[str]:
        """What the night's partition of vectors holds."""
        return set(self.lake.read("text_embedding", [ds], ["text_hash"], embedding_space=SPACE)["text_hash"].to_pylist())


SEARCHES: list[tuple[str, str, str, str | None]] = [
    ("ann", "search", "boots for hiking", None),
    ("bob", "search", "chocolate cake", "i01"),
    ("bob", "review", "a chocolate cake with cherries, delicious", "i07"),
    ("bob", "behaviour", "viewed two cakes", None),
]


@pytest.fixture(scope="module")
def trained(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Two nights with vectors, topics trained on the first and then on the second."""
    shop = Shop(tmp_path_factory.mktemp("trained"), spark)
    shop.land(D1, ITEMS, SEARCHES, [("ann", "i00", {"view": 2, "purchase": 1}), ("bob", "i01", {"search": 1})])
    shop.land(D2, ITEMS | LATE, [], [("ann", "late1", {"view": 1})])
    for ds in (D1, D2):
        shop.runner.run("embed", ds)
    train(shop, D1)
    shop.runner.run("assign_topics", D2)
    train(shop, D2)
    return shop


def train(shop: Shop, ds: dt.date) -> None:
    """Fit and promote topics on the nights up to ds."""
    for job in ("fit_encoder", "fit_topics", "promote"):
        shop.runner.run(job, ds)


def test_only_new_texts_are_embedded_and_vectors_are_never_dropped(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    shop.land(D1, ITEMS, SEARCHES, [])
    shop.land(D2, ITEMS | LATE, [], [])
    shop.runner.run("embed", D2)
    assert shop.hashes(D2) == {text_hash(t) for t in (ITEMS | LATE).values()}
    shop.runner.run("embed", D1)
    # The behaviour description is not embedded unless asked for.
    assert shop.hashes(D1) == {text_hash(t) for _, kind, t, _ in SEARCHES if kind != "behaviour"}
    shop.runner.run("embed", D1, embed_behaviour_text=True)
    assert len(shop.hashes(D1)) == len(SEARCHES)
    before = shop.lake.read("text_embedding", [D1], embedding_space=SPACE)
    shop.said.clear()
    shop.land(D1, ITEMS, [], [])
    loads = encoders.load.cache_info()
    shop.runner.run("embed", D1, force=True)
    assert encoders.load.cache_info() == loads, "the encoder was asked for with nothing to embed"
    assert shop.said[0] == f"2024-05-01 embed: {len(ITEMS)} distinct texts, 0 of them new (100.0% known)"
    assert shop.lake.read("text_embedding", [D1], embedding_space=SPACE).sort_by("text_hash").equals(before.sort_by("text_hash"))


def test_training_makes_a_champion_that_is_valid_from_the_next_night(trained: Shop) -> None:
    first, second = registry.versions(trained.lake, "topics")
    assert [(v.train_to, v.valid_from_ds, v.status, v.promoted_at) for v in (first, second)] == [
        ("2024-05-01", "2024-05-02", "retired", "2024-05-02T00:00:00+00:00"),
        ("2024-05-02", "2024-05-03", "champion", "2024-05-03T00:00:00+00:00"),
    ]
    assert registry.valid_for(trained.lake, "topics", D1) is None
    assert registry.valid_for(trained.lake, "topics", D2) == first
    assert registry.valid_for(trained.lake, "topics", D3) == second
    assert [v.status for v in registry.versions(trained.lake, "topics_lda")] == ["candidate", "candidate"]
    # The window: every landed night under every version that may read it.
    for version, nights in ((first, [D1, D2]), (second, [D1, D2])):
        assert trained.lake.nights("item_topic", model_version=version.model_version) == nights
        assert trained.lake.nights("user_topic_day", model_version=version.model_version) == nights


def test_items_of_one_kind_share_a_topic(trained: Shop) -> None:
    for version in registry.versions(trained.lake, "topics"):
        found = trained.lake.read("item_topic", [D2], model_version=version.model_version).to_pylist()
        top = {r["item_id"]: r["topic_id"] for r in found if r["rank"] == 1}
        boots, cakes = {top[f"i{n:02}"] for n in range(0, 24, 2)}, {top[f"i{n:02}"] for n in range(1, 24, 2)}
        assert not boots & cakes
        assert (top["late1"] in boots, top["late2"] in cakes) == (True, True)
        sums: dict[str, float] = {}
        for r in found:
            sums[r["item_id"]] = sums.get(r["item_id"], 0) + r["weight"]
        assert set(sums) == set(ITEMS | LATE)
        assert sums == pytest.approx(dict.fromkeys(sums, 1.0))


def test_a_retrain_keeps_the_topics_and_no_id_means_two_things(trained: Shop) -> None:
    first, second = registry.versions(trained.lake, "topics")
    lineage = tables.read_rows(trained.lake, second, "topic_lineage").to_pylist()
    kept = [r for r in lineage if r["relation"] in ("same", "drift")]
    assert kept
    assert all(r["topic_id"] == r["prev_topic_id"] and r["similarity"] >= 0.6 for r in kept)
    lda = [set(tables.load_topics(trained.lake, v).ids.tolist()) for v in registry.versions(trained.lake, "topics_lda")]
    own = [set(tables.load_topics(trained.lake, v).ids.tolist()) for v in (first, second)]
    assert not (own[0] | own[1]) & (lda[0] | lda[1])
    assert second.params["measured"]["kept"] >= 0.7
    assert {i // 10_000 for i in own[0] | lda[0]} == {20240501}
    topic, version = (tables.read_rows(trained.lake, first, t).to_pylist() for t in ("topic", "topic_version"))
    assert {r["born_ds"] for r in topic} == {D2}
    leaves = [r for r in version if r["topic_id"] in own[0]]
    assert sum(r["n_docs"] for r in leaves) == len(ITEMS)
    assert sum(r["n_users"] for r in leaves) == 2
    assert all(r["medoid_item_id"] in ITEMS for r in version)


def test_a_user_has_the_topics_of_what_was_touched_and_asked(trained: Shop) -> None:
    version = registry.versions(trained.lake, "topics")[0].model_version
    items = trained.lake.read("item_topic", [D1], model_version=version).to_pylist()
    boot = {r["topic_id"]: round(r["weight"] * 1e6) for r in items if r["item_id"] == "i00"}
    found = {(r["user_key"], r["topic_id"]): r for r in trained.lake.read("user_topic_day", [D1], model_version=version).to_pylist()}
    for topic, p in boot.items():
        row = found["ann", topic]
        assert (row["mass_view_micro"], row["mass_purchase_micro"]) == (2 * p, p)
        assert row["mass_micro"] == 3 * p + row["mass_search_micro"]
    # Ann's query without an item counts twice (n_events), Bob's, which led to an item, through that item alone.
    masses = {u: sum(r["mass_search_micro"] for (user, _), r in found.items() if user == u) for u in ("ann", "bob")}
    assert masses == {"ann": 2_000_000, "bob": 1_000_000}


def test_training_again_changes_nothing(trained: Shop) -> None:
    before = [(v.model_version, v.status, v.files) for v in registry.versions(trained.lake)]
    trained.runner.run("fit_topics", D2)
    assert "item texts" not in "".join(trained.said[-2:])
    trained.runner.run("fit_topics", D2, force=True)
    assert [(v.model_version, v.status, v.files) for v in registry.versions(trained.lake)] == before


def test_what_changes_too_much_is_not_promoted_by_itself(trained: Shop, tmp_path: Path) -> None:
    shutil.copytree(Path(trained.lake.root).parent, tmp_path, dirs_exist_ok=True)
    shop = Shop(tmp_path, trained.runner.spark)
    second = registry.versions(shop.lake, "topics")[1]
    shop.runner.run("fit_topics", D2, seed=1, methods="kmeans")
    name = json.loads(shop.lake.read_bytes(f"_training/ds={D2}.json"))["topics"]
    assert name != second.model_version
    refused = rf"{name} is not promoted: \d+% of the documents keep their topic, 101% is the least; .*--accept-churn --reason TEXT"
    with pytest.raises(LakeError, match=refused):
        shop.runner.run("promote", D2, model_version=name, min_kept=1.01)
    # In the chain of training that is a normal outcome.
    shop.runner.run("promote", D2, min_kept=1.01)
    assert any(re.match(refused + ".*The champion stays", line) for line in shop.said)
    assert registry.valid_for(shop.lake, "topics", D3) == second
    with connect(shop.runner.settings.warehouse) as warehouse:
        assert name in warehouse.read("model_version")["model_version"].to_pylist()
    with pytest.raises(ParameterError, match="need a --reason"):
        shop.runner.run("promote", D2, min_kept=1.01, accept_churn=True)
    shop.runner.run("promote", D2, min_kept=1.01, accept_churn=True, reason="another seed")
    record = registry.promotions(shop.lake, "topics")[-1]
    assert (record["model_version"], record["reason"][:24]) == (name, "another seed; accepted: ")
    with pytest.raises(ParameterError, match=r"no topic model is named plsa: there are kmeans"):
        shop.runner.run("fit_topics", D2, methods="kmeans,plsa")


def test_a_night_says_how_good_its_topics_are_and_how_far_new_texts_are_from_them(trained: Shop) -> None:
    first = registry.versions(trained.lake, "topics")[0]
    rows_of = {ds: _topic_rows(Night(trained.runner, "evaluate", ds, first, Stamp("r", "h"), {})) for ds in (D1, D2)}
    assert {r["metric"] for r in rows_of[D1]} >= {"npmi", "topic_diversity", "irbo", "silhouette", "size_entropy", "outlier_share"}
    assert {(r["subject"], r["model_version"], r["slice_dim"]) for r in rows_of[D1]} == {("topics", first.model_version, "all")}
    new = {r["metric"]: r for r in rows_of[D2] if r["slice_value"] == "new"}
    assert {m: (r["n"], r["baseline"]) for m, r in new.items()} == dict.fromkeys(
        ("doc_drift", "similarity", "outlier_share"), (2, "training")
    )
    assert 0 < new["similarity"]["value"] < 1
    pa.Table.from_pylist(rows_of[D2], schema=TABLES["eval_metric"].arrow_schema())
    assert _topic_rows(Night(trained.runner, "evaluate", D1, None, Stamp("r", "h"), {})) == []


def test_the_warehouse_holds_the_model_tables(trained: Shop) -> None:
    with connect(trained.runner.settings.warehouse) as warehouse:
        for name, expected in tables.model_tables(trained.lake).items():
            assert warehouse.read(name).num_rows == expected.num_rows > 0


def test_what_the_site_calls_sensitive_is_published_so_by_a_training(trained: Shop, tmp_path: Path) -> None:
    version = registry.valid_for(trained.lake, "topics", D3)
    assert version
    leaf = min(tables.load_topics(trained.lake, version).ids.tolist())
    (tmp_path / "s.toml").write_text(f"topics = [{leaf}]")
    named = {"sensitive_topics_file": str(tmp_path / "s.toml"), "warehouse": f"duckdb:///{tmp_path / 'w.duckdb'}"}
    Runner(Settings.model_validate(trained.runner.settings.model_dump() | named), trained.said.append).publish_models()
    with connect(named["warehouse"]) as warehouse:
        topics = warehouse.read("topic").to_pylist()
    assert [t["topic_id"] for t in topics if t["sensitive"]] == [leaf]


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    with pytest.raises(LakeError, match="no night up to 2024-05-01 has item texts"):
        shop.runner.run("fit_topics", D1)
    with pytest.raises(LakeError, match=r"no topics were trained on 2024-05-01: run `python -m jobs fit_topics --ds 2024-05-01`"):
        shop.runner.run("promote", D1)
    shop.land(D1, {"only": "one lonely text"}, [], [])
    nothing = rows("text_embedding", [])
    shop.lake.write("text_embedding", D1, nothing, Stamp("r", "h"), embedding_space=SPACE)
    with pytest.raises(LakeError, match=r"1 texts have no vector .* run `python -m jobs embed`"):
        shop.runner.run("fit_topics", D1)
    shop.runner.run("embed", D1)
    with pytest.raises(LakeError, match="1 distinct texts, but topics need two"):
        shop.runner.run("fit_topics", D1)


def test_masses_are_sums_of_weights_times_counts(spark: SparkSession) -> None:
    done = touched(D1, [("u", "x", {"view": 3, "low_rated": 1}), ("u", "y", {"purchase": 1}), ("v", "unknown", {"view": 1})])
    weights = [("x", 1, 0.7), ("x", 2, 0.3), ("y", 1, 1.0)]
    topics = rows(
        "item_topic", [{"ds": D1, "item_id": i, "topic_id": t, "weight": w, "rank": 1, "model_version": "m"} for i, t, w in weights]
    )
    asked = pa.table({"user_key": ["u", "w"], "topic_id": [2, 2], "p_micro": [400_000, 1_000_000], "n_events": [5, 1]})
    made, held, searched = (spark.createDataFrame(t) for t in (done, topics, asked))
    found = {(r["user_key"], r["topic_id"]): r for r in assign.user_topic_day(made, held, searched, D1, "m").toArrow().to_pylist()}
    said = {key: [r[c] for c in ("mass_micro", "mass_view_micro", "mass_search_micro", "n_events", "n_items")] for key, r in found.items()}
    assert said == {
        ("u", 1): [3_800_000, 2_100_000, 0, 5, 2],
        ("u", 2): [1_200_000 + 2_000_000, 900_000, 2_000_000, 9, 1],
        ("w", 2): [1_000_000, 0, 1_000_000, 1, 0],
    }
    assert found["u", 1]["mass_purchase_micro"] == 1_000_000
    assert found["u", 1]["mass_low_rated_micro"] == 700_000
    assert set(found["u", 1]) >= {f"mass_{t}_micro" for t in COUNTED_TYPES}


def test_items_without_vectors_are_no_items() -> None:
    nobody = tables.Topics(np.array([5]), None)  # type: ignore[arg-type]
    assert assign.item_topic([], np.zeros((0, 384)), nobody, D1, "m").num_rows == 0
    assert assign.search_topics([], [], np.zeros((0, 384)), nobody).num_rows == 0
