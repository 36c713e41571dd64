"""UCI Online Retail (I and II): invoice lines as one CSV, a folder of daily CSVs, or a tar of them.

Invoices that start with C are returns (negative quantity). Lines without a customer are landed with `user_id` null, so that cleaning
counts them as `no_user`; codes that are no products and stock adjustments (negative quantity, no cancellation) are refused here, into
their nights. All three are expected. The catalogue is made from the lines: a code is known from the day of its first sale, by that day's
most frequent description and first price.
"""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

from recsys_core.sources.base import Event, Item, Outcome, Raw, Refusal, Source, SourceError, on_night
from recsys_core.sources.reading import csv_records, data_files, decoded, filled, number, plain, required, text_encoding, text_of

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country")
# The second edition renamed three columns.
RENAMED = {"Invoice": "InvoiceNo", "Price": "UnitPrice", "Customer ID": "CustomerID"}
NO_PRODUCTS = frozenset(("AMAZONFEE", "B", "BANK CHARGES", "C2", "C3", "CRUK", "D", "DOT", "GIFT", "M", "PADS", "POST", "S"))
_NO_PRODUCT = re.compile(r"(GIFT_|ADJUST|TEST).*")
_DAILY = re.compile(r"(\d{4}-\d\d-\d\d)\.csv(\.gz)?$")
_US_TIME = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4}) (\d{1,2}):(\d{2})")


def _tables(path: Path) -> Iterator[tuple[str, Iterable[str]]]:
    """Name and lines of each CSV; members of a tar come in its own order."""
    if path.is_dir() and not any(path.rglob("*.csv*")):
        path = next(iter(sorted(path.glob("*.tar*"))), path)
    if not (path.is_file() and re.search(r"\.(tar(\.gz)?|tgz)$", path.name)):
        for file in data_files(path, ".csv"):
            yield str(file), decoded(file, text_encoding(file))
        return
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                if member.isfile() and member.name.endswith(".csv") and (content := archive.extractfile(member)):
                    yield f"{path}:{member.name}", text_of(content.read())
    except (tarfile.TarError, EOFError, OSError) as error:
        raise SourceError(f"{path} is no readable tar archive ({error}): fetch it again") from error


def _read(path: Path) -> Iterator[Raw]:
    """Invoice lines numbered within their invoice, then the catalogue."""
    line_of: Counter[str] = Counter()
    first_sale: dict[str, tuple[date, Counter[str], float]] = {}
    for name, text in _tables(path):
        named = _named_day(name)
        for raw in csv_records("line", _renamed(text), name, COLUMNS, lambda row: _time(row).date()):
            if raw.kind == "line":
                row = raw.value
                line_of[row["InvoiceNo"]] += 1
                _note_sale(row, first_sale)
                yield raw._replace(value=(row, line_of[row["InvoiceNo"]], named))
            else:
                raw.value.ds = raw.value.ds or named
                yield raw
    for code, (ds, descriptions, price) in sorted(first_sale.items(), key=lambda entry: (entry[1][0], entry[0])):
        title = min(descriptions, key=lambda description: (-descriptions[description], description))
        yield Raw("catalogue", Item(ds, {"item_id": code, "title": title, "price": price, "lang": "en"}))


def _named_day(name: str) -> date | None:
    """The day that a daily file is named after."""
    found = _DAILY.search(name)
    try:
        return date.fromisoformat(found[1]) if found else None
    except ValueError:
        return None


def _renamed(text: Iterable[str]) -> Iterator[str]:
    for number_, line in enumerate(text):
        yield ",".join(RENAMED.get(column.strip('"'), column) for column in line.split(",")) if number_ == 0 else line


def _note_sale(row: dict[str, Any], first_sale: dict[str, tuple[date, Counter[str], float]]) -> None:
    """Count the description of a sale on the first day of its code; adjustments ("damaged", "?") have no price and describe nothing."""
    try:
        code, ts, price, quantity = _code(row), _time(row), number(row["UnitPrice"]), number(row["Quantity"])
    except Refusal:
        return
    title = plain(row["Description"])
    if not title or price <= 0 or quantity <= 0:
        return
    if code not in first_sale or ts.date() < first_sale[code][0]:
        first_sale[code] = (ts.date(), Counter(), price)
    if ts.date() == first_sale[code][0]:
        first_sale[code][1][title] += 1


def _code(row: dict[str, Any]) -> str:
    code = required(row, "StockCode").upper()
    if code in NO_PRODUCTS or _NO_PRODUCT.fullmatch(code):
        raise Refusal("not_a_product")
    return code


def _time(row: dict[str, Any]) -> datetime:
    """The naive time of an invoice: ISO 8601, or month/day/year as spreadsheets export it."""
    text = row["InvoiceDate"].strip()
    if us := _US_TIME.fullmatch(text):
        text = f"{us[3]}-{us[1]:0>2}-{us[2]:0>2} {us[4]:0>2}:{us[5]}"
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise Refusal("bad_ts") from None


def _convert(raw: Raw) -> Iterable[Outcome]:
    if raw.kind == "catalogue":
        return [raw.value]
    row, line, named = raw.value
    try:
        ts = _time(row)
        with on_night(ts.date()):
            return [_event(row, line, ts)]
    except Refusal as refusal:
        raise Refusal(refusal.reason, refusal.ds or named, row) from None


def _event(row: dict[str, Any], line: int, ts: datetime) -> Event:
    code, quantity, price = _code(row), number(row["Quantity"]), number(row["UnitPrice"])
    invoice = required(row, "InvoiceNo")
    cancelled = invoice[0] in "Cc"
    if not cancelled and quantity < 0:
        raise Refusal("stock_adjustment")
    if price < 0:
        raise Refusal("negative_price")
    event = filled(
        event_id=f"{invoice}-{line}",
        item_id=code,
        event_type="return" if cancelled else "purchase",
        ts=ts.isoformat(),
        quantity=int(quantity) if quantity.is_integer() else quantity,
        price=price,
        region=row["Country"].strip(),
        lang="en",
    )
    return Event(ts.date(), {**event, "user_id": row["CustomerID"].strip().removesuffix(".0") or None})


SOURCE = Source(
    "UCI Online Retail: one CSV, a folder of daily CSVs or by-day.tar.gz",
    _read,
    _convert,
    "by_date",
    time_zone_of_naive_ts="UTC",
    expected_reasons=("no_user", "not_a_product", "stock_adjustment"),
)
