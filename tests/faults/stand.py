"""What the trials share: an undisturbed shop to compare with, its last night as rows of any generation, a PostgreSQL server, processes."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa

from docker.postgres import Server, served
from recsys_core.lake import MANIFEST, checksum
from recsys_core.simulate import simulate
from recsys_core.warehouse import MODEL_TABLES, NIGHT_TABLES, NightTables, Publication, Source
from recsys_core.warehouse.session import Session, stored
from tests.shop import FACTS, ONE_DAY, Shop

REPO = Path(__file__).resolve().parents[2]
START = dt.date(2026, 3, 2)
TRAINED = START + ONE_DAY
OLD = TRAINED + ONE_DAY  # published before a trial begins
DS = OLD + ONE_DAY  # the night on trial
PUBLISHED = (OLD, DS)
# One more night lands, with late events of the others.
SIZE: dict[str, Any] = {"nights": 5, "users": 300, "items": 80, "events_per_night": 500, "seed": 11, "dirt": True}
# Generations differ in the users that they leave out.
SHARES = 8


class Unavailable(Exception):
    """The trial cannot be made on this machine; the message says what it lacks."""


@dataclass
class Reference:
    """A shop that nothing disturbed, as it was before its last night and after it."""

    before: Shop
    after: Shop
    night_s: float  # what the last night took in a process of its own

    @classmethod
    def at(cls, folder: Path) -> Reference:
        """The one in the folder, made first where it is not."""
        after = Shop(folder / "after")
        facts, before = (Shop(folder / name, after.landing) for name in ("facts", "before"))
        noted = folder / "reference.json"
        if not noted.exists():
            after = grown(after.root, SIZE["nights"])
            after.copy(facts.root, warehouse=True)
            after.runner().night(OLD)
            after.copy(before.root, warehouse=True)
            began = time.monotonic()
            ran(after, "night", "--ds", str(DS))
            noted.write_text(json.dumps({"night_s": time.monotonic() - began}))
        return cls(before, after, json.loads(noted.read_text())["night_s"])

    @property
    def facts(self) -> Shop:
        """The shop after training, before any night was published."""
        return Shop(self.after.root.parent / "facts", self.after.landing)

    @cached_property
    def checksums(self) -> tuple[dict[str, str], dict[str, str]]:
        """Of the lake and of the warehouse after the last night."""
        return self.after.lake_checksums(), self.after.warehouse_checksums(*PUBLISHED)

    def assert_equal(self, shop: Shop, generation: int | None = 1) -> None:
        """Fails unless the shop's lake and warehouse hold what the undisturbed ones do, its last night in that generation, and no more."""
        for place, wanted, found in zip(
            ("lake", "warehouse"), self.checksums, (shop.lake_checksums(), shop.warehouse_checksums(*PUBLISHED)), strict=True
        ):
            odd = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
            assert not odd, f"the {place} differs from the undisturbed one in {', '.join(odd[:5])} ({len(odd)} in all)"
        live = shop.rows("SELECT DISTINCT generation FROM publication WHERE ds = :ds AND is_live", ds=DS)
        assert generation is None or live == [{"generation": generation}], f"live generations of {DS}: {live}, expected {generation}"
        assert not (left := leftovers(shop)), f"left behind: {', '.join(left[:5])} ({len(left)} in all)"


def grown(root: Path, nights: int, start: dt.date = START) -> Shop:
    """A shop of so many nights with the facts of the first two and topics trained on them, before any night is published."""
    shop = Shop(root)
    simulate(str(shop.landing), start, **SIZE | {"nights": nights})
    shop.runner().nights(start, start + ONE_DAY, FACTS)
    shop.runner().training(start + ONE_DAY)
    return shop


def leftovers(shop: Shop) -> list[str]:
    """What an interrupted run left: staged files, runs that never were live, files half written, builds of a warehouse."""
    staged = [p for p in (shop.lake / "_staging").rglob("*") if p.is_file()]
    dead = [p for p in shop.lake.rglob("run=*") if p.is_dir() and not (p / MANIFEST).exists()]
    partial = [p for pattern in ("*.tmp", "*.part", "*.build-*", "_temporary") for p in shop.root.rglob(pattern)]
    return sorted({str(p.relative_to(shop.root)) for p in (*staged, *dead, *partial)})


class Contents:
    """The reference's last night as rows of which any generation can be made: each names itself in every row and leaves out other users."""

    def __init__(self, shop: Shop) -> None:
        with shop.open() as warehouse:
            self._tables = {t: warehouse.read(t, DS) for t in NIGHT_TABLES}
            self.models = {t: warehouse.read(t) for t in MODEL_TABLES}
        self._made: dict[int, dict[str, pa.Table]] = {}

    def of(self, generation: int) -> NightTables:
        """The night as that generation has it."""
        share = generation % SHARES
        if share not in self._made:
            self._made[share] = {t: self._without(rows, share) for t, rows in self._tables.items()}
        tables = {t: self._named(rows, f"g{generation}") for t, rows in self._made[share].items()}
        sources = {t: Source(f"g{generation}", f"in-g{generation}", checksum(r)) for t, r in tables.items()}
        return NightTables(DS, tables, Publication(sources, dt.datetime.combine(DS + ONE_DAY, dt.time(), dt.UTC)))

    @staticmethod
    def _without(rows: pa.Table, share: int) -> pa.Table:
        if "user_key" not in rows.column_names:
            return rows
        kept = [u == "*" or zlib.crc32(u.encode()) % SHARES != share for u in rows.column("user_key").to_pylist()]
        return rows.filter(pa.array(kept, pa.bool_()))

    @staticmethod
    def _named(rows: pa.Table, name: str) -> pa.Table:
        if "run_id" not in rows.column_names:
            return rows
        place = rows.schema.get_field_index("run_id")
        return rows.set_column(place, rows.schema.field(place), pa.array([name] * rows.num_rows, pa.string()))


def seen(session: Session) -> int:
    """The generation that one snapshot shows of the night; AssertionError where the snapshot is not that generation, whole and alone."""
    live = session.fetch(
        "SELECT table_name, run_id, row_count, content_hash FROM publication WHERE ds = :ds AND is_live", {"ds": DS}
    ).to_pylist()
    assert sorted(r["table_name"] for r in live) == sorted(NIGHT_TABLES), f"the ledger names {len(live)} live tables of {len(NIGHT_TABLES)}"
    names = {r["run_id"] for r in live}
    assert len(names) == 1, f"the ledger mixes generations: {sorted(names)}"
    for entry in live:
        rows = stored(session, entry["table_name"], DS)
        assert rows.num_rows == entry["row_count"], f"{entry['table_name']}: {rows.num_rows} rows, the ledger says {entry['row_count']}"
        assert checksum(rows) == entry["content_hash"], f"{entry['table_name']} holds other rows than announced"
        mixed = set(rows.column("run_id").to_pylist()) - names if "run_id" in rows.column_names else set()
        assert not mixed, f"{entry['table_name']} holds rows of {sorted(mixed)} beside {names}"
    for name in ("topic", "topic_version", "model_version"):
        assert stored(session, name).num_rows, f"{name} is empty"
    return int(names.pop()[1:])


def environment(shop: Shop) -> dict[str, str]:
    """What a process that works on the shop gets."""
    # By Spark, however small the night: else there were no JVM and no worker to lose.
    return os.environ | shop.environment() | {"DEVICE": "cpu", "PYTHONUNBUFFERED": "1", "SPARK_FROM_ROWS": "0"}


def started(shop: Shop, *argv: str, **options: Any) -> subprocess.Popen[str]:
    """`python argv…` over the shop, in a session of its own, what it prints in one stream."""
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT} | options
    return subprocess.Popen([sys.executable, *argv], cwd=REPO, env=environment(shop), text=True, start_new_session=True, **given)


def ran(shop: Shop, *words: str, wanted: int = 0, within_s: float = 600) -> str:
    """What `python -m jobs words…` prints over the shop; fails unless it ends in time as wanted."""
    process = started(shop, "-m", "jobs", *words)
    try:
        said, _ = process.communicate(timeout=within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"{' '.join(words)} did not end within {within_s:.0f} s") from None
    assert process.returncode == wanted, f"{' '.join(words)} exited with {process.returncode}, not {wanted}: {said[-1500:]}"
    return said


def answers(processes: Sequence[subprocess.Popen[str]], within_s: float) -> list[dict[str, Any]]:
    """The JSON of the last line that each process prints; fails when one fails, or does not end in time."""
    found = []
    deadline = time.monotonic() + within_s
    try:
        for process in processes:
            said, _ = process.communicate(timeout=max(1.0, deadline - time.monotonic()))
            assert process.returncode == 0, f"{process.args!r}: {said[-1500:]}"
            found.append(json.loads(said.strip().splitlines()[-1]))
    except subprocess.TimeoutExpired:
        raise AssertionError(f"not done within {within_s:.0f} s: a deadlock?") from None
    finally:
        for process in processes:
            process.kill()
    return found


@dataclass
class Stand:
    """Where trials are made; `short` asks for the form that CI can pay for."""

    folder: Path
    short: bool = False
    _open: ExitStack = field(default_factory=ExitStack)
    _numbers: Any = field(default_factory=count)

    @cached_property
    def reference(self) -> Reference:
        """The undisturbed shop."""
        return Reference.at(self.folder / "reference")

    @cached_property
    def contents(self) -> Contents:
        """Its last night as rows."""
        return Contents(self.reference.after)

    @cached_property
    def server(self) -> Server:
        """A PostgreSQL server that can be crashed."""
        return self._open.enter_context(served())

    def database(self) -> str:
        """The URL of a fresh database."""
        name = f"trial_{next(self._numbers)}"
        with psycopg.connect(self.server.url, autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name}")
        return f"{self.server.url.rpartition('/')[0]}/{name}"

    def close(self) -> None:
        """End the server."""
        self._open.close()


@dataclass(frozen=True)
class Place:
    """What one trial is given: a folder of its own, and the stand."""

    folder: Path
    stand: Stand

    @property
    def reference(self) -> Reference:
        """The undisturbed shop."""
        return self.stand.reference

    def shop(self, name: str = "shop", of: Shop | None = None, warehouse_url: str = "") -> Shop:
        """A copy of the shop before its last night (or of another one); the landing zone is shared."""
        source = of or self.reference.before
        made = source.copy(self.folder / name, warehouse=not warehouse_url)
        return replace(made, warehouse_url=warehouse_url) if warehouse_url else made

    def warehouses(self) -> Mapping[str, str]:
        """A fresh warehouse on each engine, by the engine's name."""
        return {"duckdb": f"duckdb:///{self.folder / 'w.duckdb'}", "postgres": self.stand.database()}
