"""A simulated shop's landing zone, lake and warehouse, for the tests that run whole nights."""

from __future__ import annotations

import datetime as dt
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from jobs.runner import Runner
from jobs.settings import Settings
from recsys_core.tables import TABLES
from recsys_core.warehouse import Warehouse, connect

ONE_DAY = dt.timedelta(days=1)
SECRET = "a secret of the tests"
FACTS = ("clean", "aggregate", "texts", "embed")
# Vectors are looked up by content, whichever night wrote them first: the one table whose nights may differ between runs.
BY_CONTENT = ("text_embedding",)


@dataclass
class Shop:
    """A landing zone, a lake and a warehouse below one folder, or elsewhere when named."""

    root: Path
    landing: Path = field(default=Path())
    warehouse_url: str = ""
    said: list[str] = field(default_factory=list)
    report: bool = False  # whether nights get their pages, which cost a second each

    def __post_init__(self) -> None:
        self.landing = self.landing if self.landing != Path() else self.root / "landing"
        self.warehouse_url = self.warehouse_url or f"duckdb:///{self.root / 'warehouse.duckdb'}"

    @property
    def lake(self) -> Path:
        """The lake's root."""
        return self.root / "lake"

    def environment(self) -> dict[str, str]:
        """Settings of a subprocess."""
        places = {"LANDING": str(self.landing), "LAKE": str(self.lake), "WAREHOUSE": self.warehouse_url}
        return places | {"REPORT": str(self.root / "report") if self.report else "", "USER_KEY_SECRET": SECRET}

    def runner(self) -> Runner:
        """A fresh Runner, as a new process would have; never close it: the Spark session is everyone's."""
        settings = Settings.model_validate({k.lower(): v for k, v in self.environment().items()} | {"device": "cpu"})
        self.said.clear()
        return Runner(settings, self.said.append)

    def copy(self, root: Path, warehouse: bool = False, landing: bool = False) -> Self:
        """The same lake (and warehouse file, and landing zone) below another root; otherwise the landing zone is shared."""
        shutil.copytree(self.lake, root / "lake")
        if warehouse:
            shutil.copy2(self.root / "warehouse.duckdb", root)
        if landing:
            shutil.copytree(self.landing, root / "landing")
        return type(self)(root, root / "landing" if landing else self.landing)

    def open(self) -> Warehouse:
        """The warehouse, to be used in a `with`."""
        return connect(self.warehouse_url)

    def rows(self, sql: str, **params: Any) -> list[dict[str, Any]]:
        """Rows of a query of the warehouse."""
        with self.open() as warehouse:
            found: list[dict[str, Any]] = warehouse.query(sql, params).to_pylist()
        return found

    def live_manifests(self) -> list[Path]:
        """The manifests of partitions; their copies in the folders of runs are left out."""
        return [path for path in self.lake.rglob("_manifest.json") if not path.parent.name.startswith("run=")]

    def lake_checksums(self, ds: dt.date | None = None) -> dict[str, str]:
        """Checksum by partition of all live ones (of a night), those kept by content left out."""
        manifests = [json.loads(path.read_bytes()) | {"at": path.parent} for path in self.live_manifests()]
        return {
            str(m["at"].relative_to(self.lake)): m["checksum"]
            for m in manifests
            if m["table"] not in BY_CONTENT and (ds is None or m["ds"] == ds.isoformat())
        }

    def warehouse_checksums(self, *nights: dt.date) -> dict[str, str]:
        """Checksum of each table of each night, model tables whole; the ledgers left out."""
        tables = [t for t in TABLES.values() if t.warehouse and not t.ledger]
        with self.open() as warehouse:
            found = {f"{t.name} {ds}": warehouse.checksum(t.name, ds) for t in tables if t.by_night for ds in nights}
            return found | {t.name: warehouse.checksum(t.name) for t in tables if not t.by_night}
