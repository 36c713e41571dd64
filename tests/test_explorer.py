"""The explorer's pages: what was published is on them in both languages, the same on both engines, and nothing that may not be seen."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.testclient import TestClient

from recsys_core.explorer.app import HEADERS, create_app
from recsys_core.explorer.reads import Reads
from recsys_core.explorer.titles import LakeTitles
from recsys_core.explorer.topics import find_topics, topics_of
from recsys_core.explorer.words import WORDS
from recsys_core.lake import Lake, Stamp
from recsys_core.warehouse import SQL, connect
from tests.explorer_shop import ANA, BEN, FIRST, SECOND, publish, titles, topics
from tests.hostile import STRINGS
from tests.hostile_texts import TEXTS
from tests.test_roles import with_roles
from tests.test_warehouse import fresh_database, table

REPO = Path(__file__).resolve().parent.parent
PAGES = [
    "",
    f"?ds={FIRST}",
    "topics",
    "topic/1",
    "topic/11",
    "topic/2",
    "visitors",
    "models",
    "models?a=blend-1&b=blend-2",
    "models?a=topics-2024-03-01-aaaa&b=blend-1",
    "find?q=tea",
    "find?q=aa",
    f"user/{ANA}",
    f"user/{ANA}?horizon=7d&ds={FIRST}",
    f"user/{BEN}",
    f"user/{ANA}/compare?before={FIRST}&after={SECOND}",
]


async def everybody(request: Request) -> Response | None:
    """A gate that stands open."""
    return None


def client(url: str) -> TestClient:
    """A browser without eyes; the warehouse stays open between its requests, and sees what is published meanwhile."""
    warehouse = connect(url)

    @contextmanager
    def source() -> Iterator[Any]:
        yield warehouse.query

    return TestClient(create_app(source, titles, everybody), follow_redirects=False)


@pytest.fixture(scope="module")
def duckdb_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"duckdb:///{tmp_path_factory.mktemp('explorer')}/w.duckdb"
    with connect(url) as warehouse:
        publish(warehouse)
    return url


def words_of(html: str) -> str:
    """What a page says, without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("", ["Night 2024-03-09", "chess", "tea", f"{ANA[:16]}…", "7 events in 30 days"]),
        ("topics", ["chess", "What they are parts of games"]),
        ("find?q=TEA", ["Topics with these words tea"]),
        ("find?q=国际", ["chess"]),
        ("find?q=bb", [f"{BEN[:16]}…"]),
        ("find?q=nothing of it", ["Nothing of this name"]),
        (
            "topic/11",
            [
                "国际象棋",
                "part of games",
                "2024-03-09: 1 users",
                "A chess set 50.0%",
                "one after the other → tea 25 users",
            ],
        ),
        ("topic/2", ["split games →", "75.0%", "topics-2024-03-01-aaaa in use"]),
        ("topic/1", ["Its parts chess"]),
        ("visitors", ["Popular", "A board"]),
        (
            f"user/{ANA}",
            [
                "tea 56.2% share",
                "A chess set 80.0% · 2×",
                "everything else 20.0%",
                "compared with 2024-03-07 rising tea 25.0% → 56.2%",
                "7 within days tea 62.5% 25.0% by 7-day share alone",
                "tea close in meaning score 0.125 · from chess",
                "chess players",
                "A green tea like “A chess set” · source content · score 1.1",
            ],
        ),
        (f"user/{ANA}?ds={FIRST}", ["chess 75.0% share"]),
        (
            f"user/{ANA}/compare?before={FIRST}&after={SECOND}",
            ["tea 25.0% 56.2% +31.2 %", "chess 75.0% 43.8% -31.2 %", "A green tea 2 1 ↑ 1", "A board 2 new", "A chess set 1 left"],
        ),
        ("models?a=blend-1&b=blend-2", ["for_you recall@10 popularity 0.25 2024-03-09 0.375 2024-03-09 +0.1250"]),
        ("nights", ["user_topn 2024-03-09", "All checks passed", "2024-03-08 2 4"]),
    ],
)
def test_what_was_published_is_on_the_page(duckdb_url: str, page: str, said: list[str]) -> None:
    found = client(duckdb_url).get(f"/en/{page}")
    assert found.status_code == 200
    for words in said:
        assert words in words_of(found.text), words_of(found.text)


def test_history_is_drawn_and_told(duckdb_url: str) -> None:
    html = client(duckdb_url).get(f"/en/user/{ANA}").text
    assert 'aria-label="share on 2 nights, 2024-03-08 to 2024-03-09: now 56.2%, at most 56.2%"' in html
    assert 'd="M0,18.7L120,7"' in html  # 25 % and 56.25 % of a box 28 high whose top is 75 %


def test_both_languages_say_all_of_it(duckdb_url: str) -> None:
    shop = client(duckdb_url)
    said = {
        code for path in (REPO / "recsys_core/explorer/pages").glob("*.j2") for code in re.findall(r"\bt\(['\"]([\w-]+)", path.read_text())
    }
    assert said <= WORDS.keys()
    assert all(en and zh for en, zh in WORDS.values())
    zh = words_of(shop.get(f"/zh/user/{ANA}").text)
    assert "茶 56.2% 占比" in zh
    assert "上升 茶" in zh
    start = shop.get("/", headers={"accept-language": "zh-CN,zh;q=0.9"})
    assert (start.status_code, start.headers["location"]) == (307, "/zh/")
    assert f'href="/zh/user/{ANA}?horizon=7d"' in shop.get(f"/en/user/{ANA}?horizon=7d").text


def test_both_engines_and_the_reader_give_the_same_pages(duckdb_url: str, postgres_url: str) -> None:
    url = fresh_database(postgres_url, "explored")
    with connect(url) as warehouse:
        publish(warehouse)
    with with_roles(url, rita="nightly_reader") as urls:
        by_reader, by_file = client(urls["rita"] + "?options=-csearch_path%3Dpublished"), client(duckdb_url)
        for page in PAGES:
            for language in ("en", "zh"):
                found = by_reader.get(f"/{language}/{page}")
                assert (found.status_code, found.text) == (200, by_file.get(f"/{language}/{page}").text), page
        assert by_reader.get("/en/nights").status_code == 200


def test_a_sensitive_topic_is_nowhere(tmp_path: Path) -> None:
    url = f"duckdb:///{tmp_path}/w.duckdb"
    with connect(url) as warehouse:
        publish(warehouse, text="close to chess")
        warehouse.publish_models(topics(sensitive=[11]))  # what was published before still names it
        assert "close to chess" in str(warehouse.query("SELECT reason_text_en, summary_en FROM user_topn, user_profile").to_pylist())
    shop = client(url)
    for page in PAGES:
        if page != "topic/11":
            for language in ("en", "zh"):
                found = shop.get(f"/{language}/{page}")
                assert found.status_code == 200
                assert not re.search("topic/11|国际象棋|chess(?! (set|players))", words_of(found.text)), page
    assert shop.get("/en/topic/11").status_code == 404
    assert "Nothing of this name" in shop.get("/en/find?q=chess").text


def test_nothing_goes_past_the_gate() -> None:
    asked = []

    async def closed(request: Request) -> Response | None:
        asked.append(request.url.path)
        return PlainTextResponse("no", 401)

    def source() -> Any:
        raise AssertionError("the warehouse was opened")

    shop = TestClient(create_app(source, titles, closed))
    for method, path in (("GET", "/en/"), ("GET", "/style.css"), ("POST", "/en/"), ("GET", "/nowhere"), ("OPTIONS", f"/en/user/{ANA}")):
        found = shop.request(method, path)
        assert (found.status_code, found.text) == (401, "no")
        assert HEADERS.items() <= dict(found.headers).items()
    assert len(asked) == 5


def test_only_what_is_asked_for_properly_is_answered(duckdb_url: str) -> None:
    shop = client(duckdb_url)
    day = {"before": str(FIRST), "after": str(SECOND)}
    for value in (text for text in STRINGS if len(text) < 60_000 and (text.isascii() or text.isprintable())):  # as an address can be
        asked: list[tuple[str, dict[str, str]]] = [
            ("/en/", {"ds": value}),
            (f"/en/user/{ANA}", {"horizon": value}),
            (f"/en/user/{ANA}/compare", day | {"before": value}),
            ("/en/models", {"a": value}),
            ("/en/topics", {"x": value}),
        ]
        for path, params in asked:
            found = shop.get(path, params=params)
            assert found.status_code in (400, 404), (path, value)
            assert "alert(1)" not in found.text
            assert HEADERS.items() <= dict(found.headers).items()
        assert shop.get("/en/find", params={"q": value}).status_code == (200 if len(value) <= 100 else 400)
    for path in (
        "/en/user/" + "A" * 64,
        f"/en/user/{ANA}x",
        "/en/topic/11x",
        "/en/topic/-1",
        "/en/topic/１",
        "/fr/",
        "/en",
        "/en/user/*",
        "/docs",
    ):
        assert shop.get(path).status_code in (400, 404), path
    assert (shop.get(f"/en/user/{'c' * 64}").status_code, shop.get("/en/topic/12").status_code) == (404, 404)
    assert {shop.request(method, "/en/").status_code for method in ("POST", "PUT", "DELETE", "PATCH", "HEAD")} == {405}


def test_hostile_texts_are_only_read(tmp_path: Path) -> None:
    assert len(set(TEXTS)) == 40
    url = f"duckdb:///{tmp_path}/w.duckdb"
    with connect(url) as warehouse:
        publish(warehouse, texts=TEXTS)
    shop = client(url)
    known = set(re.findall(r"<(\w+)", "".join(p.read_text() for p in (REPO / "recsys_core/explorer/pages").glob("*.j2"))))
    pages = ["", "topics", f"user/{BEN}", f"user/{BEN}/compare?before={FIRST}&after={SECOND}", "find?q=0", "find?q=alert(1)"]
    for page in [*pages, *(f"topic/{100 + n}" for n in range(0, 40, 5))]:
        html = shop.get(f"/en/{page}").text
        parsed = _Tags()
        parsed.feed(html)
        assert set(parsed.names) <= known - {"script"}, page
        assert not [name for name in parsed.attributes if name.startswith("on") or name in ("style", "srcdoc")], page
        assert all(link.startswith(("/", "#", "?")) for link in parsed.links), page
    everything = "".join(shop.get(f"/en/{page}").text for page in pages)
    for text in TEXTS:  # nothing was lost either: it stands there, escaped, cut where it is long
        assert str(escape(text[:290])) in everything, text


class _Tags(HTMLParser):
    """Names of tags and attributes, and where links and forms lead."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action", "formaction")]


def test_who_waits_for_a_night_gets_it_when_it_is_there(tmp_path: Path) -> None:
    url = f"duckdb:///{tmp_path}/w.duckdb"
    shop = client(url)
    found = shop.get("/en/")
    assert (found.status_code, "publish a night first" in found.text, str(tmp_path) in found.text) == (503, True, False)
    with connect(url) as warehouse:
        warehouse.ensure_schema()
        assert "Nothing is published yet" in shop.get("/en/").text
        publish(warehouse)
    assert shop.get("/en/").status_code == 200
    assert shop.get("/en/?ds=2024-03-10").status_code == 404


def test_titles_come_from_the_catalogue_of_the_night_if_there_is_one(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    assert LakeTitles(lake)(FIRST, {"i1"}) == {}
    rows = [{"ds": FIRST, "item_id": f"i{n}", "title": title} for n, title in enumerate(("a", None, "c"))]
    about = {"lang": "en", "valid_from_ds": FIRST, "first_ds": FIRST, "deleted": False}
    lake.write("item", FIRST, table("item", [row | about for row in rows]), Stamp("r1", "in"))
    assert LakeTitles(lake)(FIRST, {"i0", "i1", "i9"}) == {"i0": "a"}


def test_what_a_label_begins_with_is_found_first(duckdb_url: str) -> None:
    with connect(duckdb_url) as warehouse:
        reads = Reads(warehouse.query, titles)
        found = topics_of(reads, reads.nights[0])
        assert [t.topic_id for t in find_topics(found, "茶")] == [2]
        assert [t.topic_id for t in find_topics(found, "  Ches ")] == [11]
        assert {t.topic_id for t in find_topics(found, "a b")} == {1, 2, 11}
        assert find_topics(found, "  ") == []


def test_every_stored_query_says_how_much_it_may_give() -> None:
    by_key = {"user", "user_history", "user_forecast", "user_expansion", "topic_audience", "topic_edges", "sensitive", "status"}
    unbounded = {
        p.stem for p in (SQL / "explorer").glob("*.sql") if not re.search(r"LIMIT CAST\(:most AS BIGINT\);$", p.read_text().strip())
    }
    assert unbounded == by_key


def test_the_plugin_loads_nothing_heavy_before_pages_are_served() -> None:
    script = (
        "import runpy, sys, airflow.plugins_manager; before = set(sys.modules)\n"
        f"found = runpy.run_path({str(REPO / 'dags/plugins/interest_explorer.py')!r})['InterestExplorer']\n"
        "new = {m.partition('.')[0] for m in set(sys.modules) - before}\n"
        "print(*sorted(new & {'fastapi', 'numpy', 'pandas', 'pyarrow', 'duckdb', 'jobs', 'recsys_core'}), found.external_views[0]['href'])"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, cwd="/", check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "/explorer/"), done.stderr
