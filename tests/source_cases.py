"""Each data set as a few literal rows in its owner's form, and what must land of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.ecosystem import GA4, MONOPOLY, SEGMENT, UNO


def files(folder: Path, **contents: str) -> None:
    """Write files; `__` in a name is a dot, and a name that ends in .gz is zipped."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in contents.items():
        path, data = folder / name.replace("__", "."), text.encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def jsonl(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def unzipped(file: Path) -> list[str]:
    return (gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()).decode().splitlines()


def landed(root: Path, kind: str, faults: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Partition → its lines: those of events and items, or the fault lines."""
    partitions = sorted((root / kind).glob("ds=*"))
    lines = {p.name[3:]: [json.loads(line) for file in sorted(p.iterdir()) for line in unzipped(file)] for p in partitions}
    return {ds: kept for ds, rows in lines.items() if (kept := [row for row in rows if ("fault" in row) is faults])}


def apart(root: Path) -> list[dict[str, Any]]:
    """The fault lines of rows whose night is not known."""
    return [json.loads(line) for file in sorted((root / "_refused").glob("*.gz")) for line in unzipped(file)]


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def steam(folder: Path) -> None:
    head = "event_id,event_date,user_id,item_id,event_type,recommend,review,helpful_up,helpful_total,funny,year_imputed\n"
    rows = (
        '1,2014-01-01,u1,10,review_recommend,True,"Great, <b>really</b> &amp; short",0,0,0,True\n',
        "2,2014-01-01,u2,10,review_not_recommend,False,split\rby a return,0,0,0,False\n",
        "3,2014-01-03,u1,20,review_recommend,True,,0,0,0,False\n",
        "4,2014-02-30,u1,20,review_recommend,True,,0,0,0,False\n",
        "5,2014-01-03,u1\n",
        "6,2014-01-05,u1,20,looked,True,,0,0,0,False\n",
    )
    game = {"item_id": 10, "title": "A", "genres": ["Action"], "tags": ["Indie", "Action"], "developer": "D", "price": "Free To Play"}
    other = {"item_id": 20, "title": "B", "genres": [], "tags": None, "developer": None, "price": "Third-party"}
    files(folder, events__csv__gz=head + "".join(rows), items__jsonl__gz=jsonl(game, other, {"item_id": 30, "title": None}) + "[1]\n{cut\n")


def stackexchange(folder: Path) -> None:
    head = "event_id,user_id,item_id,event_type,ts,text\n"
    rows = (
        "1,beer:7,beer:2,favorite,2014-01-21T00:00:00.000,\n",
        '2,beer:8,beer:2,ask,2014-01-21T20:27:29.797,"If a &lt; b, <p>then?</p> a<b"\n',
        "3,beer:8,beer:3,edit_body,2014-01-22T20:27:29.797,added 109 characters in body; edited tags\n",
        "4,beer:8,beer:3,edit_title,2014-01-22T20:28:29.797,Grammar tweaks\n",
        "5,beer:8,beer:3,bounty,2014-01-23T00:00:00.000,\n",
        "6,beer:9,beer:3,comment,2014-01-23T00:00:00.000,hi\n",
        "7,beer:9,beer:3,vote,2014-01-23T00:00:00.000,hi\n",
    )
    item = {"site": "beer", "title": "T", "body": "<p>" + "x" * 3000, "tags": ["hops", "hops"]}
    items = (
        {"item_id": f"beer:{n}", "created": created, **item} for n, created in ((1, "2014-01-20T00:00:00"), (3, "2014-01-23T00:00:00"))
    )
    files(folder, sample_events__csv=head + "".join(rows), sample_items__jsonl=jsonl(*items, {"item_id": "beer:2", "title": "No date"}))


RETAIL_HEAD = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
RETAIL_DAYS = {
    "2010-12-01.csv": (
        "536365,85123A,WHITE HEART,6,2010-12-01 08:26:00,2.55,17850.0,United Kingdom\n"
        "536365,71053,LANTERN,6,2010-12-01 08:26:00,3.39,17850.0,United Kingdom\n"
        "536366,71053,LAMP,6,2010-12-01 08:28:00,3.00,,France\n"
        "536366,71053,LAMP,6,2010-12-01 08:28:00,3.00,,France\n"
        "536366,POST,POSTAGE,1,2010-12-01 08:28:00,3.00,17850.0,France\n"
    ),
    "2010-12-03.csv": (
        "C536379,71053,LANTERN,-1,2010-12-03 09:41:00,3.39,17850.0,France\n"
        "536380,22139,damaged,-10,2010-12-03 09:41:00,0.0,,France\n"
        "536381,22139,TEA SET,1,2010-12-03 09:50:00,4.95,17850.0,France\n"
        "536381,22139,TEA SET,one,2010-12-03 09:50:00,4.95,17850.0,France\n"
    ),
}


def online_retail(folder: Path) -> None:
    files(folder, **{name: RETAIL_HEAD + rows for name, rows in RETAIL_DAYS.items()})


def movielens(folder: Path) -> None:
    files(
        folder,
        ratings__csv="userId,movieId,rating,timestamp\n1,1,4.0,964982703\n1,2,0.5,964982703\n2,1,x,964982703\n2,1,3.0,never\n",
        tags__csv="userId,movieId,tag,timestamp\n2,1,pixar & fun,1139045764\n",
        movies__csv='movieId,title,genres\n1,Toy Story (1995),Adventure|Comedy\n2,"Net, The (1995)",(no genres listed)\n',
    )


def amazon_reviews(folder: Path) -> None:
    old = {
        "reviewerID": "R1",
        "asin": "A1",
        "overall": 5.0,
        "verified": True,
        "reviewText": "Fine &amp; good",
        "summary": "Fine",
        "unixReviewTime": 1388534400,
    }
    new = {
        "user_id": "R2",
        "asin": "A2",
        "parent_asin": "P2",
        "rating": 2.0,
        "title": "Meh",
        "text": "Broke<br />soon",
        "timestamp": 1388621045123,
    }
    files(folder, Toys__json__gz=jsonl(old, {**old, "overall": 0}), Toys__jsonl=jsonl(new, {**new, "user_id": ""}) + "{'single': 1}\n")
    first = {
        "asin": "A1",
        "title": "Train",
        "brand": "Hokus",
        "category": ["Toys", "Trains"],
        "price": "$1,299.00",
        "description": ["Of", "wood"],
    }
    second = {
        "parent_asin": "P2",
        "title": "Doll",
        "store": "Pokus",
        "main_category": "Toys",
        "categories": ["Toys", "Dolls"],
        "price": "from 12.99",
    }
    files(folder, meta_Toys__jsonl=jsonl(first, second, {"other": 1}))


def segment(folder: Path) -> None:
    files(folder, **{"1767484800__b2f5__1__gz": jsonl(*SEGMENT) + "{cut\n"})


def ga4(folder: Path) -> None:
    files(folder, **{"events_20260103-000000000000__json__gz": jsonl(*GA4) + "{cut\n"})


def canonical(folder: Path) -> None:
    view = {"event_id": "e1", "user_id": "u1", "item_id": "i1", "event_type": "view", "ts": "2026-01-02T23:30:00-02:00"}
    late = {**view, "event_id": "e2", "ts": 1767323045, "received_ts": 1767409445000}
    files(
        folder,
        a__jsonl=jsonl(view, late) + "[1]\n{cut\n\n" + jsonl({**view, "ts": None}, {**view, "ts": "soon"}),
        items__jsonl=jsonl({"item_id": "i1", "title": "T"}),
    )
    files(folder, more__csv="item_id,title,tags,price,deleted\ni2,Zug,toys | wood,1.5,\ni3,,,,true\ni4,Bad,,x,\n")


def mapped(folder: Path) -> None:
    orders = (
        "1;anna;B-1;kauf;05.01.2026 10:00;1.299,50 €;Bücherregal;Möbel / Regale\n"
        "1;anna;B-2;kauf;05.01.2026 10:00;12,00;Lampe;Licht\n"
        "2;-;B-2;kauf;05.01.2026 11:00;12,00;Lampe;Licht\n"
        "3;ben;PORTO;kauf;05.01.2026 12:00;4,90;Porto;\n"
        "4;ben;B-2;gelesen;06.01.2026 09:00;;Lampe;Licht\n"
        "5;ben;B-1;rück;06.01.2026 09:00;1.299,50 €;Bücherregal 80 cm;Möbel / Regale\n"
        "6;ben;B-1;kauf;31.02.2026 09:00;1,00;Bücherregal;\n"
        "7;ben\n"
    )
    files(
        folder,
        orders__csv__gz="Auftrag;Kunde;Ware;Art;Zeit;Preis;Name;Weg\n" + "".join(orders),
        mapping__toml="""
time_zone = "UTC"
delimiter = ";"
decimal = ","
empty = ["-"]
expected_reasons = ["no_user", "not_a_product"]
[events]
event_id = { columns = ["Auftrag", "Ware"], separator = "/" }
user_id = "Kunde"
item_id = "Ware"
event_type = { column = "Art", values = { kauf = "purchase", "r*k" = "return" } }
ts = { column = "Zeit", format = "%d.%m.%Y %H:%M" }
price = "Preis"
[items]
title = "Name"
tags = { column = "Weg", separator = "/" }
price = "Preis"
[refuse.not_a_product]
Ware = "PORTO*"
""",
    )


@dataclass(frozen=True)
class Case:
    """A literal input and what must land: nights → event ids, items partitions → item ids.

    faults         nights → codes of the fault lines; the other refused rows lie in `_refused`
    derived_items  items made of the events
    several        events beyond the first of a row
    identities     nights → pairs
    """

    make: Callable[[Path], None]
    events: dict[str, list[str]]
    items: dict[str, list[str]]
    read: int
    refused: dict[str, int] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    derived_items: int = 0
    several: int = 0
    identity_rows: int = 0
    identities: dict[str, list[tuple[str, str]]] = field(default_factory=dict)

    @property
    def nights(self) -> list[str]:
        """All partitions of events."""
        return sorted({*self.events, *self.faults})


CASES: dict[str, Case] = {
    "steam": Case(
        steam,
        {"2014-01-01": ["steam-1", "steam-2"], "2014-01-03": ["steam-3"]},
        {"2014-01-01": ["10", "20"]},
        11,
        {"bad_ts": 1, "bad_row": 1, "unknown_event_type": 1, "missing_required": 1, "not_object": 1, "json_truncated": 1},
        {"2014-01-03": ["bad_row"], "2014-01-05": ["unknown_event_type"]},
    ),
    "stackexchange": Case(
        stackexchange,
        {
            "2014-01-21": ["stackexchange-1", "stackexchange-2"],
            "2014-01-22": ["stackexchange-3", "stackexchange-4"],
            "2014-01-23": ["stackexchange-5", "stackexchange-6"],
        },
        {"2014-01-21": ["beer:1", "beer:2"], "2014-01-22": ["beer:3"]},
        10,
        {"unknown_event_type": 1},
        {"2014-01-23": ["unknown_event_type"]},
    ),
    "online-retail": Case(
        online_retail,
        {"2010-12-01": ["536365-1", "536365-2", "536366-1", "536366-2"], "2010-12-03": ["C536379-1", "536381-1"]},
        {"2010-12-01": ["71053", "85123A"], "2010-12-03": ["22139"]},
        9,
        {"not_a_product": 1, "stock_adjustment": 1, "bad_number": 1},
        {"2010-12-01": ["not_a_product"], "2010-12-03": ["stock_adjustment", "bad_number"]},
        derived_items=3,
    ),
    "movielens": Case(
        movielens,
        {
            "2000-07-30": ["movielens-rating-1-1-964982703", "movielens-rating-1-2-964982703"],
            "2006-02-04": ["movielens-tag-2-1-1139045764-ea8e3535"],
        },
        {"2000-07-30": ["1", "2"]},
        7,
        {"bad_number": 1, "bad_ts": 1},
        {"2000-07-30": ["bad_number"]},
    ),
    "amazon-reviews": Case(
        amazon_reviews,
        {"2014-01-01": ["amazon-old"], "2014-01-02": ["amazon-new"]},
        {"2014-01-01": ["A1", "P2"]},
        8,
        {"bad_rating": 1, "missing_required": 1, "json_syntax": 1, "unknown_record": 1},
        {"2014-01-01": ["bad_rating"], "2014-01-02": ["missing_required"]},
    ),
    "segment": Case(
        segment,
        {
            "2026-01-02": ["ajs-1", "ajs-2", "ajs-3", "ajs-4"],
            "2026-01-03": ["ajs-7-1", "ajs-7-2", "ajs-8-1", "ajs-9", "ajs-10", "ajs-11"],
        },
        {"2026-01-02": [UNO, MONOPOLY, "G-33"], "2026-01-03": [MONOPOLY]},
        15,
        {"unknown_event_type": 2, "impression": 1, "json_truncated": 1},
        {"2026-01-02": ["impression", "unknown_event_type"], "2026-01-03": ["unknown_event_type"]},
        derived_items=4,
        several=1,
        identity_rows=2,
        identities={
            "2026-01-02": [("23adfd82-aa0f-45a7-a756-24f2a7a4c895", "AiUGstSDIg")],
            "2026-01-03": [("39239-239239-239239-23923", "AiUGstSDIg")],
        },
    ),
    "ga4": Case(
        ga4,
        {"2026-01-03": ["ga4"] * 9, "2026-01-04": ["ga4"] * 2},
        {"2026-01-03": ["GGOEGAAX0105", "GGOEGCBQ016499"], "2026-01-04": ["GGOEGAAX0105"]},
        15,
        {"unknown_event_type": 2, "impression": 1, "bad_ts": 1, "json_truncated": 1},
        {"2026-01-03": ["unknown_event_type", "unknown_event_type", "impression", "bad_ts", "json_truncated"]},
        derived_items=3,
        several=1,
        identities={"2026-01-03": [("1026454.4271112504", "u-1")]},
    ),
    "canonical": Case(
        canonical,
        {"2026-01-03": ["e1", "e2"]},
        {"2026-01-03": ["i1", "i2", "i3", "i4"]},
        10,
        {"not_object": 1, "json_truncated": 1, "no_time": 1, "bad_ts": 1},
    ),
    "mapped": Case(
        mapped,
        {"2026-01-05": ["1/B-1", "1/B-2"], "2026-01-06": ["5/B-1"]},
        {"2026-01-05": ["B-1", "B-2"], "2026-01-06": ["B-1"]},
        8,
        {"no_user": 1, "not_a_product": 1, "unknown_event_type": 1, "bad_ts": 1, "bad_row": 1},
        {"2026-01-05": ["no_user", "not_a_product"], "2026-01-06": ["unknown_event_type"]},
        derived_items=3,
    ),
}
