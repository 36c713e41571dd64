"""The pages as people meet them, in a real browser: hostile texts, both languages, a phone, a screen reader, a keyboard, paper."""

from __future__ import annotations

import copy
import datetime as dt
import io
import json
import re
import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.quality import accept
from jobs.runner import Runner
from jobs.settings import Settings
from recsys_core.lake import Lake, LakeError, Stamp, canonical_json, empty
from recsys_core.parse.rules import RULES
from recsys_core.report import reasons, write_reports
from recsys_core.report.night import night_page
from recsys_core.report.words import Words, shown
from recsys_core.tables import TABLES
from recsys_core.warehouse import connect
from tests.test_report import DAY, NIGHT, D, U, delivered, held, interest, slot, topic, warehouse
from tests.test_warehouse import _staged_tables, models, row, table
from tests.test_warehouse import night as a_night

HOSTILE = [
    "<script>window.ran = 1</script>",
    "<ScRiPt src=http://127.0.0.1:9/x.js></sCrIpT>",
    "<img src=x onerror='window.ran = 1'>",
    "<svg onload=window.ran=1>",
    "<svg><foreignObject><iframe srcdoc='<script>parent.ran=1</script>'></iframe></foreignObject></svg>",
    "</style><script>window.ran = 1</script>",
    "</td></tr></table><h1>gone</h1>",
    "</svg><script>window.ran = 1</script>",
    "</title><script>window.ran = 1</script>",
    '" onmouseover="window.ran = 1" x="',
    "' autofocus onfocus='window.ran = 1",
    "javascript:window.ran=1",
    "<a href='javascript:window.ran=1'>click</a>",
    "<base href='http://127.0.0.1:9/'>",
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/'>",
    "<link rel=stylesheet href=http://127.0.0.1:9/x.css>",
    "<style>@import url(http://127.0.0.1:9/x.css);</style>",
    "<form action=http://127.0.0.1:9/><button autofocus>go</button></form>",
    "<iframe src=http://127.0.0.1:9/></iframe>",
    "<object data=http://127.0.0.1:9/></object>",
    "<plaintext>",
    "<textarea>",
    "<!-- comment --><b>bold</b>",
    "--><script>window.ran = 1</script><!--",
    "<![CDATA[<script>window.ran = 1</script>]]>",
    "&lt;script&gt;alert(1)&lt;/script&gt; &#60;b&#62;",
    "{{ 7 * 7 }}{% raw %}{{ self }}",
    "$x^2$ \\frac{1}{2} \\input{/etc/passwd}",
    "%s%n %(name)s {0.__class__} ${7*7}",
    "'; DROP TABLE user_topn; --",
    "=cmd|'/c calc'!A1",
    "nul \x00 bell \x07 escape \x1b[31m red",
    "turned \u202egnirts\u202c round \u2066x\u2069",
    "hidden \u200b\ufeff\u2060 space",
    "lines\n\n\tand\ttabs\u2028more\u2029end",
    "שלום العربية नमस्ते",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇨🇳",
    "Z" + "\u0301\u0316\u0317" * 60,
    "很长" * 30_000,
    "W" * 50_000,
    ' id="zh" lang="zh" id="text_1" ',
]
PAGES = (f"{D}.html", "topics.html", "index.html")
LANGUAGES = {"en": "", "zh": "#zh"}
FIRST, SECOND = dt.date(2024, 3, 8), dt.date(2024, 3, 9)
CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.ui, pytest.mark.timeout(300)]


def hostile_night() -> dict[str, list[dict[str, Any]]]:
    """The night of tests/test_report.py with every hostile text in every place that free text has."""
    rows = copy.deepcopy(NIGHT)
    for n, text in enumerate(HOSTILE, 100):
        rows["topic"].append(topic(n, text, text, [text], born_ds=D) | {"keywords": json.dumps([text, "\ud800"])})
        rows["user_interest"].append(interest("w", n))
        rows["topic_version"].append(held(rows["model_version"][1]["model_version"], n, 3) | {"medoid_item_id": text})
        rows["user_interest_change"].append({"ds": D, "user_key": U, "topic_id": n, "change": "rising"})
        rows["user_segment"].append({"ds": D, "segment": text, "user_key": U, "reason": text})
        check = {"ds": D, "check_name": text, "table_name": text, "observed": 1.0, "threshold": 0.0, "passed": False, "severity": "warn"}
        rows["quality_result"].append(check)
        rows.setdefault("quality_acceptance", []).append({"ds": D, "check_name": text, "table_name": text, "reason": text})
        rows["publication"].append(NIGHT["publication"][0] | {"table_name": text, "run_id": text})
        rows["job_run"].append(NIGHT["job_run"][0] | {"job": text, "stage": text, "error": text, "run_id": text})
        rows["experiment_metric"].append(NIGHT["experiment_metric"][0] | {"experiment": text, "variant": text, "metric": text})
        rows["eval_metric"].append(NIGHT["eval_metric"][0] | {"slice_dim": "lang", "slice_value": text})
    spread = [HOSTILE[n::10] for n in range(10)]
    for n, texts in enumerate(spread, 1):
        text, parts = texts[0], dict.fromkeys(texts, 0.25)
        more = {"item_id": text, "reason_text_en": text, "reason_text_zh": text, "contributions": canonical_json(parts)}
        rows["user_topn"].append(slot(10 + n, text, **more) | {"rank": n, "user_key": "v"})
    rows["landing_file"].append(delivered(D, 50, dict.fromkeys(HOSTILE, 1), {"night:2026-03-01": 1}) | {"file": HOSTILE[0]})
    rows["user_profile"][0] |= {"summary_en": HOSTILE[2], "summary_zh": HOSTILE[6]}
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three pages of the hostile night, and a plain one beside it."""
    made = tmp_path_factory.mktemp("pages")
    landed = [D - 2 * DAY, D - DAY, D]
    write_reports(warehouse(hostile_night()), [D], made / "hostile", None, landed, {D - DAY: [HOSTILE[0]]})
    write_reports(warehouse(NIGHT), [D], made / "plain", None, landed, {D - DAY: ["quarantined_share (event_clean)"]})
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield running
        running.close()


def line(text: str) -> str:
    return " ".join(text.split())


def test_hostile_texts_stay_texts(folder: Path, browser: Any) -> None:
    page = browser.new_page()
    asked: list[str] = []
    dialogs: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    def stop(dialog: Any) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", stop)
    for name in PAGES:
        file = folder / "hostile" / name
        assert file.stat().st_size < 2_000_000
        page.goto(file.as_uri())
        for target in page.locator("td").all()[:60]:
            target.dispatch_event("mouseover")
        assert page.evaluate("window.ran") is None
        strange = (
            "script,iframe,object,embed,link,img,form,input,button,base,textarea,plaintext,style ~ style,foreignObject,b,meta[http-equiv]"
        )
        assert page.locator(strange).count() == 0
        assert (
            page.evaluate("[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(a => a.startsWith('on'))") == []
        )
        links = page.evaluate("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
        assert [link for link in links if not re.fullmatch(r"([\w-]+\.html)?(#[\w-]+)?", link)] == []
        assert page.locator("main").count() == page.locator("footer").count() == 1
    assert asked == [(folder / "hostile" / name).as_uri() for name in PAGES]
    assert dialogs == []
    page.goto((folder / "hostile" / PAGES[0]).as_uri())
    cells = {line(text) for text in page.evaluate("[...document.querySelectorAll('td')].map(c => c.textContent)")}
    for text in HOSTILE:
        assert line(shown(text)) in cells, text
    page.close()


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("lang", LANGUAGES)
def test_everybody_can_read_the_pages(folder: Path, browser: Any, lang: str, width: int) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_page(viewport={"width": width, "height": 844})
    for name in PAGES:
        page.goto((folder / "plain" / name).as_uri() + LANGUAGES[lang])
        if (lang, width) in (("en", 390), ("zh", 1280)):
            found = Axe().run(page).response["violations"]
            assert [(v["id"], [n["html"] for n in v["nodes"]][:3]) for v in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") == width, "the page is wider than the screen"
        other = {"en": "zh", "zh": "en"}[lang]
        seen = f"[...document.querySelectorAll('body [lang={other}]')].filter(e => e.getClientRects().length && !e.closest('nav')).length"
        assert page.evaluate(seen) == 0, "words of the other language are shown"
        assert page.locator(f"body [lang={lang}]").count() > 10
        # What is read without scrolling aside is large enough on a phone.
        size = "[...document.querySelectorAll('svg:not(.wide)')].map(s => s.getBoundingClientRect().width / s.viewBox.baseVal.width * 9)"
        assert min([9.0, *page.evaluate(size)]) >= 9.0
    page.close()


def test_the_language_is_chosen_by_keyboard_and_kept_from_page_to_page(folder: Path, browser: Any) -> None:
    page = browser.new_page()
    page.goto((folder / "plain" / "index.html").as_uri())
    page.get_by_role("link", name="中文").press("Enter")
    assert page.locator("h1").inner_text() == "夜晚"
    page.get_by_role("link", name=D.isoformat(), exact=True).first.press("Enter")
    assert page.locator("h1").inner_text() == f"{D} 之夜"
    page.get_by_role("link", name="运行", exact=True).press("Enter")
    assert page.locator("h1").inner_text() == f"{D} 之夜"
    page.get_by_role("link", name="English").press("Enter")
    assert page.locator("h1").inner_text() == f"Night {D}"
    page.close()


def test_paper_loses_nothing(folder: Path, browser: Any) -> None:
    from pypdf import PdfReader

    page = browser.new_page()
    for name in PAGES:
        page.goto((folder / "plain" / name).as_uri())
        page.emulate_media(media="print")
        texts = page.evaluate(
            "[...document.querySelectorAll('h1,h2,h3,h4,th,td,dd,main p,svg text')].filter(e => e.getClientRects().length)"
            ".map(e => e.innerText ?? e.textContent)"
        )
        printed = "".join(p.extract_text() for p in PdfReader(io.BytesIO(page.pdf(prefer_css_page_size=True))).pages)

        def bare(text: str) -> str:
            return re.sub(r"[\s-]+", "", unicodedata.normalize("NFKC", text))  # lines break where they must, and fi is one letter

        missing = [text for text in texts if text.isascii() and bare(text) not in bare(printed)]
        assert len(texts) > 30
        assert missing == []
    page.close()


def test_every_code_of_cleaning_is_explained_in_both_languages() -> None:
    assert {code for code in RULES if not isinstance(reasons.meaning(code), Words)} == set()
    assert reasons.meaning("a_code_of_a_source") == "a_code_of_a_source"


def test_both_warehouses_give_one_page(tmp_path: Path, postgres_db: str) -> None:
    said: list[str] = []
    for url in (f"duckdb:///{tmp_path}/w.duckdb", postgres_db):
        with connect(url) as opened:
            opened.publish_nights([a_night(SECOND)], models())
            html = night_page(opened.query, SECOND)
        seen = re.sub(r"<svg.*?</svg>|<style>.*?</style>|<[^>]+>|[\d-]+ [\d:]+ UTC|\d+ (days|天)", " ", html, flags=re.DOTALL)
        said.append(line(seen))
    assert "published" in said[0]
    assert said[0] == said[1]


# -- the job ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> tuple[Runner, list[str]]:
    """Two nights staged as by the jobs before publish; a check stops the second."""
    said: list[str] = []
    lake = Lake(str(tmp_path / "lake"))
    for ds in (FIRST, SECOND):
        (tmp_path / "landing" / "events" / f"ds={ds}").mkdir(parents=True)
        for name in _staged_tables():
            rows = empty(TABLES[name])
            if name == "quality_result" and ds == SECOND:
                bad = {"check_name": "refused_share", "severity": "block", "observed": 0.31, "threshold": 0.02, "passed": False}
                rows = table(name, [row(ds=ds, run_id="r", table_name="event_clean", **bad)])
            lake.write(name, ds, rows, Stamp("made", f"in-{ds}"))
    places = {"landing": f"{tmp_path}/landing", "lake": f"{tmp_path}/lake", "warehouse": f"duckdb:///{tmp_path}/w.duckdb"}
    return Runner(Settings(**places, report=f"{tmp_path}/report", user_key_secret="s"), said.append), said  # type: ignore[arg-type]


def test_the_job_makes_a_page_once_and_says_how_all_nights_stand(site: tuple[Runner, list[str]], tmp_path: Path) -> None:
    runner, said = site
    runner.run("publish", FIRST)
    runner.run("report", FIRST)
    page, index = tmp_path / "report" / f"{FIRST}.html", tmp_path / "report" / "index.html"
    first, calendar = page.read_bytes(), index.read_text(encoding="utf-8")
    assert f'href="{FIRST}.html"' in calendar
    assert "refused_share (event_clean)" in calendar
    assert "s-blocked" in calendar
    page.touch()
    written = page.stat().st_mtime_ns
    runner.run("report", FIRST)
    assert f"{FIRST} report: up to date" in said
    assert page.stat().st_mtime_ns == written
    runner.run("report", FIRST, force=True)
    assert page.stat().st_mtime_ns != written
    assert page.read_bytes() == first
    with pytest.raises(LakeError, match=rf"not published \({SECOND}: refused_share \(event_clean\)\)"):
        runner.run("report", SECOND)
    assert sorted(p.name for p in page.parent.glob("*.html")) == [page.name, "index.html", "topics.html"]


def test_a_night_that_somebody_lets_through_has_its_page(site: tuple[Runner, list[str]], tmp_path: Path) -> None:
    runner, _ = site
    accept(runner, SECOND, "refused_share", None, "known outage", dt.datetime(2026, 3, 1, tzinfo=dt.UTC), "manual")
    assert (tmp_path / "report" / f"{SECOND}.html").exists()
    assert f'href="{SECOND}.html"' in (tmp_path / "report" / "index.html").read_text(encoding="utf-8")


def test_a_failed_page_leaves_the_night_published(site: tuple[Runner, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from recsys_core.report import night as pages

    runner, _ = site
    runner.run("publish", FIRST)
    runner.run("report", FIRST)
    before = (tmp_path / "report" / f"{FIRST}.html").read_bytes()

    def broken(*_: Any) -> str:
        raise ValueError("no page")

    monkeypatch.setattr(pages, "night_page", broken)
    with pytest.raises(ValueError, match="no page"):
        runner.run("report", FIRST, force=True)
    assert (tmp_path / "report" / f"{FIRST}.html").read_bytes() == before
    with connect(runner.settings.warehouse) as opened:
        assert {r["generation"] for r in opened.live(FIRST).values()} == {1}


def test_no_folder_no_pages(site: tuple[Runner, list[str]], tmp_path: Path) -> None:
    runner, said = site
    runner.settings.report = ""
    runner.run("report", FIRST)
    assert "report: none is kept, REPORT is empty" in said
    assert not (tmp_path / "report").exists()
