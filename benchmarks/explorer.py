"""The explorer in a browser with a million users: `python -m benchmarks explorer [--users 1000000] [--engine postgres]`.

The newest night of a shop (`make demo` makes one; --settings names another) is published into a fresh warehouse, and its users' rows are
copied under new keys, at most MOST rows of a user and table. A process serves the explorer as Airflow's plugin does, without its login, and
Chromium opens each page: the first one right after the server is ready, then all of them in turns, medians of `--rounds`. `content` is the
browser's first contentful paint, `answer` the first byte, both from the request on. The night's report is opened, too.
"""

from __future__ import annotations

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from benchmarks.ways import load
from recsys_core.tables import TABLES, Table

MOST = 6
SOMEBODY = "SELECT max(user_key) FROM user_topn WHERE ds = DATE '{ds}' AND length(user_key) = 64"
PAINT = """() => new Promise(done => new PerformanceObserver(list => done([list.getEntriesByName('first-contentful-paint')[0].startTime,
    performance.getEntriesByType('navigation')[0].responseStart, performance.getEntriesByType('navigation')[0].transferSize]))
    .observe({type: 'paint', buffered: true}))"""


def filled(connection: Any, users: int, ds: Any) -> None:
    """Copy the rows of the night's users until there are so many."""
    known = int(_one(connection, f"SELECT count(DISTINCT user_key) FROM user_profile WHERE ds = DATE '{ds}'"))
    for table in (t for t in TABLES.values() if t.warehouse and {"ds", "user_key"} <= set(t.names)):
        connection.execute(_copies(table, -(-users // known) - 1, ds))


def _one(connection: Any, sql: str) -> Any:
    return connection.execute(sql).fetchone()[0]


def _copies(table: Table, copies: int, ds: Any) -> str:
    key = "md5(r.user_key || CAST(g.n AS VARCHAR)) || md5(CAST(g.n AS VARCHAR) || r.user_key)"
    names = ", ".join(f'"{name}"' for name in table.names)
    values = ", ".join(key if name == "user_key" else f'r."{name}"' for name in table.names)
    place = f"row_number() OVER (PARTITION BY user_key ORDER BY {', '.join(table.key)}) AS place"
    rows = f"SELECT *, {place} FROM {table.name} WHERE ds = DATE '{ds}' AND length(user_key) = 64"
    return (
        f"INSERT INTO {table.name} ({names}) SELECT {values} FROM ({rows}) AS r CROSS JOIN generate_series(1, {copies}) AS g(n) "
        f"WHERE r.place <= {MOST} ORDER BY {', '.join(str(1 + table.names.index(name)) for name in table.key)}"
    )


@contextmanager
def warehouse(engine: str, folder: Path, lake: Path, users: int) -> Iterator[tuple[str, Any, str, int]]:
    """(URL, the night, a user's key, bytes or 0) of a warehouse of so many users."""
    from docker.postgres import serve
    from recsys_core.lake import Lake

    ds = max(Lake(str(lake)).nights("user_topn"))
    if engine == "duckdb":
        import duckdb

        file = folder / "w.duckdb"
        _publish(f"duckdb:///{file}", lake, ds)
        with duckdb.connect(str(file)) as connection:
            filled(connection, users, ds)
            user = _one(connection, SOMEBODY.format(ds=ds))
        yield f"duckdb:///{file}", ds, user, file.stat().st_size
        return
    import psycopg

    with serve() as url:
        _publish(url, lake, ds)
        with psycopg.connect(url, autocommit=True) as connection:
            filled(connection, users, ds)
            connection.execute("ANALYZE")
            user = _one(connection, SOMEBODY.format(ds=ds))
            size = _one(connection, "SELECT pg_database_size(current_database())")
        yield url, ds, user, size


def _publish(url: str, lake: Path, ds: Any) -> None:
    command = [sys.executable, "-m", "jobs", "night", "--ds", str(ds), "--jobs", "publish"]
    subprocess.run(command, check=True, env=os.environ | {"WAREHOUSE": url, "LAKE": str(lake)}, stdout=subprocess.DEVNULL)


def serve_pages(port: int) -> None:
    """Serve the explorer, warmed up as Airflow's plugin is."""
    import uvicorn

    from dags.plugins import interest_explorer as plugin
    from recsys_core.explorer.app import create_app

    async def everybody(request: Any) -> None:
        return None

    threading.Thread(target=plugin.warm_up, daemon=True).start()
    app = create_app(plugin.source, lambda ds, item_ids: plugin.places()[1](ds, item_ids), everybody)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning", lifespan="off")


@contextmanager
def served(url: str, lake: Path) -> Iterator[str]:
    """The address of a fresh process that serves; ready as soon as it listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "benchmarks.explorer", "--serve", str(port)]
    process = subprocess.Popen(command, env=os.environ | {"WAREHOUSE_READER": url, "LAKE": str(lake)})
    try:
        while True:
            if process.poll() is not None:
                raise click.ClickException("the explorer did not start; the reason is printed above")
            with socket.socket() as asked:
                if asked.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}/en/"
    finally:
        process.terminate()
        process.wait()


@click.command(help=__doc__)
@click.option("--users", default=1_000_000, show_default=True)
@click.option("--engine", type=click.Choice(["duckdb", "postgres"]), default="duckdb", show_default=True)
@click.option("--settings", type=click.Path(exists=True, path_type=Path), default="var/demo/settings.env", show_default=True)
@click.option("--rounds", default=5, show_default=True, help="calls of each page")
@click.option("--serve", "port", type=int, hidden=True)
def main(users: int, engine: str, settings: Path, rounds: int, port: int | None) -> None:
    """Print a table of pages."""
    if port:
        serve_pages(port)
        return
    from playwright.sync_api import sync_playwright

    from jobs.settings import read_settings

    os.environ["SETTINGS_FILE"] = str(settings.resolve())
    shop = read_settings()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        lake = Path(shutil.copytree(shop.lake, Path(folder) / "lake"))  # publishing notes in the lake what it has done
        with warehouse(engine, Path(folder), lake, users) as (url, ds, user, size):
            browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
            report = max(Path(shop.report).glob("2*.html"), default=None) if shop.report else None
            found: dict[str, list[list[float]]] = {}

            def opened(name: str, address: str) -> None:
                page = browser.new_page()
                answered = page.goto(address)
                if answered and not answered.ok:
                    raise click.ClickException(f"{name}: {page.inner_text('body')}")
                found.setdefault(name, []).append(page.evaluate(PAINT))
                page.close()

            opened("(the browser's own start)", "data:text/html,<p>.")
            for first in (f"user/{user}", "", "topics"):
                with served(url, lake) as base:
                    opened(f"first after a start: {first.partition('/')[0] or 'home'}", base + first)
            with served(url, lake) as base:
                page = browser.new_page()
                page.goto(f"{base}topics")
                topic = page.locator("a[href*='topic/']").first.evaluate("link => link.href").rpartition("/topic/")[2].partition("?")[0]
                page.close()
                pages = ["", f"user/{user}", "topics", f"topic/{topic}", "models", "nights", "visitors", f"find?q={user[:5]}"]
                for _ in range(rounds):
                    for asked in pages:
                        opened(asked.partition("/")[0].partition("?")[0] or "home", base + asked)
            if report:
                for _ in range(rounds):
                    opened(f"report ({report.stat().st_size / 1e3:,.0f} kB)", report.as_uri())
            browser.close()
    click.echo(f"{users:,} users on {engine} ({size / 1e9:.1f} GB), night {ds}; {load()}\n")
    click.echo("| page | content ms | most | answer ms | kB |\n|---|---|---|---|---|")
    for name, calls in found.items():
        content, answer, sent = zip(*calls, strict=True)
        typical = [statistics.median(content), max(content), statistics.median(answer)]
        click.echo(f"| {name} | {' | '.join(f'{ms:,.0f}' for ms in typical)} | {max(sent) / 1e3:.1f} |")


if __name__ == "__main__":
    main()
