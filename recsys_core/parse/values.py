"""Single values of a landing line to their types: ids, numbers, times, texts. Each repair adds its code, each fault raises `Fault`."""

from __future__ import annotations

import math
import re
import unicodedata
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from recsys_core.landing_schema import MAX_ID_LENGTH, MAX_TEXT_LENGTH
from recsys_core.parse.rawlines import MAX_DIGITS
from recsys_core.parse.rules import Fault

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CENT = Decimal("0.0001")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069\ufeff]")
# In a text tabs and line ends are as good as spaces.
_RAW_CONTROL = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_DIGITS_AND_MORE = re.compile(r"[^\w]*[A-Za-z]{0,3}\s*[-+]?[\d][\d.,'\s]*\W*[A-Za-z]{0,3}", re.ASCII)
_TIME = re.compile(
    r"([+-]?\d{1,9})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?\s?([Zz]|([+-])(\d\d):?(\d\d)?)?)?", re.ASCII
)
# (lowest, highest, units per second, repair): epochs are told apart by magnitude; each range runs from 2001 to 2096.
EPOCHS = (
    (10**9, 4 * 10**9, 1, "epoch_s"),
    (10**12, 4 * 10**12, 10**3, "epoch_ms"),
    (10**15, 4 * 10**15, 10**6, "epoch_us"),
    (10**18, 4 * 10**18, 10**9, "epoch_ns"),
)


def micros(moment: datetime) -> int:
    """Microseconds since 1970 of an aware time."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def identifier(value: Any, repairs: list[str]) -> str:
    """An id as text in NFC without outer spaces, '' when there is none; never case-folded."""
    if value is None:
        return ""
    if type(value) is int:
        repairs.append("id_cast")
        return str(value)
    if type(value) is float:
        raise Fault("id_not_integer_text")
    if not isinstance(value, str):
        raise Fault("id_type")
    found = value.strip(" ") if value.isascii() else unicodedata.normalize("NFC", value).strip()
    if len(found) > MAX_ID_LENGTH:
        raise Fault("id_too_long")
    if _CONTROL.search(found):
        raise Fault("id_control_char")
    if found != value:
        repairs.append("id_trimmed")
    return found


def number(value: Any, repairs: list[str]) -> float | int | None:
    """A finite number, None when there is none."""
    if value is None or type(value) is int:
        return value
    if type(value) is float:
        if not math.isfinite(value):
            raise Fault("non_finite")
        return value
    if not isinstance(value, str):
        raise Fault("bad_number")
    text = value.strip()
    if not text:
        return None
    if len(text) > MAX_DIGITS:
        raise Fault("number_too_long")
    if _NUMBER.fullmatch(text):
        repairs.append("num_from_text")
        return number(float(text) if re.search("[.eE]", text) else int(text), repairs)
    if _NOT_FINITE.fullmatch(text):
        raise Fault("non_finite")
    raise Fault("ambiguous_number" if _DIGITS_AND_MORE.fullmatch(text) else "bad_number")


def price(value: Any, repairs: list[str], refund: bool = False) -> Decimal | None:
    """A price with four decimals, rounded half up as it is written, 0 to 10⁹; below zero for a refund alone."""
    found = number(value, repairs)
    if found is None:
        return None
    if found < 0 and not refund:
        raise Fault("negative_price")
    if abs(found) > 1e9:
        raise Fault("number_too_large")
    rounded = Decimal(str(found)).quantize(_CENT, ROUND_HALF_UP)
    if not rounded:
        repairs.append("zero_price")
    return rounded


def text(value: Any, repairs: list[str]) -> str | None:
    """A text in NFC without NUL, controls and direction overrides, None when nothing is left; joiners, quotes and markup stay."""
    if value is None:
        return None
    if type(value) in (int, float):
        value = str(value)
    if not isinstance(value, str):
        repairs.append("field_dropped")
        return None
    if len(value) > MAX_TEXT_LENGTH:
        raise Fault("text_too_long")
    if value.isascii() and value.isprintable():
        return value.strip() or None
    for pattern, code in ((_BIDI, "bidi_removed"), (_RAW_CONTROL, "control_removed")):
        if pattern.search(value):
            value = pattern.sub("", value)
            repairs.append(code)
    if "\0" in value:
        value = value.replace("\0", "")
        repairs.append("nul_removed")
    if not unicodedata.is_normalized("NFC", value):
        value = unicodedata.normalize("NFC", value)
        repairs.append("nfc")
    return value.strip() or None


def moment(value: Any, naive_zone: tzinfo | None, repairs: list[str]) -> datetime:
    """A time in UTC from ISO 8601 text or an epoch number; a time without offset is read in `naive_zone`, the source's."""
    if isinstance(value, str):
        value = value.strip()
        if value.isdecimal() and value.isascii() and 9 <= len(value) <= 19:
            value = int(value)
            repairs.append("num_from_text")
    if type(value) in (int, float):
        return _epoch(value, repairs)
    if not isinstance(value, str) or not (match := _TIME.fullmatch(value)):
        raise Fault("bad_ts")
    year, month, day, hour, minute, second, fraction, zone, sign, zone_hours, zone_minutes = match.groups()
    if len(year) != 4 or year == "0000" or year[0] in "+-":
        raise Fault("ts_out_of_range" if len(year) != 2 else "bad_ts")
    if hour is None:
        raise Fault("no_time")
    later, microsecond = timedelta(0), int((fraction or "0")[:6].ljust(6, "0"))
    if hour == "24" and minute == "00" and (second or "00") == "00" and not microsecond:
        hour, later = "00", timedelta(days=1)
        repairs.append("hour_24")
    if second == "60":
        second, microsecond = "59", 999_000
        repairs.append("leap_second")
    try:
        naive = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0), microsecond)  # noqa: DTZ001
        naive += later
        if zone is None:
            return localised(naive, naive_zone, repairs)
        if sign is None:
            return naive.replace(tzinfo=UTC)
        shift = timedelta(hours=int(zone_hours), minutes=int(zone_minutes or 0))
        if shift > timedelta(hours=14) or int(zone_minutes or 0) > 59:
            raise Fault("bad_ts")
        return naive.replace(tzinfo=timezone(-shift if sign == "-" else shift)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Fault("bad_ts") from None


def _epoch(value: float | int, repairs: list[str]) -> datetime:
    for low, high, per_second, code in EPOCHS:
        if low <= value <= high:
            repairs.append(code)
            if type(value) is int:
                return EPOCH + timedelta(microseconds=value * 10**6 // per_second)
            return EPOCH + timedelta(microseconds=round(value * (10**6 / per_second)))
    raise Fault("default_clock" if value in (0, 946_684_800, 946_684_800_000) else "ts_out_of_range")


def localised(naive: datetime, zone: tzinfo | None, repairs: list[str]) -> datetime:
    """UTC of a local time; of two the one with the earlier offset (PEP 495, fold 0)."""
    if zone is None:
        raise Fault("no_time_zone")
    repairs.append("tz_assumed")
    local = naive.replace(tzinfo=zone)
    found = local.astimezone(UTC)
    if local.utcoffset() != local.replace(fold=1).utcoffset():
        repairs.append("dst_fold" if found.astimezone(zone).replace(tzinfo=None) == naive else "dst_gap")
    return found
