"""A whole night of a shop in which secrets and personal data were planted: none of them is anywhere it must not be."""

from __future__ import annotations

import base64
import datetime as dt
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from jobs.__main__ import main
from jobs.observe import logs
from recsys_core.simulate import simulate
from recsys_core.tables import TABLES
from recsys_core.warehouse import connect

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

FIRST, NIGHT = dt.date(2026, 3, 2), dt.date(2026, 3, 3)
USER, PASSWORD = "canary-user-4711", "canary%2Dpassword"
SECRETS = {
    "USER_KEY_SECRET": "canary-user-key-secret",
    "TEXT_API_KEY": "canary-text-api-key",
    "ALERT_WEBHOOK": "http://127.0.0.1:1/canary-webhook",
}
# What a user wrote that names somebody: an e-mail address, a phone, a card, and an identity number, in two languages.
TEXTS = (
    "great tent, write to canary.person@example.org or call +86 138 0013 8000",
    "帐篷很好，身份证11010519491231002X，电话13800138000，卡号4111 1111 1111 1111",
)
CANARIES = re.compile(rb"canary|138 ?0013 ?8000|4111 ?1111 ?1111 ?1111|11010519491231002X", re.IGNORECASE)


@pytest.fixture
def quiet() -> Iterator[None]:
    hook = sys.excepthook
    yield
    logs.begin("text", ())
    sys.excepthook = hook


def plant(landing: Path) -> None:
    """Events of a user of that name, on both nights, and lines that are refused."""
    for ds in (FIRST, NIGHT):
        about = {"user_id": USER, "item_id": "nothing-we-sell", "ts": f"{ds}T09:30:00Z"}
        lines = [
            *(about | {"event_id": f"r{n}", "event_type": "review", "rating": 5, "text": text} for n, text in enumerate(TEXTS)),
            *(about | {"event_id": f"s{n}", "event_type": "search", "query": text} for n, text in enumerate(TEXTS)),
            about | {"event_id": "x", "event_type": "canary-type"},
        ]
        folder = landing / "events" / f"ds={ds}"
        (folder / "planted.jsonl").write_text(
            "\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + '\n{"user_id": "canary-cut'
        )


def test_nothing_planted_leaves_the_restricted_tables(tmp_path: Path, postgres_db: str, quiet: None) -> None:
    landing = tmp_path / "landing"
    simulate(str(landing), FIRST, nights=2, users=60, items=96, events_per_night=400, seed=1)
    plant(landing)
    url = postgres_db.replace("pg@", f"pg:{PASSWORD}@")
    assert PASSWORD in url
    seen = tmp_path / "seen"
    seen.mkdir()
    env = SECRETS | {
        "LANDING": str(landing),
        "LAKE": str(tmp_path / "lake"),
        "WAREHOUSE": url,
        "REPORT": str(seen / "report"),
        "METRICS_FOLDER": str(seen / "metrics"),
        "LINEAGE_FILE": str(seen / "lineage.jsonl"),
        "ENCODER": "lsa",
        "TOPIC_MODELS": "kmeans",
        "K_ANONYMITY": "2",
        "DP_EPSILON": "1",
    }
    said = []
    for words in (
        ("night", "--ds", str(FIRST), "--jobs", "clean,aggregate,texts"),
        *((job, "--ds", str(FIRST)) for job in ("fit_encoder", "fit_topics", "promote")),
        ("nights", "--from", str(FIRST), "--to", str(NIGHT)),
        ("accept", "--ds", str(NIGHT), "--check", "quarantined_share", "--reason", "planted"),
        ("status",),
        ("probe", "--alert"),
        ("retain",),
    ):
        done = CliRunner().invoke(main, list(words), env=env)
        assert not isinstance(done.exception, Exception), (words, done.output)
        said.append(done.output)
    for output in said:
        assert not CANARIES.search(output.encode()), output
    files = [path for path in seen.rglob("*") if path.is_file()]
    assert {f"{NIGHT}.html", "index.html", "lineage.jsonl"} <= {path.name for path in files}
    for path in files:
        assert not (hit := CANARIES.search(path.read_bytes())), (path, hit)

    restricted = {t.name for t in TABLES.values() if t.restricted}
    hits = set()
    for path in (p for p in (tmp_path / "lake").rglob("*") if p.is_file()):
        held = path.read_bytes()
        if path.suffix == ".parquet":  # what is compressed is looked at as it reads
            rows = pq.ParquetFile(path).read().to_pylist()
            held += json.dumps(rows, default=str, ensure_ascii=False).encode()
            held += b"".join(base64.b64decode(row["raw_base64"]) for row in rows if "raw_base64" in row)
        if CANARIES.search(held):
            hits.add(path.relative_to(tmp_path / "lake").parts[0])
    assert hits == {"id_map", "event_quarantine"}, "the planted user is there, and nowhere but where it may be"
    assert hits <= restricted

    with connect(postgres_db) as warehouse:
        assert warehouse.newest() == NIGHT
        for table in (t.name for t in TABLES.values() if t.warehouse):
            held = json.dumps(warehouse.read(table).to_pylist(), default=str, ensure_ascii=False).encode()
            assert not (hit := CANARIES.search(held)), (table, hit)
        spent = warehouse.query("SELECT table_name, count(*) AS n FROM privacy_spend GROUP BY table_name ORDER BY table_name").to_pylist()
    assert {r["table_name"] for r in spent} == {"interest_edge", "topic_audience"}
