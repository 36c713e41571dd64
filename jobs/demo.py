"""The whole product on a simulated shop, below var/demo: what `make demo` runs."""

from __future__ import annotations

import datetime as dt
import json
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.night import ONE_DAY
from jobs.runner import Runner
from jobs.settings import load_settings

HOME = Path("var/demo")
SHOP = {"start": "2026-03-02", "users": 600, "items": 1200, "events_per_night": 6000, "seed": 7, "text_share": 0.05}
# The user who is shown did no more than this in a month: of the busiest nothing is left to recommend.
USUAL_EVENTS = 150


def training_night(first: dt.date, nights: int) -> dt.date:
    """The last night that the demo trains on, two thirds through: as on a real first day, the nights before have lists but no topics."""
    return first + ONE_DAY * max(1, nights * 2 // 3 - 1)


def _settings_file() -> Path:
    """var/demo/settings.env, made once with a fresh secret, readable by its owner alone."""
    path = HOME / "settings.env"
    if not path.exists():
        HOME.mkdir(parents=True, exist_ok=True)
        root = HOME.resolve()
        lines = [
            f"USER_KEY_SECRET={secrets.token_hex(32)}",
            f"LANDING={root}/landing",
            f"LAKE={root}/lake",
            f"WAREHOUSE=duckdb:///{root}/warehouse.duckdb",
            f"REPORT={root}/report",
            "SPARK_FROM_ROWS=0",  # the shop is small enough to do without: this shows what a large one gets
        ]
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
    return path


def demo(nights: int, say: Callable[[str], None]) -> None:
    """Simulate, land, train, run and publish all nights, then show what came out; what is there already is reused."""
    from recsys_core.simulate import simulate

    os.environ["SETTINGS_FILE"] = str(_settings_file())
    for name in ("LANDING", "LAKE", "WAREHOUSE", "REPORT", "USER_KEY_SECRET", "USER_KEY_SECRET_FILE"):
        os.environ.pop(name, None)
    first = dt.date.fromisoformat(str(SHOP["start"]))
    wanted = json.dumps({**SHOP, "nights": nights}, sort_keys=True)
    done = HOME / "shop.json"
    if not done.exists() or done.read_text(encoding="utf-8") != wanted:
        for made in ("landing", "lake", "report"):
            shutil.rmtree(HOME / made, ignore_errors=True)
        for file in HOME.glob("warehouse.duckdb*"):
            file.unlink()
        say(f"1/4 simulating a shop: {nights} nights, {SHOP['users']} users, {SHOP['items']} items")
        shop = {k: v for k, v in SHOP.items() if k != "start"}
        simulate(str(HOME / "landing"), first, nights, **shop, dirt=True, progress=say)  # type: ignore[arg-type]
        done.write_text(wanted, encoding="utf-8")
    else:
        say(f"1/4 the shop of {nights} nights is there already")
    runner = Runner(load_settings(), say)
    try:
        last, trained = first + ONE_DAY * (nights - 1), training_night(first, nights)
        say(f"2/4 nights {first} to {trained}: no topic model is valid yet")
        runner.nights(first, trained)
        say(f"3/4 training on nights up to {trained}")
        runner.training(trained)
        say(f"4/4 nights {trained + ONE_DAY} to {last}")
        runner.nights(trained + ONE_DAY, last)
        _show(runner, last, say)
    finally:
        runner.close()


def _show(runner: Runner, ds: dt.date, say: Callable[[str], None]) -> None:
    """Print one user's interests and list, the night's metrics, and where to go on."""
    from recsys_core.warehouse import connect

    with connect(runner.settings.warehouse) as warehouse:

        def rows(sql: str, **params: Any) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = warehouse.query(sql, params).to_pylist()
            return found

        titles = {r["item_id"]: r["title"] for r in runner.lake.read("item", [ds], ["item_id", "title"]).to_pylist()}
        user = rows(
            """SELECT p.user_key, p.summary_en, p.summary_zh FROM user_profile p
            JOIN user_interest i ON i.ds = p.ds AND i.user_key = p.user_key AND i.horizon = '90d' AND i.rank = 1
            WHERE p.ds = :ds AND p.cold_level = 3 AND p.n_topics >= 3 AND p.n_events_30d <= :usual
            ORDER BY i.share * i.confidence DESC, p.user_key LIMIT 1""",
            ds=ds,
            usual=USUAL_EVENTS,
        )[0]
        say(f"\nUser {user['user_key'][:16]}… on {ds}\n  {user['summary_en']}\n  {user['summary_zh']}")
        say("\n  interests (90 days)                      share   lift  confidence  because of")
        interests = """SELECT t.label_en, i.share, i.lift, i.confidence, CAST(i.evidence AS VARCHAR) AS evidence FROM user_interest i
            JOIN topic t ON t.topic_id = i.topic_id WHERE i.ds = :ds AND i.user_key = :user AND i.horizon = '90d' ORDER BY i.rank LIMIT 5"""
        for r in rows(interests, ds=ds, user=user["user_key"]):
            because = "; ".join(
                f"{titles.get(e['item_id'], e['item_id'])} ({e['n_events']}×)" for e in json.loads(r["evidence"])["items"][:2]
            )
            say(f"  {r['label_en'][:38]:38}  {r['share']:6.1%} {r['lift']:6.2f}  {r['confidence']:10.2f}  {because}")
        say("\n  may take up next                         score  why")
        proposals = """SELECT t.label_en, e.score, e.reason FROM user_interest_expansion e JOIN topic t ON t.topic_id = e.topic_id
            WHERE e.ds = :ds AND e.user_key = :user AND e.method = 'collaborative' ORDER BY e.rank LIMIT 3"""
        for r in rows(proposals, ds=ds, user=user["user_key"]):
            say(f"  {r['label_en'][:38]:38}  {r['score']:6.3f}  {r['reason']}")
        say("\n  top 10")
        listed = """SELECT rank, item_id, reason_text_en FROM user_topn
            WHERE ds = :ds AND user_key = :user AND list_name = 'for_you' AND rank <= 10 ORDER BY rank"""
        for r in rows(listed, ds=ds, user=user["user_key"]):
            say(f"  {r['rank']:2}. {titles.get(r['item_id'], r['item_id'])[:48]:48}  {r['reason_text_en']}")
        say(f"\nLists of the night before against the events of {ds}, beside popularity")
        say("  metric        lists [95 %]               popularity   difference [95 %]")
        metrics = """SELECT * FROM eval_metric WHERE ds = :ds AND subject = 'recommender' AND slice_dim = 'all'
            AND list_name = 'for_you' AND baseline = 'popularity' AND k = 10 AND metric NOT LIKE '%_7d'
            AND metric IN ('ndcg', 'recall', 'precision', 'hit_rate', 'mrr', 'coverage', 'novelty', 'diversity') ORDER BY metric"""
        for r in rows(metrics, ds=ds):
            name = f"{r['metric']}@{r['k']}" if r["k"] else r["metric"]
            say(f"  {name:12}  {_interval(r, 'value', 'ci')}  {r['baseline_value']:10.4f}   {_interval(r, 'diff', 'diff_ci')}")
    example = Path("sql/queries/1_who_is_this_user.sql")
    say(f"\nwarehouse  {runner.settings.warehouse.removeprefix('duckdb:///')}\nreport     {Path(runner.settings.report) / f'{ds}.html'}")
    say(
        "\nTo try next:\n"
        "  make up                                     Airflow on http://127.0.0.1:8080, on these nights\n"
        f"  export SETTINGS_FILE={HOME}/settings.env          for the commands below\n"
        f"  .venv/bin/python -m jobs query {example.stem} --param user_key={user['user_key']}\n"
        f"  .venv/bin/python -m jobs nights --from {ds - ONE_DAY} --to {ds} --force          a backfill\n"
    )


def _interval(row: dict[str, Any], value: str, ends: str) -> str:
    low, high = row[f"{ends}_low"], row[f"{ends}_high"]
    around = f"[{low:.4f}, {high:.4f}]" if low is not None else ""
    return f"{row[value]:.4f} {around:18}"
