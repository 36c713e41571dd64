"""Every verdict that cleaning can give, in one table: what is repaired, what is quarantined, which file is refused."""

from __future__ import annotations

from typing import Literal

# repaired: kept, the code stands in `repairs`; quarantined: the line lies in event_quarantine; refused: nothing of the file is used.
Verdict = Literal["repaired", "quarantined", "refused"]

RULES: dict[str, tuple[Verdict, str]] = {
    # the file
    "empty_source": ("refused", "the file holds no line"),
    "missing_file": ("refused", "named in `_expected.json`, but not delivered"),
    "hidden_name": ("refused", "data under a name that begins with '_' or '.', which marks what is not data"),
    "file_repeated": ("refused", "byte for byte a file delivered before, within 31 days; its objects count once"),
    "encoding": ("refused", "the file is not UTF-8 (UTF-16 or UTF-32)"),
    "gz_truncated": ("refused", "the gzip stream ends too early"),
    "gz_corrupt": ("refused", "the gzip stream or its check sum is wrong"),
    "gz_trailing": ("refused", "something that is no gzip follows the gzip stream"),
    "gz_bomb": ("refused", "the file unpacks to more than 200 times its size"),
    "not_gzip": ("refused", "the name says .gz, the bytes do not"),
    "line_too_long": ("refused", "a line is longer than 16 MiB"),
    "not_json_lines": ("refused", "more than half of the lines, or 5 % with no sign of JSON, cannot be read"),
    "unreadable": ("refused", "the storage does not hand the file over"),
    "bom": ("repaired", "UTF-8 byte-order mark at the start of the file removed"),
    # the line
    "blank_line": ("repaired", "a line without anything, passed over"),
    "array_unwrapped": ("repaired", "the objects of a JSON array taken one by one"),
    "glued_objects": ("repaired", "several objects on one line taken one by one"),
    "bad_utf8": ("quarantined", "bytes that are not UTF-8"),
    "not_json": ("quarantined", "neither an object nor any JSON"),
    "not_object": ("quarantined", "JSON, but no object"),
    "json_truncated": ("quarantined", "the line ends inside its object"),
    "json_syntax": ("quarantined", "not JSON as RFC 8259 has it"),
    "trailing_data": ("quarantined", "something follows the object"),
    "dup_key": ("quarantined", "a key stands twice in one object"),
    "too_deep": ("quarantined", "nested deeper than 32"),
    "control_char": ("quarantined", "a raw control character"),
    "surrogate": ("repaired", "half of a surrogate pair replaced by U+FFFD"),
    # who it was
    "opted_out": ("repaired", "an event of a user who opted out: counted, and nothing of it kept"),
    "erased": ("repaired", "of somebody who asked to be forgotten: counted, and nothing of it kept"),
    "stitched": ("repaired", "an anonymous id replaced by the user it was known to belong to on that night"),
    "bad_stance": ("quarantined", "a declared stance that is none of interest, mute and withdrawn"),
    "bad_attributes": ("quarantined", "attributes of a user that are no names of letters, digits and _ with a text each, or more than 20"),
    # ids and kinds
    "missing_required": ("quarantined", "a required field is missing or empty"),
    "no_user": ("quarantined", "no user: missing, empty, null, undefined, none, nan or 0"),
    "id_type": ("quarantined", "an id that is neither text nor a whole number"),
    "id_not_integer_text": ("quarantined", "an id written as a fraction or with an exponent"),
    "id_too_long": ("quarantined", "an id of more than 256 characters"),
    "id_control_char": ("quarantined", "an id with control or direction characters"),
    "id_cast": ("repaired", "an id given as a number, taken as its digits"),
    "id_trimmed": ("repaired", "spaces around an id removed, or its Unicode form composed (NFC)"),
    "id_from_hash": ("repaired", "no event_id: made from a keyed hash of the event's content"),
    "unknown_event_type": ("quarantined", "an event_type that is not known"),
    "event_type_case": ("repaired", "event_type in another case or with spaces or hyphens"),
    # numbers
    "bad_number": ("quarantined", "no number"),
    "ambiguous_number": ("quarantined", "a number with a comma or a currency"),
    "non_finite": ("quarantined", "NaN or infinity, also by overflow"),
    "number_too_long": ("quarantined", "a number of more than 300 digits"),
    "number_too_large": ("quarantined", "beyond every plausible price, quantity or time"),
    "negative_price": ("quarantined", "a price below zero"),
    "negative_quantity": ("quarantined", "a quantity below zero on an event that is no return"),
    "negative_dwell": ("quarantined", "a time spent below zero"),
    "rating_out_of_range": ("quarantined", "a rating outside 1 to 5"),
    "num_from_text": ("repaired", "a number given as text"),
    "zero_price": ("repaired", "a price of zero, kept and marked"),
    # times
    "no_time": ("quarantined", "a date without a time of day"),
    "no_time_zone": ("quarantined", "a time without offset, and the source declares no zone"),
    "bad_ts": ("quarantined", "no such time"),
    "ts_out_of_range": ("quarantined", "before 2000, or not a year of four digits"),
    "default_clock": ("quarantined", "1970-01-01 or 2000-01-01: the clock was never set"),
    "future_ts": ("quarantined", "more than ten minutes after it was received"),
    "too_late": ("quarantined", "delivered more than three days after its day"),
    "late": ("repaired", "delivered one to three days after its day"),
    "clock_skew": ("repaired", "up to ten minutes after it was received"),
    "epoch_s": ("repaired", "seconds since 1970"),
    "epoch_ms": ("repaired", "milliseconds since 1970"),
    "epoch_us": ("repaired", "microseconds since 1970"),
    "epoch_ns": ("repaired", "nanoseconds since 1970"),
    "tz_assumed": ("repaired", "a time without offset, read in the zone that the source declares"),
    "dst_gap": ("repaired", "a local time that the clocks skipped, read with the earlier offset"),
    "dst_fold": ("repaired", "a local time that came twice, read with the earlier offset"),
    "hour_24": ("repaired", "24:00:00 is the next day's midnight"),
    "leap_second": ("repaired", "second 60 read as 59.999"),
    "bad_received_ts": ("repaired", "received_ts unusable, left out"),
    # text and the rest
    "text_too_long": ("quarantined", "a text of more than 1,000,000 characters"),
    "nul_removed": ("repaired", "NUL characters removed"),
    "control_removed": ("repaired", "control characters removed from a text"),
    "bidi_removed": ("repaired", "direction overrides and byte-order marks removed"),
    "pii_masked": ("repaired", "e-mail addresses, phone, card or identity numbers masked in a text"),
    "nfc": ("repaired", "Unicode form composed (NFC)"),
    "field_dropped": ("repaired", "an optional text field of another type, left out"),
    "unknown_fields": ("repaired", "fields that are not declared, kept in `extra`"),
    "extra_dropped": ("repaired", "undeclared fields of more than 4 kB, left out"),
    # the night
    "not_known_yet": ("repaired", "received after the moment that the night is built as known at: counted, and nothing of it kept"),
    "dedup": ("repaired", "the same event again, or the same row of a catalogue: counted once"),
    "capped": ("repaired", "beyond the most events of one user and night that are kept: counted, not kept"),
    "bot": ("repaired", "of a user too fast, too regular or too busy for a person: kept, and left out of all facts"),
    # the landing step
    "day_precision": ("repaired", "the source knows the day alone: the time within it was made up"),
    "not_a_product": ("quarantined", "a code that is no product: postage, fees, vouchers, tests"),
    "stock_adjustment": ("quarantined", "a change of the stock, nothing that a user did"),
    "impression": ("quarantined", "something was shown; nobody acted on it"),
    "bad_rating": ("quarantined", "a review without stars from 1 to 5"),
    "unknown_record": ("quarantined", "a record of no kind that the source has"),
    "refused_at_landing": ("quarantined", "the landing step found that it is no event, under a code that is not known here"),
    "no_night": ("quarantined", "a catalogue row without a date, and no night that it could be landed on"),
    # the catalogue
    "bad_row": ("quarantined", "a row with more or fewer columns than its header"),
    "bad_flag": ("quarantined", "a flag that is neither true nor false"),
    "bad_date": ("quarantined", "a date that is none of YYYY-MM-DD, or an end before its beginning"),
    "bad_regions": ("quarantined", "regions that are no list of texts: whom the item may be shown to is not known"),
    "stock_mended": ("repaired", "a stock below zero taken as none left, a part of a piece as a whole one"),
    "dup_item": ("quarantined", "a row of the same item or category, with other contents, stands further on in the same delivery"),
    "orphan_parent": ("repaired", "a parent that is not in the catalogue, left out until it is"),
    "orphan_category": ("repaired", "a category that is not in the category tree, shown as unknown until it is"),
    "bad_header": ("refused", "a catalogue file whose header lacks item_id (or category), or has a column twice"),
    "csv_open_quote": ("refused", "a quote that is never closed: the file is cut, or rows lie hidden in a text"),
    "catalogue_rubbish": ("refused", "more than 1 % of a catalogue file's rows, and at least five, cannot be used"),
    "parent_cycle": ("refused", "a catalogue file after which something would be its own parent, over any number of steps"),
}


class Fault(Exception):
    """A line, a row or a file cannot be used; `code` is one of RULES, `field` the field at fault, if it is one's."""

    def __init__(self, code: str, field: str | None = None) -> None:
        super().__init__(f"{code}: {RULES[code][1]}")
        self.code, self.field = code, field


def rules_markdown() -> str:
    """The table of docs/ingest.md."""
    rows = [f"| `{code}` | {verdict} | {meaning} |" for code, (verdict, meaning) in RULES.items()]
    return "\n".join(["| code | verdict | meaning |", "|---|---|---|", *rows]) + "\n"
