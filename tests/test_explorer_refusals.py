"""What the explorer says when it cannot show a page: the remedy, in both languages, without a path, a role or a server's name."""

from __future__ import annotations

import datetime as dt
import re
import time
from pathlib import Path
from threading import Thread
from typing import Any

import duckdb
import psycopg
import pytest
from markupsafe import escape
from starlette.testclient import TestClient

from recsys_core.explorer import reads
from recsys_core.explorer.app import HEADERS, REMEDIES, create_app
from recsys_core.explorer.reads import opened
from recsys_core.explorer.words import WORDS
from recsys_core.warehouse import connect
from tests.explorer_shop import ANA, publish, titles
from tests.test_explorer import everybody, words_of
from tests.test_roles import with_roles
from tests.test_warehouse import fresh_database


def test_every_remedy_is_said_in_both_languages() -> None:
    assert {word for _, word in REMEDIES} | {"no_warehouse", "no_reason"} <= WORDS.keys()


def told(url: str, path: str = "") -> str:
    """What a page of a warehouse that cannot be read says to do about it, in English; each is told in its time and without a place."""
    shop = TestClient(create_app(lambda: opened(url), titles, everybody))
    began = time.monotonic()
    found = shop.get(f"/en/{path}")
    assert found.status_code == 503
    assert time.monotonic() - began < 60
    assert not re.search(r"127\.0\.0\.1|\.duckdb|rita|ERROR|Traceback", found.text)
    assert HEADERS.items() <= dict(found.headers).items()
    said = words_of(found.text)
    assert words_of(str(escape(WORDS[word(said)][0]))) in said
    return word(said)


def word(said: str) -> str:
    """The word of WORDS that a page says."""
    return next(name for name in WORDS if name.startswith(("no_", "bad_")) and words_of(str(escape(WORDS[name][0]))) in said)


def test_a_file_that_cannot_be_read_is_told_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "bad.duckdb").write_bytes(b"no database" * 1000)
    with duckdb.connect(str(tmp_path / "other.duckdb")) as other:
        other.execute("CREATE TABLE of_somebody_else (n INTEGER)")
    assert told(f"duckdb:///{tmp_path}/none.duckdb") == "no_file"
    assert told(f"duckdb:///{tmp_path}/bad.duckdb") == "no_warehouse"
    assert told(f"duckdb:///{tmp_path}/other.duckdb") == "no_table"
    assert told("mysql://of/somebody") == "bad_settings"


def test_a_server_that_cannot_be_read_is_told_with_what_to_do(postgres_url: str) -> None:
    url = fresh_database(postgres_url, "told")
    assert told(url) == "no_table"
    with connect(url) as warehouse:
        publish(warehouse)
    with with_roles(url, rita="nightly_reader") as urls:
        assert told(urls["rita"]) in ("no_table", "no_right")  # its schema is not named
        with psycopg.connect(url) as owner:
            owner.execute("REVOKE SELECT ON published.user_profile FROM nightly_reader")
        assert told(f"{urls['rita']}?options=-csearch_path%3Dpublished", f"user/{ANA}") == "no_right"
    assert told(re.sub("//[^@]*@", "//who@", url)) == "no_entry"
    assert told(url.rpartition("/")[0] + "/nowhere") == "no_entry"
    assert told(re.sub(r":\d+/", ":1/", url)) == "no_answer"


def test_a_server_finds_users_and_items_by_index_and_looks_at_each_new_night(postgres_url: str) -> None:
    url = fresh_database(postgres_url, "looked_at")
    with connect(url) as warehouse:
        warehouse.ensure_schema()
        found = warehouse.query(
            "SELECT count(*) AS n FROM pg_indexes WHERE indexname IN ('user_segment_by_ds_user_key', 'item_topic_by_ds_topic_id')"
        )
        assert found["n"].to_pylist() == [2]
        told = warehouse.query("SELECT relname::text AS t FROM pg_class WHERE 'autovacuum_analyze_scale_factor=0' = ANY (reloptions)")
        assert {"user_interest", "user_segment", "user_topn", "publication"} <= set(told["t"].to_pylist())


def test_a_table_that_is_being_changed_is_not_waited_for_long(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = fresh_database(postgres_url, "locked")
    with connect(url) as warehouse:
        publish(warehouse)
    monkeypatch.setattr(reads, "ANSWER_S", 1)
    with psycopg.connect(url) as owner:
        owner.execute("LOCK TABLE user_profile IN ACCESS EXCLUSIVE MODE")
        assert told(url, f"user/{ANA}") == "no_answer"


def test_what_goes_wrong_otherwise_has_a_page_and_stands_in_the_log(tmp_path: Path) -> None:
    url = f"duckdb:///{tmp_path}/w.duckdb"
    with connect(url) as warehouse:
        publish(warehouse)

    def broken(ds: dt.date, item_ids: Any) -> Any:
        raise KeyError("of the shop")

    shop = TestClient(create_app(lambda: opened(url), broken, everybody), raise_server_exceptions=False)
    found = shop.get("/zh/visitors")
    assert (found.status_code, WORDS["no_reason"][1] in found.text, "of the shop" in found.text) == (500, True, False)
    assert HEADERS.items() <= dict(found.headers).items()
    with pytest.raises(KeyError):
        TestClient(create_app(lambda: opened(url), broken, everybody)).get("/zh/visitors")


def test_pages_are_whole_while_nights_are_published(tmp_path: Path) -> None:
    url = f"duckdb:///{tmp_path}/w.duckdb"
    with connect(url) as warehouse:
        publish(warehouse)
        shop = TestClient(create_app(lambda: opened(url), titles, everybody))
        publishing = Thread(target=publish, args=(warehouse,))
        publishing.start()
        found = {(path, shop.get(f"/en/{path}").status_code) for _ in range(2) for path in ("", f"user/{ANA}", "topic/11", "nights")}
        publishing.join()
    assert {status for _, status in found} == {200}
