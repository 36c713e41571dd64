"""How the simulated shop's records reach the landing folder: JSON lines with stable bytes, and the dirt of real deliveries."""

from __future__ import annotations

import datetime as dt
import gzip
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import orjson

from recsys_core.simulate.behaviour import CODE, TYPES, Events
from recsys_core.simulate.shop import NEVER, Catalogue, Population, hex_ids, opaque
from recsys_core.simulate.vocabulary import SALE_SHELVES, TOPICS
from recsys_core.simulate.wording import item_text, product_of, query_text, review_text

MAX_LINES = 250_000  # a file
DUPLICATE_SHARE, LATE_SHARE, MALFORMED_SHARE = 0.01, 0.01, 0.003
_CHUNK = 10_000
_DAY_MS = 86_400_000
_REGIONS = {True: ("US", "GB", "AU", "CA"), False: ("CN", "TW", "HK", "SG")}
_DEVICES = ("mobile", "desktop", "tablet")
_EPOCH = dt.date(1970, 1, 1)

# What a broken line becomes, by the reason that a careful reader gives (see the ingest rules of the documentation).
MALFORMATIONS: dict[str, Callable[[bytes], bytes]] = {
    "json_truncated": lambda line: line[: len(line) // 2],
    "blank_line": lambda line: b"  ",
    "not_object": lambda line: b"42",
    "glued_objects": lambda line: line + line,
    "trailing_data": lambda line: line + b" xyz",
    "json_syntax": lambda line: line.replace(b'"', b"'"),
    "dup_key": lambda line: line[:-1] + b',"user_id":"twice"}',
    "no_user": lambda line: line.replace(b'"user_id":"', b'"user_id":"","was":"', 1),
    "bad_ts": lambda line: line.replace(b'"ts":"', b'"ts":"2026-02-30 ', 1),
    "control_char": lambda line: line.replace(b'"device":"', b'"device":"\x01', 1),
    "bad_utf8": lambda line: line.replace(b'"device":"', b'"device":"\xff', 1),
    "not_json": lambda line: b"<html><body>502 Bad Gateway</body></html>",
}


def write_lines(path: Path, chunks: Iterable[list[bytes]]) -> None:
    """Writes one gzip file from lists of lines; equal lists give equal bytes (no name, no time in the header, one fixed level)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", compresslevel=4, fileobj=raw, mtime=0) as packed:
        for lines in chunks:
            packed.write(b"\n".join([*lines, b""]))


def _stamps(ms: np.ndarray) -> list[str]:
    return [text + "Z" for text in np.datetime_as_string(ms.astype("datetime64[ms]")).tolist()]


class NightWriter:
    """Writes the events of one block of one night, file by file, and counts what it wrote in `counts`."""

    def __init__(self, landing: Path, catalogue: Catalogue, people: Population, key: int, last: dt.date, dirt: bool) -> None:
        self.landing, self.catalogue, self.people, self.key, self.last, self.dirt = landing, catalogue, people, key, last, dirt
        self.counts: Counter[str] = Counter()
        self.malformed: Counter[str] = Counter()

    def write(self, events: Events, date: dt.date, block: int, first_event: int, rng: np.random.Generator) -> None:
        """Lands the events under the day on which each is received, ≤ 250,000 lines a file; late ones under a later day."""
        n = len(events.user)
        late = np.zeros(n, dtype=np.int64)
        if self.dirt:
            room = min(3, (self.last - date).days)
            if room > 0:
                late = np.where(rng.random(n) < LATE_SHARE, rng.integers(1, room + 1, n), 0)
        for days in range(int(late.max(initial=0)) + 1):
            rows = np.flatnonzero(late == days)
            folder = self.landing / "events" / f"ds={date + dt.timedelta(days)}"
            stem = f"part-{block:04d}" if days == 0 else f"part-{block:04d}-late-{date}"
            for k, first in enumerate(range(0, len(rows), MAX_LINES)):
                file_rows = rows[first : first + MAX_LINES]
                chunks = (
                    self._lines(events.take(chosen), chosen + first_event, date, days, rng)
                    for chosen in (file_rows[at : at + _CHUNK] for at in range(0, len(file_rows), _CHUNK))
                )
                write_lines(folder / f"{stem}-{k:03d}.jsonl.gz", (self._soil(lines, rng) for lines in chunks) if self.dirt else chunks)
                self.counts["files"] += 1
            self.counts["late"] += len(rows) if days else 0
        self.counts["events"] += n
        for name in ("search", "review"):
            self.counts[name] += int((events.kind == CODE[name]).sum())

    def _lines(self, e: Events, numbers: np.ndarray, date: dt.date, late: int, rng: np.random.Generator) -> list[bytes]:
        catalogue, people, n = self.catalogue, self.people, len(e.user)
        midnight = (date - _EPOCH).days * _DAY_MS
        ts = midnight + e.ms
        # On time: seconds later, before midnight (the last event of a night leaves a minute). Late: some time of the later day.
        received = (
            midnight + late * _DAY_MS + rng.integers(0, _DAY_MS, n)
            if late
            else ts + 300 + (rng.exponential(3.0, n) * 1000).clip(0, 50_000).astype(np.int64)
        )
        state, dwell = (
            rng.integers(0, 2**62, n).tolist(),
            np.round(rng.lognormal(np.where(e.noise, 2.6, 3.4), 0.8), 1).tolist(),
        )  # interest lingers
        quantity = np.minimum(rng.geometric(0.8, n), 5).tolist()
        speaks_en = np.where(people.bilingual[e.user] & (e.item >= 0), catalogue.topic[e.item] < len(TOPICS) // 2, people.english[e.user])
        device = np.where(e.session % 10 == 0, 1, people.device[e.user])  # now and then from the desk
        rows = zip(
            hex_ids(opaque(numbers, self.key)), e.user.tolist(), e.item.tolist(), e.kind.tolist(), _stamps(ts), _stamps(received),
            hex_ids(opaque(e.session, self.key ^ 0x5E55)), device.tolist(), people.region[e.user].tolist(), speaks_en.tolist(),
            e.stars.tolist(), e.about.tolist(), state, dwell, quantity, people.english[e.user].tolist(),
            strict=True,
        )  # fmt: skip
        lines = []
        for event_id, user, item, kind, at, seen, session, dev, region, english, stars, about, word, seconds, pieces, home_en in rows:
            name = TYPES[kind]
            record = {
                "event_id": event_id, "user_id": people.ids[user], "event_type": name, "ts": at, "received_ts": seen, "session_id": session,
                "device": _DEVICES[dev], "region": _REGIONS[home_en][region], "lang": "en" if english else "zh",
            }  # fmt: skip
            if item >= 0:
                record["item_id"] = catalogue.ids[item]
            if name == "view":
                record["dwell_s"] = seconds
            elif name in ("add_to_cart", "purchase", "return"):
                record["price"] = float(catalogue.price[item])
                record["quantity"] = pieces if name == "purchase" else 1
            elif name == "search":
                topic = TOPICS[about]
                own = item >= 0 and catalogue.topic[item] == about
                record["lang"] = topic.lang
                record["query"] = query_text(topic, word, product_of(topic, int(catalogue.text_state[item])) if own else None)
            elif stars:
                record["rating"] = stars
                if name == "review":
                    topic = TOPICS[about]
                    record["lang"] = topic.lang
                    record["text"] = review_text(topic, product_of(topic, int(catalogue.text_state[item])), stars, word)
            lines.append(orjson.dumps(record))
        return lines

    def _soil(self, lines: list[bytes], rng: np.random.Generator) -> list[bytes]:
        """The lines as a careless delivery would bring them: some twice, some broken."""
        names = list(MALFORMATIONS)
        fate = rng.random(len(lines))
        which = rng.integers(0, len(names), len(lines)).tolist()
        out: list[bytes] = []
        repeats: list[bytes] = []
        for line, chance, k in zip(lines, fate.tolist(), which, strict=True):
            if chance < MALFORMED_SHARE:
                out.append(MALFORMATIONS[names[k]](line))
                self.malformed[names[k]] += 1
            else:
                out.append(line)
                if chance > 1.0 - DUPLICATE_SHARE:
                    repeats.append(line)
        self.counts["duplicates"] += len(repeats)
        return out + repeats


def item_rows(catalogue: Catalogue, rows: Iterable[int], day: int, date: dt.date, deleted: frozenset[int] = frozenset()) -> list[bytes]:
    """Catalogue lines of the items as of a day, in the order given."""
    lines = []
    for row in rows:
        main, second = TOPICS[catalogue.topic[row]], catalogue.second[row]
        shelf = int(catalogue.category[row])
        text = item_text(main, TOPICS[second] if second >= 0 else None, int(catalogue.text_state[row]), int(catalogue.edition[row]))
        record = {
            "item_id": catalogue.ids[row], "title": text["title"], "description": text["description"], "tags": text["tags"],
            "category": TOPICS[shelf].category if shelf >= 0 else SALE_SHELVES[main.lang][-shelf - 1], "brand": text["brand"],
            "price": float(catalogue.price[row]), "lang": main.lang, "deleted": row in deleted,
        }  # fmt: skip
        if catalogue.sold_out[row] < NEVER:
            record["stock"] = 0 if catalogue.sold_out[row] <= day else 1 + int(catalogue.text_state[row]) % 40
        if catalogue.region[row] >= 0:
            record["regions"] = [_REGIONS[main.lang == "en"][catalogue.region[row]]]
        if catalogue.removal[row] < NEVER:
            record["available_to_ds"] = str(date + dt.timedelta(int(catalogue.removal[row]) - 1 - day))
        lines.append(orjson.dumps(record))
    return lines
