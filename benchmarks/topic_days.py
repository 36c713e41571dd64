"""What benchmarks of interests share: a data set or a simulated shop as mass by user, night and topic, with topics fitted before a cut."""

from __future__ import annotations

import datetime as dt
import gzip
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import orjson
import pyarrow as pa

from recsys_core import encoders
from recsys_core.simulate import simulate
from recsys_core.sources import land
from recsys_core.texts import compose_item
from recsys_core.topics import membership
from recsys_core.topics.kmeans import KMeans
from recsys_core.topics.number import number_of_topics
from recsys_core.topics.spherical import unit

SOURCES = ("steam", "stackexchange", "simulated")
K_MIN, K_MAX = 20, 200


@dataclass(frozen=True)
class Logs:
    """(user, item, night) → events, and the text of each item."""

    events: Counter[tuple[str, str, dt.date]]
    texts: dict[str, str]

    def night_at(self, share: float) -> dt.date:
        """The night by whose end about this share of all events has happened."""
        nights = sorted(n for (_, _, night), count in self.events.items() for n in [night] * count)
        return nights[min(int(share * len(nights)), len(nights) - 1)]


def read_logs(source: str, data: str | None, seed: int, nights: int = 60) -> Logs:
    """The logs of a data set, landed as the product lands it, or of a simulated shop of 600 users."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "landing"
        if source == "simulated":
            simulate(str(root), dt.date(2026, 3, 2), nights, users=600, items=1200, events_per_night=6000, seed=seed, text_share=0.01)
        elif data is None:
            raise click.UsageError(f"--data names the folder of {source}")
        else:
            land(source, data, str(root))
        events: Counter[tuple[str, str, dt.date]] = Counter()
        for ds, row in lines(root / "events"):
            if row.get("item_id") and "fault" not in row:
                events[row["user_id"], row["item_id"], ds] += 1
        texts: dict[str, str] = {}
        for _, row in lines(root / "items"):
            if row.get("title"):
                texts[row["item_id"]] = compose_item(row["title"], row.get("description"), row.get("tags"))[0]
    return Logs(events, texts)


def lines(folder: Path) -> Iterator[tuple[dt.date, dict[str, Any]]]:
    """(night, row) of all landed lines, by night."""
    for path in sorted(folder.glob("ds=*/*.jsonl*")):
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            for line in file:
                yield dt.date.fromisoformat(path.parent.name[3:]), orjson.loads(line)


def topic_rows(logs: Logs, cut: dt.date, encoder: str, seed: int, k: int | None = None) -> tuple[pa.Table, int]:
    """(rows of user_topic_day: ds, user_key, topic_id, mass_micro; number of topics) by k-means on vectors of items met up to the cut."""
    rows, centroids = rows_and_centroids(logs, cut, encoder, seed, k)
    return rows, len(centroids)


def rows_and_centroids(logs: Logs, cut: dt.date, encoder: str, seed: int, k: int | None = None) -> tuple[pa.Table, np.ndarray]:
    """The same rows, and the unit centroids of the topics, (k, dimensions)."""
    items = sorted({item for _, item, _ in logs.events if item in logs.texts})
    met = {item for _, item, night in logs.events if night <= cut}
    texts = [logs.texts[i] for i in items]
    known = np.array([i in met for i in items])
    fit = encoders.fitter(encoder) if encoder in encoders.FITTED else None
    made = encoders.restore(encoder, fit([texts[n] for n in np.flatnonzero(known)])) if fit else encoders.load(encoder)
    vectors = made.encode(texts).astype(np.float32)
    fitted_on = np.unique(vectors[known], axis=0)
    k = k or number_of_topics("kmeans", fitted_on, K_MIN, min(K_MAX, len(fitted_on) // 5), seed)[0]
    model = KMeans.fit(fitted_on, k, seed)
    weights = model.weights(vectors)
    found: list[list[tuple[int, int]]] = [[] for _ in items]
    for document, topic, micro, _ in zip(*membership(weights), strict=True):
        found[document].append((int(topic), int(micro)))
    place, mass = {item: n for n, item in enumerate(items)}, Counter[tuple[dt.date, str, int]]()
    for (user, item, night), count in logs.events.items():
        for topic, micro in found[place[item]] if item in place else ():
            mass[night, user, topic] += micro * count
    rows = [(*key, micro) for key, micro in sorted(mass.items())]
    schema = pa.schema([("ds", pa.date32()), ("user_key", pa.string()), ("topic_id", pa.int64()), ("mass_micro", pa.int64())])
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema), unit(model.centroids)
