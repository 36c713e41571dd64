"""The declarations agree with themselves, with the engines, and with the generated files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import _parse_datatype_string

from jobs import NIGHTLY, OUTSIDE, TRAINING, is_fact
from jobs.dictionary import dictionary_markdown
from recsys_core.events import COUNTED_TYPES
from recsys_core.lake import empty
from recsys_core.parse.rules import rules_markdown
from recsys_core.tables import TABLES, schema_hash, splice, tables_markdown, tables_sql


def test_keys_and_partitions_are_columns_that_hold_a_value() -> None:
    faults = []
    for table in TABLES.values():
        nullable = {c.name for c in table.columns if c.nullable}
        if len(set(table.names)) != len(table.names):
            faults.append(f"{table.name} repeats a column")
        faults += [f"{table.name}: {n} is no column" for n in (*table.key, *table.unique, *table.partition) if n not in table.names]
        faults += [f"{table.name}: {n} may be null" for n in (*table.key, *table.unique, *table.partition) if n in nullable]
        if table.lake and not table.by_night:
            faults.append(f"{table.name} is in the lake without a night")
        if not (table.lake or table.warehouse):
            faults.append(f"{table.name} is nowhere")
    assert faults == []


def test_counts_and_masses_follow_the_event_types() -> None:
    assert [n for n in TABLES["user_item_day"].names if n.startswith("n_") and n[2:] in COUNTED_TYPES] == [f"n_{t}" for t in COUNTED_TYPES]
    masses = [n for n in TABLES["user_topic_day"].names if n.startswith("mass_") and n != "mass_micro"]
    assert masses == [f"mass_{t}_micro" for t in COUNTED_TYPES]


def test_jobs_read_and_write_declared_tables_in_order() -> None:
    written: set[str] = set(OUTSIDE)
    for name, job in NIGHTLY.items():
        for table in job.writes:
            assert TABLES[table].lake, f"{name} writes {table}, which is not in the lake"
        assert set(job.reads) <= written, f"{name} reads {sorted(set(job.reads) - written)}, which no job before it writes"
        assert not written & set(job.writes), f"{name} writes what another job writes"
        written |= set(job.writes)
    assert all(set(job.reads) <= written for job in TRAINING.values())


def test_facts_follow_from_their_own_night() -> None:
    facts = {t for t in TABLES if is_fact(t)}
    assert {"event_clean", "user_item_day", "session", "item_text", "text_embedding", "item_topic", "user_topic_day"} <= facts
    assert not facts & {"user_interest", "user_profile", "interest_edge", "user_topn", "eval_metric", "topic", "publication"}


def test_generated_files_are_fresh(repo_root: Path) -> None:
    assert (repo_root / "sql" / "tables.sql").read_text(encoding="utf-8") == tables_sql(), "stale: run `make generate`"
    readme = (repo_root / "README.md").read_text(encoding="utf-8")
    assert splice(readme, "tables", tables_markdown()) == readme, "the README's table list is stale: run `make generate`"
    dictionary = (repo_root / "docs" / "tables.md").read_text(encoding="utf-8")
    assert dictionary == dictionary_markdown(repo_root / "sql" / "views"), "the data dictionary is stale: run `make generate`"
    ingest = (repo_root / "docs" / "ingest.md").read_text(encoding="utf-8")
    assert splice(ingest, "rules", rules_markdown()) == ingest, "the codes in docs/ingest.md are stale: run `make generate`"


def test_splice_replaces_the_section_alone_and_names_a_missing_one() -> None:
    assert splice("a\n<!-- x -->\nold\n<!-- /x -->\nb", "x", "new\n") == "a\n<!-- x -->\nnew\n<!-- /x -->\nb"
    with pytest.raises(ValueError, match="<!-- x -->"):
        splice("a", "x", "new\n")


def test_arrow_schema_of_every_table() -> None:
    for table in TABLES.values():
        schema = table.arrow_schema()
        assert tuple(schema.names) == table.names
        assert [f.nullable for f in schema] == [c.nullable for c in table.columns]
        assert all(f.type == pa.timestamp("us", tz="UTC") for f in schema if f.name.endswith("_ts"))
        assert all(f.type == pa.int64() for f in schema if f.name.endswith("_micro"))
        assert empty(table).schema.equals(schema)


def test_spark_schema_of_every_table_is_the_arrow_one(spark: SparkSession) -> None:
    for table in TABLES.values():
        parsed: Any = _parse_datatype_string(table.spark_schema())
        assert [f.nullable for f in parsed] == [c.nullable for c in table.columns], table.name
        produced = to_arrow_schema(parsed, timezone="UTC")
        assert produced.names == list(table.names)
        for want in table.arrow_schema():
            assert produced.field(want.name).type == want.type, f"{table.name}.{want.name}"


def _statements(engine: str) -> list[str]:
    section = tables_sql().split(f"-- engine: {engine}\n")[1].split("-- engine: ")[0]
    return [s for s in section.split(";") if "CREATE TABLE" in s]


def test_what_a_nightly_job_makes_for_the_warehouse_is_published() -> None:
    made = {t for job in NIGHTLY.values() for t in job.writes if TABLES[t].warehouse and TABLES[t].by_night}
    assert sorted(made - set(NIGHTLY["publish"].reads)) == [], "name it among the reads of `publish` in jobs/__init__.py"


def test_duckdb_takes_the_ddl_and_gives_the_arrow_types_back() -> None:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for statement in _statements("duckdb") * 2:
            connection.execute(statement)
        for table in (t for t in TABLES.values() if t.warehouse):
            connection.register("rows", empty(table))
            connection.execute(f"INSERT INTO {table.name} BY NAME SELECT * FROM rows")
            found = connection.sql(f"SELECT * FROM {table.name}").to_arrow_table().schema
            assert tuple(found.names) == table.names
            for want in table.arrow_schema():
                assert found.field(want.name).type == want.type, f"{table.name}.{want.name}"
        keys = connection.execute(
            "SELECT table_name, list_sort(constraint_column_names) FROM duckdb_constraints() WHERE constraint_type = 'PRIMARY KEY'"
        )
        assert dict(keys.fetchall()) == {t.name: sorted(t.key) for t in TABLES.values() if t.warehouse}


def test_postgres_takes_the_ddl(postgres_db: str) -> None:
    with psycopg.connect(postgres_db) as connection:
        for statement in _statements("postgres") * 2:
            connection.execute(statement)
        rows = connection.execute(
            "SELECT table_name, column_name, is_nullable FROM information_schema.columns WHERE table_schema = 'public' "
            "ORDER BY table_name, ordinal_position"
        ).fetchall()
    wanted = [
        (t.name, c.name, "YES" if c.nullable else "NO")
        for t in sorted(TABLES.values(), key=lambda t: t.name)
        if t.warehouse
        for c in t.columns
    ]
    assert rows == wanted


def test_staging_ddl_has_another_name_and_no_keys() -> None:
    ddl = TABLES["user_topn"].ddl("duckdb", "staging_topn", constraints=False)
    assert "staging_topn (" in ddl
    assert "PRIMARY KEY" not in ddl
    assert "UNIQUE" not in ddl


def test_schema_hash_tells_declarations_apart() -> None:
    assert len({schema_hash(t) for t in TABLES.values()}) == len(TABLES)


@pytest.mark.parametrize("module", ["jobs", "recsys_core.tables", "jobs.settings"])
def test_importing_the_registry_or_the_tables_loads_nothing_heavy(module: str, repo_root: Path) -> None:
    code = (
        f"import sys, {module}; heavy = {{'pyspark', 'torch', 'numpy', 'pyarrow', 'pandas', 'transformers', 'sklearn', 'airflow'}}; "
        "print(*sorted(heavy & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=repo_root, check=True)
    assert run.stdout.split() == []
