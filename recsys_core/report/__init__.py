"""The pages of the nights: one self-contained HTML file each, of the topics and of all nights; no script, no outside file, text escaped.

They are made from what was published, equal rows to equal bytes, and say what they were made from: pages that would not change are left.
"""

from __future__ import annotations

import datetime as dt
import fcntl
import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys_core.lake import digest

if TYPE_CHECKING:
    import pyarrow as pa

    from recsys_core.lake import Lake

Query = Callable[[str, dict[str, Any]], "pa.Table"]
_LEDGER = """SELECT ds, table_name, generation, run_id, content_hash FROM publication
    WHERE is_live AND "trigger" <> 'intraday' ORDER BY ds, table_name"""
_MODELS = "SELECT model_version, status FROM model_version ORDER BY model_version"
_MADE_FROM = re.compile(r'<meta name="made-from" content="([0-9a-f]*)">')


def published(query: Query) -> set[dt.date]:
    """The nights that readers see."""
    return {row["ds"] for row in query(_LEDGER, {}).to_pylist()}


def write_report(query: Query, ds: dt.date, folder: Path, lake: Lake | None = None) -> Path:
    """Write the night's page, the page of topics and the index of all pages in `folder`; returns the night's page."""
    write_reports(query, [ds], folder, lake, force=True)
    return folder / f"{ds.isoformat()}.html"


def write_reports(
    query: Query,
    nights: Sequence[dt.date],
    folder: Path,
    lake: Lake | None = None,
    landed: Collection[dt.date] = (),
    stopped: Mapping[dt.date, Sequence[str]] | None = None,
    force: bool = False,
) -> list[dt.date]:
    """Write the pages of published nights, of topics and of all nights below `folder`; returns the nights whose page is new or changed.

    A page is made again when what it shows may have changed: the publications up to its night, the models, or the rules it is made by.

    landed   nights that were delivered, published or not: the index tells both
    stopped  the checks that keep a night from being published, by night
    """
    ledger, models = query(_LEDGER, {}).to_pylist(), query(_MODELS, {}).to_pylist()
    topics = digest([_made_by(), models, lake is not None])
    made = []
    with _alone(folder):
        for ds in nights:
            known = digest([topics, str([row for row in ledger if row["ds"] <= ds])])
            page = folder / f"{ds.isoformat()}.html"
            if force or _made_from(page) != known:
                from recsys_core.report.night import night_page

                _replace(page, night_page(query, ds, lake, known))
                made.append(ds)
        known = digest([topics, [r["content_hash"] for r in ledger if r["table_name"] == "eval_metric"]])
        if force or _made_from(folder / "topics.html") != known:
            from recsys_core.report.topics import topics_page

            _replace(folder / "topics.html", topics_page(query, lake, known))
        pages = sorted(dt.date.fromisoformat(p.stem) for p in folder.glob("????-??-??.html"))
        known = digest([topics, str([ledger, pages, sorted(landed), sorted((stopped or {}).items())])])
        if force or _made_from(folder / "index.html") != known:
            from recsys_core.report.index import index_page
            from recsys_core.report.operations import night_states

            last = max([*landed, *(r["ds"] for r in ledger), *pages], default=dt.date.min)
            _replace(folder / "index.html", index_page(night_states(query, last, landed, stopped), pages, known))
    return made


@cache
def _made_by() -> str:
    """Hash of the rules that pages are made by."""
    hasher = hashlib.sha256()
    for path in sorted(Path(__file__).parent.iterdir()):
        if path.suffix in (".py", ".j2"):
            hasher.update(path.read_bytes())
    return hasher.hexdigest()[:16]


def _made_from(page: Path) -> str | None:
    """What a page says that it was made from; None when it is not there or does not say so."""
    try:
        with page.open(encoding="utf-8") as file:
            found = _MADE_FROM.search(file.read(2000))
    except OSError:
        return None
    return found[1] if found else None


def _replace(page: Path, html: str) -> None:
    """Put a page in its place whole: a reader sees the one before or the new one."""
    fresh = page.with_name(f".{page.name}.new")
    fresh.write_text(html, encoding="utf-8")
    os.replace(fresh, page)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time writes pages below a folder: two nights that end together would each leave the other out of the index."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
