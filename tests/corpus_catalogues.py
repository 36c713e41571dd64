"""Catalogues of bad input, and what must become of them: the last part of `tests.corpus`."""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.corpus import BOM, DAY, day
from tests.corpus_landings import EVENTS, Landing, lines

ITEMS, TREE = f"items/ds={DAY}", f"categories/ds={DAY}"


def jsonl(*rows: dict[str, Any]) -> bytes:
    """Rows as JSON lines."""
    return b"".join(json.dumps(r, ensure_ascii=False).encode() + b"\n" for r in rows)


def catalogue(
    kind: int,
    name: str,
    data: bytes,
    refused: str | None = None,
    items: dict[str, dict[str, Any] | None] | None = None,
    quarantined: list[tuple[str, bytes]] | None = None,
    repaired: dict[str, int] | None = None,
) -> Landing:
    """A landing of one catalogue file."""
    path = f"{ITEMS}/{name}"
    return Landing(
        kind,
        name,
        {path: data},
        refused={path: refused},
        quarantined={path: quarantined or []},
        repaired={} if repaired is None else {path: repaired},
        items=items or {},
    )


CATALOGUES: tuple[Landing, ...] = (
    # -- the catalogue: form --------------------------------------------------------------------------------------------------------------
    catalogue(69, "empty.csv", b"", "empty_source"),
    catalogue(69, "empty.jsonl.gz", gzip.compress(b"", mtime=0), "empty_source"),
    catalogue(69, "header.csv", b"item_id,title\n", "empty_source"),
    catalogue(71, "semicolon.csv", b"item_id;title\nsemi;Train\n", "bad_header", items={"semi": None}),
    catalogue(71, "tabs.csv", b"item_id\ttitle\ntabs\tTrain\n", "bad_header"),
    catalogue(
        71,
        "comma.csv",
        b'item_id,title,price\ncomma,Train,"1,5"\npoint,Bus,2.50\n',
        quarantined=[("ambiguous_number", b'comma,Train,"1,5"')],
        items={"comma": None, "point": {"price": "2.5000"}},
    ),
    catalogue(
        71,
        "bare-comma.csv",
        b"item_id,title,price\nbare,Train,1,5\nbare2,Bus,2\n",
        quarantined=[("bad_row", b"bare,Train,1,5")],
        items={"bare": None, "bare2": {"title": "Bus"}},
    ),
    catalogue(
        71,
        "short.csv",
        b"item_id,title,price\nshort,Train\nfull,Bus,2\nlong,Car,3,x,y\n",
        quarantined=[("bad_row", b"short,Train"), ("bad_row", b"long,Car,3,x,y")],
        items={"short": None, "long": None, "full": {"price": "2.0000"}},
    ),
    catalogue(71, "open.csv", b'item_id,title\nopen,"Train\nopen2,Bus\n', "csv_open_quote", items={"open": None, "open2": None}),
    catalogue(
        71,
        "lines.csv",
        b'item_id,title\nlines,"Train,\nred"\nlines2,Bus\n',
        items={"lines": {"title": "Train,\nred"}, "lines2": {"title": "Bus"}},
    ),
    catalogue(71, "quotes.csv", b'item_id,title\nquotes,"a ""big"" train"\n', items={"quotes": {"title": 'a "big" train'}}),
    catalogue(71, "mark.csv", BOM + b"item_id,title\nmark,Train\n", items={"mark": {"title": "Train"}}),
    catalogue(
        71,
        "crlf.csv",
        b'item_id,title\r\ncrlf,"a\r\nb"\r\n\r\ncrlf2,Bus\r\n',
        items={"crlf": {"title": "a\r\nb"}, "crlf2": {"title": "Bus"}},
    ),
    catalogue(71, "cr.csv", b"item_id,title\rcr,Train\rcr2,Bus\r", items={"cr": {"title": "Train"}, "cr2": {"title": "Bus"}}),
    catalogue(71, "latin.csv", "item_id,title\nlatin,Café\n".encode("latin-1"), "encoding"),
    catalogue(71, "utf16.csv", "item_id,title\nutf16,Train\n".encode("utf-16"), "encoding"),
    catalogue(71, "cut.csv.gz", gzip.compress(b"item_id,title\ncut,Train\n", mtime=0)[:-9], "gz_truncated", items={"cut": None}),
    catalogue(
        71,
        "rubbish.csv",
        b"item_id,title\n" + b"".join(b"rubbish%d,Train\n" % n for n in range(90)) + b"x\n" * 10,
        "catalogue_rubbish",
        items={"rubbish0": None},
    ),
    catalogue(
        71, "formula.csv", b'item_id,title\nformula,"=HYPERLINK(""http://x"")"\n', items={"formula": {"title": '=HYPERLINK("http://x")'}}
    ),
    catalogue(71, "nul.csv", b"item_id,title\nnul,Tr\0ain\n", items={"nul": {"title": "Train"}}, repaired={"nul_removed": 1}),
    catalogue(72, "order.csv", b"price,title,item_id\n2.50,Train,order\n", items={"order": {"title": "Train", "price": "2.5000"}}),
    catalogue(72, "spaces.csv", b" title , item_id\nTrain,spaces\n", items={"spaces": {"title": "Train"}}),
    catalogue(
        72,
        "stranger.csv",
        b"colour,item_id,title\nred,stranger,Train\n",
        items={"stranger": {"title": "Train"}},
        repaired={"unknown_fields": 1},
    ),
    catalogue(72, "case.csv", b"Item_ID,title\ncase,Train\n", "bad_header"),
    catalogue(72, "twice.csv", b"item_id,title,title\ntwice,Train,Bus\n", "bad_header"),
    catalogue(72, "none.csv", b"none,Train,2.50\nnone2,Bus,3\n", "bad_header"),
    # -- the catalogue: contents ----------------------------------------------------------------------------------------------------------
    catalogue(
        73,
        "prices.jsonl",
        jsonl({"item_id": "prices", "title": "Train", "price": 1}, {"item_id": "prices", "title": "Train", "price": 2}),
        quarantined=[("dup_item", b'{"item_id": "prices", "title": "Train", "price": 1}')],
        items={"prices": {"price": "2.0000"}},
    ),
    catalogue(
        73, "same.jsonl", jsonl({"item_id": "same", "title": "Train"}) * 2, items={"same": {"title": "Train"}}, repaired={"dedup": 1}
    ),
    catalogue(
        73,
        "negative.jsonl",
        jsonl({"item_id": "negative", "title": "Train", "price": -1}) + b'{"item_id": "nan", "title": "Train", "price": NaN}\n',
        quarantined=[
            ("negative_price", b'{"item_id": "negative", "title": "Train", "price": -1}'),
            ("non_finite", b'{"item_id": "nan", "title": "Train", "price": NaN}'),
        ],
        items={"negative": None, "nan": None},
    ),
    catalogue(
        73,
        "title.jsonl",
        jsonl({"item_id": "title", "title": "x" * 1_000_001}, {"item_id": "title2", "title": "y" * 1_000_000}),
        quarantined=[("text_too_long", jsonl({"item_id": "title", "title": "x" * 1_000_001}).rstrip())],
        items={"title": None, "title2": {"title": "y" * 1_000_000}},
    ),
    catalogue(
        73,
        "faults.jsonl",
        b'{"title":"no id"}\n{"item_id":"faults"}\n{"item_id":"faults","title":"a","title":"b"}\n'
        b'{"item_id":"faults","title":"a","deleted":"perhaps"}\n',
        quarantined=[
            ("missing_required", b'{"title":"no id"}'),
            ("missing_required", b'{"item_id":"faults"}'),
            ("dup_key", b'{"item_id":"faults","title":"a","title":"b"}'),
            ("bad_flag", b'{"item_id":"faults","title":"a","deleted":"perhaps"}'),
        ],
        items={"faults": None},
    ),
    catalogue(
        73,
        "limits.jsonl",
        b'{"item_id":"limits","title":"a","available_to_ds":"soon"}\n{"item_id":"limits","title":"a","regions":{"DE":true}}\n',
        quarantined=[
            ("bad_date", b'{"item_id":"limits","title":"a","available_to_ds":"soon"}'),
            ("bad_regions", b'{"item_id":"limits","title":"a","regions":{"DE":true}}'),
        ],
        items={"limits": None},
    ),
    catalogue(
        73,
        "stock.csv",
        b"item_id,title,stock\nstock1,a,-2\nstock2,b,7\nstock3,c,\n",
        items={"stock1": {"stock": 0}, "stock2": {"stock": 7}, "stock3": {"stock": None}},
        repaired={"stock_mended": 1},
    ),
    catalogue(
        73,
        "case.jsonl",
        jsonl({"item_id": "Case", "title": "Train"}, {"item_id": "case", "title": "Bus"}),
        items={"Case": {"title": "Train"}, "case": {"title": "Bus"}},
    ),
    catalogue(
        73,
        "cycle.jsonl",
        jsonl({"item_id": "cycle1", "title": "a", "parent_id": "cycle2"}, {"item_id": "cycle2", "title": "b", "parent_id": "cycle1"}),
        "parent_cycle",
        items={"cycle1": None, "cycle2": None},
    ),
    catalogue(
        73,
        "itself.jsonl",
        jsonl({"item_id": "itself", "title": "a", "parent_id": "itself"}),
        "parent_cycle",
        items={"itself": None},
    ),
    catalogue(
        73,
        "parents.jsonl",
        jsonl(
            {"item_id": "child", "title": "a", "parent_id": "parent"},
            {"item_id": "parent", "title": "b"},
            {"item_id": "orphan", "title": "c", "parent_id": "nobody"},
        ),
        items={"child": {"parent_id": "parent"}, "orphan": {"parent_id": None}},
        repaired={"orphan_parent": 1},
    ),
    Landing(
        73,
        "a category that is not in the tree",
        {
            f"{TREE}/tree.csv": b"category,parent\nToys,\nTrains,Toys\n",
            f"{ITEMS}/tree.jsonl": jsonl(
                {"item_id": "known", "title": "a", "category": "Trains"}, {"item_id": "lost", "title": "b", "category": "Nowhere"}
            ),
        },
        items={"known": {"category": "Trains"}, "lost": {"category": "unknown"}},
        repaired={f"{ITEMS}/tree.jsonl": {"orphan_category": 1}},
    ),
    Landing(
        73,
        "categories in a circle",
        {f"{TREE}/circle.csv": b"category,parent\nA,B\nB,A\n"},
        refused={f"{TREE}/circle.csv": "parent_cycle"},
    ),
    Landing(
        73,
        "a deleted item that is clicked on",
        {
            f"items/ds={day(-1)}/deleted.jsonl": jsonl({"item_id": "deleted", "title": "Old train", "price": 3}),
            f"{ITEMS}/deleted.jsonl": jsonl({"item_id": "deleted", "deleted": True}),
            f"{EVENTS}/deleted.jsonl": lines("deleted", item_id="deleted"),
        },
        events={"deleted": []},
        items={"deleted": {"title": "Old train", "price": "3.0000", "deleted": True}},
    ),
)
