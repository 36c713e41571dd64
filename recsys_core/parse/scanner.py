"""From the bytes of whole lines to the fields of the ordinary events among them: what stands where, and numbers and times in binary.

A line is ordinary when it is one plain object of declared fields, none twice, whose values need no judgement; whatever is not plain to see
is left to `recsys_core.parse.event`, which is the definition. A test holds both against each other. What calls each other here stays in one
file: numba's cache knows a function by the file it is in alone.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from recsys_core.compiled import kernel

# Fields by number: ids, texts, then those that become numbers. Fields of a landing line that are not here make it one to look at.
IDS = ("event_id", "user_id", "item_id", "session_id")
TEXTS = ("text", "query", "device", "region", "lang", "url", "repairs")
FIELDS = (*IDS, *TEXTS, "event_type", "ts", "received_ts", "rating", "price", "dwell_s", "quantity")
_EVENT_ID, _USER_ID, _ITEM_ID, _SESSION_ID, _TEXT, _QUERY = range(6)
_DEVICE, _REGION, _LANG, _URL, _REPAIRS, _TYPE, _TS, _RECEIVED, _RATING, _PRICE, _DWELL, _QUANTITY = range(6, len(FIELDS))
_SPANS = len(IDS) + len(TEXTS)

# Rows of the columns that `scan` fills: the line's first byte and its line feed; number of the event's type; times (µs since 1970), local
# day (days since 1970), part of the day, `marks`; price in ten-thousandths and quantity, −1 for none.
COLUMNS = ("start", "stop", "event_type", "ts", "received_ts", "day", "daypart", "marks", "price", "quantity")
START, STOP, TYPE, TS, RECEIVED, DAY, DAYPART, MARKS, PRICE, QUANTITY = range(len(COLUMNS))
# What `scan` says of a text: as it is; to be looked at; to be looked at with its escapes resolved.
PLAIN, ODD, ESCAPED = 0, 1, 2
# Where a time is missing.
NO_TIME = np.iinfo(np.int64).min
# Bits of `marks`.
LATE, EPOCH_S, EPOCH_MS, EPOCH_US, EPOCH_NS, TZ_ASSUMED, DST_FOLD, DST_GAP = (1 << bit for bit in range(8))

# Longer ones are looked at; so are texts with as many digits, which may be a phone number.
_MAX_ID, _MAX_TEXT, _MAX_URL, _SEVEN = 256, 1_000_000, 4_000, 7
_MAX_EXACT = 1 << 53
_LF, _SPACE, _QUOTE, _COMMA, _COLON, _BACKSLASH, _CR = 10, 32, 34, 44, 58, 92, 13
_DAY, _QUARTER = 86_400_000_000, 900_000_000
_POWERS = 10.0 ** np.arange(23)
# Kinds of bytes in a string.
_LETTER, _DIGIT, _SIGN, _BLANK, _END, _ESCAPE, _BAD, _WIDE = range(8)
_KINDS = np.full(256, _LETTER, np.uint8)
_KINDS[:32] = _BAD
_KINDS[48:58], _KINDS[[37, 64]], _KINDS[[32, 127]] = _DIGIT, _SIGN, _BLANK
_KINDS[34], _KINDS[92], _KINDS[128:] = _END, _ESCAPE, _WIDE
# Of a string: it has an escape; a byte of _BLANK; characters that a rule may change; digits or signs of personal data.
_ESCAPES, _BLANKS, _CHANGES, _PERSONAL, _WIDES = 1, 2, 4, 8, 16


@kernel
def name_hash(data: Any, start: int, end: int) -> int:
    """A number below 256 for a name."""
    found = 0
    for i in range(start, end):
        found = (found * 31 + data[i]) & 0xFFFF
    return (found ^ (found >> 8)) & 255


@cache
def names(words: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(all words' bytes, where each begins and the last ends, place by hash → word's number or −1) for `find`."""
    text = np.frombuffer("".join(words).encode(), np.uint8)
    ends = np.cumsum([0, *(len(w.encode()) for w in words)]).astype(np.int64)
    slots = np.full(256, -1, np.int64)
    for number in range(len(words)):
        slot = name_hash(text, ends[number], ends[number + 1])
        while slots[slot] >= 0:
            slot = (slot + 1) & 255
        slots[slot] = number
    return text, ends, slots


@kernel
def find(data: Any, start: int, end: int, text: Any, ends: Any, slots: Any) -> int:
    """Number of the word that stands there, −1 for no word."""
    slot = name_hash(data, start, end)
    while slots[slot] >= 0:
        number = slots[slot]
        first = ends[number]
        if ends[number + 1] - first == end - start:
            same = True
            for i in range(end - start):
                if data[start + i] != text[first + i]:
                    same = False
                    break
            if same:
                return number
        slot = (slot + 1) & 255
    return -1


@kernel
def character(data: Any, i: int) -> tuple[int, bool]:
    """(bytes of the UTF-8 character beyond ASCII that begins at i, 0 when it is none; whether no rule for texts can change it).

    So are Han, the marks and full-width forms beside it and letters with accents: in NFC whatever is around them, no spaces, controls,
    digits or signs (RFC 3629 for what is UTF-8). The byte behind the last may be read: a line feed ends each line.
    """
    a = data[i]
    if a < 0xC2 or a > 0xF4:
        return 0, False
    b = data[i + 1]
    if b & 0xC0 != 0x80:
        return 0, False
    if a < 0xE0:
        return 2, a == 0xC3 or (a == 0xC2 and b > 0xA0)
    c = data[i + 2]
    if c & 0xC0 != 0x80 or (a == 0xE0 and b < 0xA0) or (a == 0xED and b > 0x9F):
        return 0, False
    if a < 0xF0:
        if 0xE4 <= a <= 0xE9:
            return 3, True
        if a == 0xEF:  # U+FF01 to U+FF5E but digits, @ and %
            return 3, (b == 0xBC and c > 0x80 and c != 0x85 and c != 0xA0 and not 0x90 <= c <= 0x99) or (b == 0xBD and c < 0x9F)
        if a == 0xE3:  # U+3001 to U+3020
            return 3, b == 0x80 and 0x81 <= c <= 0xA0
        return 3, a == 0xE2 and b == 0x80 and 0x90 <= c <= 0xA7
    if data[i + 3] & 0xC0 != 0x80 or (a == 0xF0 and b < 0x90) or (a == 0xF4 and b > 0x8F):
        return 0, False
    return 4, False


@kernel
def _string(data: Any, i: int) -> tuple[int, int]:
    """(place of the quote that ends the string begun before i, −1 when it is no sound one; what it has)."""
    has = digits = 0
    while True:
        kind = _KINDS[data[i]]
        if kind <= _DIGIT:  # without a branch between the two: ids are mixed of both
            digits += kind
            i += 1
        elif kind == _END:
            return i, has if digits < _SEVEN else has | _PERSONAL
        elif kind == _WIDE:
            n, simple = character(data, i)
            if n == 0:
                return -1, 0
            has |= _WIDES if simple else _WIDES | _CHANGES
            i += n
        elif kind == _BAD:
            return -1, 0
        elif kind == _ESCAPE:
            has |= _ESCAPES
            if data[i + 1] < 32 or data[i + 1] > 126:
                return -1, 0
            i += 2
        else:
            has |= _PERSONAL if kind == _SIGN else _BLANKS if data[i] == _SPACE else _BLANKS | _CHANGES
            i += 1


@kernel
def _number(data: Any, i: int) -> tuple[int, bool, int, int]:
    """(its end, whether it is written as a whole number, mantissa, exponent of ten); end −1 for one below zero or of 20 digits."""
    first, mantissa, exponent, whole = i, 0, 0, True
    while 48 <= data[i] <= 57:
        if mantissa > 900_000_000_000_000_000:
            return -1, False, 0, 0
        mantissa = mantissa * 10 + (data[i] - 48)
        i += 1
    if i == first or (data[first] == 48 and i > first + 1):
        return -1, False, 0, 0
    if data[i] == 46:
        whole = False
        i += 1
        point = i
        while 48 <= data[i] <= 57:
            if mantissa > 900_000_000_000_000_000:
                return -1, False, 0, 0
            mantissa = mantissa * 10 + (data[i] - 48)
            i += 1
        if i == point:
            return -1, False, 0, 0
        exponent = point - i
    if data[i] | 32 == 101:
        whole = False
        i += 1
        sign = 1
        if data[i] == 43 or data[i] == 45:
            sign = 44 - data[i]
            i += 1
        start, power = i, 0
        while 48 <= data[i] <= 57 and i < start + 4:
            power = power * 10 + (data[i] - 48)
            i += 1
        if i == start:
            return -1, False, 0, 0
        exponent += sign * power
    return i, whole, mantissa, exponent


@kernel
def _double(mantissa: int, exponent: int) -> float:
    """The double nearest to mantissa · 10^exponent, −1 where that takes more than one exact operation (Clinger 1990)."""
    if mantissa > _MAX_EXACT or exponent < -22 or exponent > 22:
        return -1.0
    value = np.float64(mantissa)
    return value * _POWERS[exponent] if exponent >= 0 else value / _POWERS[-exponent]


@kernel
def _two(data: Any, i: int) -> int:
    """Two digits as a number, −1000 for anything else; no byte behind the first that is none is read."""
    if not 48 <= data[i] <= 57 or not 48 <= data[i + 1] <= 57:
        return -1000
    return (data[i] - 48) * 10 + (data[i + 1] - 48)


@kernel
def _moment(data: Any, i: int, naive: Any, first_quarter: int) -> tuple[int, int, int]:
    """(its end, microseconds since 1970, bits of `marks`) of YYYY-MM-DDThh:mm:ss[.f][Z|±hh:mm] of this century; end −1 for anything else.

    naive    int64 (2, quarters): what makes a time without offset UTC (µs) in each quarter of an hour from the first on, and its bits
    """
    if i + 20 > len(data) or data[i] != 50 or data[i + 1] != 48 or data[i + 4] != 45 or data[i + 7] != 45:
        return -1, 0, 0
    if (data[i + 10] != 84 and data[i + 10] != _SPACE) or data[i + 13] != _COLON or data[i + 16] != _COLON:
        return -1, 0, 0
    year, month, day = _two(data, i + 2), _two(data, i + 5), _two(data, i + 8)
    hour, minute, second = _two(data, i + 11), _two(data, i + 14), _two(data, i + 17)
    if year < 0 or not 1 <= month <= 12 or day < 1 or not 0 <= hour < 24 or not 0 <= minute < 60 or not 0 <= second < 60:
        return -1, 0, 0
    last = 30 + ((month + month // 8) & 1) if month != 2 else 29 if year % 4 == 0 else 28
    if day > last:
        return -1, 0, 0
    # Days from March 2000 on, whose years end with the leap day (H. Hinnant, chrono-compatible low-level date algorithms).
    y, m = (year, month - 3) if month > 2 else (year - 1, month + 9)
    days = 11_017 + 365 * y + y // 4 + (153 * m + 2) // 5 + day - 1
    i += 19
    fraction, scale = 0, 1_000_000
    if data[i] == 46:
        i += 1
        while 48 <= data[i] <= 57 and scale > 1:
            fraction = fraction * 10 + (data[i] - 48)
            scale //= 10
            i += 1
        if scale == 1_000_000:
            return -1, 0, 0
    found = ((days * 24 + hour) * 60 + minute) * 60_000_000 + second * 1_000_000 + fraction * scale
    if data[i] == 90:
        return i + 1, found, 0
    if data[i] == _QUOTE:
        quarter = found // _QUARTER - first_quarter
        if not 0 <= quarter < naive.shape[1]:
            return -1, 0, 0
        return i, found + naive[0, quarter], naive[1, quarter]
    if data[i] != 43 and data[i] != 45:
        return -1, 0, 0
    hours = _two(data, i + 1)
    if not 0 <= hours < 14 or data[i + 3] != _COLON:
        return -1, 0, 0
    minutes = _two(data, i + 4)
    if not 0 <= minutes < 60:
        return -1, 0, 0
    return i + 6, found - (44 - data[i]) * (hours * 60 + minutes) * 60_000_000, 0


@kernel
def _epoch(value: int) -> tuple[int, int]:
    """(microseconds since 1970, its bit of `marks`) of an epoch number, told by its magnitude; NO_TIME beyond `values.EPOCHS`."""
    if 10**9 <= value <= 4 * 10**9:
        return value * 1_000_000, EPOCH_S
    if 10**12 <= value <= 4 * 10**12:
        return value * 1000, EPOCH_MS
    if 10**15 <= value <= 4 * 10**15:
        return value, EPOCH_US
    if 10**18 <= value <= 4 * 10**18:
        return value // 1000, EPOCH_NS
    return NO_TIME, 0


@kernel
def _text(data: Any, f: int, first: int, last: int, has: int) -> int:
    """What a text is: PLAIN, ODD or ESCAPED."""
    if has & _ESCAPES:
        return ESCAPED
    if f in (_TEXT, _QUERY, _URL):
        has &= _CHANGES | _PERSONAL
    else:
        has &= _CHANGES
    longest = _MAX_URL if f == _URL else _MAX_TEXT
    return ODD if has or data[first] == _SPACE or data[last - 1] == _SPACE or last - first > longest else PLAIN


@kernel
def _no_item(data: Any, first: int, last: int) -> bool:
    """Whether an id may be one of `event.NO_ITEM` by its ends."""
    n, a, z = last - first, data[first] | 32, data[last - 1] | 32
    return (a == 110 and ((n == 3 and z == 110) or (n == 4 and (z == 108 or z == 101)))) or (n == 9 and a == 117 and z == 100)


@kernel
def _put_number(f: int, line: int, whole: bool, mantissa: int, exponent: int, columns: Any, numbers: Any) -> bool:
    """Keep a number under its field when it is within the field's bounds."""
    if f in (_TS, _RECEIVED):
        moment, mark = _epoch(mantissa) if whole else (NO_TIME, 0)
        columns[TS if f == _TS else RECEIVED, line] = moment
        if f == _TS:
            columns[MARKS, line] = mark
        return moment != NO_TIME
    if f == _QUANTITY:
        columns[QUANTITY, line] = mantissa
        return whole and mantissa <= 1_000_000_000
    value = _double(mantissa, exponent)
    if f == _RATING:
        numbers[0, line] = value
        return 1 <= value <= 5
    if f == _DWELL:
        numbers[1, line] = value
        return 0 <= value <= 10_000_000
    if f != _PRICE or not 0.0001 <= value <= 1e9:
        return False
    # Division rounds correctly: equality says that the price is the double nearest to a decimal of four places, and so is written as one.
    whole_price = np.rint(value * 1e4)
    columns[PRICE, line] = np.int64(whole_price)
    return whole_price / 1e4 == value


@kernel
def _put_string(
    data: Any, f: int, line: int, first: int, last: int, has: int, kinds: Any, columns: Any, places: Any, sizes: Any, odd: Any
) -> bool:
    """Keep a string under its field when it is one that the field may have."""
    if f >= _REPAIRS:
        text, ends, slots = kinds
        columns[TYPE, line] = find(data, first, last, text, ends, slots) if f == _TYPE and not has & _ESCAPES else -1
        return columns[TYPE, line] >= 0
    if f < len(IDS):
        if has & (_ESCAPES | _BLANKS | _WIDES) or not first < last <= first + _MAX_ID:
            return False
        if f == _ITEM_ID and _no_item(data, first, last):
            return False
    elif first == last:
        return True
    else:
        odd[f - len(IDS), line] = _text(data, f, first, last, has)
    places[f, line], sizes[f, line] = first, last - first
    return True


@kernel
def _line(
    data: Any,
    i: int,
    line: int,
    keys: Any,
    kinds: Any,
    naive: Any,
    first_quarter: int,
    after: Any,
    columns: Any,
    numbers: Any,
    places: Any,
    sizes: Any,
    odd: Any,
) -> int:
    """Place of the line feed that ends the line begun at i; −1 when it is no ordinary one. `after` keeps which field followed which."""
    text, ends, slots = keys
    seen, before = 0, len(ends) - 1
    if data[i] != 123:
        return -1
    i += 1
    while True:
        while data[i] == _SPACE:
            i += 1
        if data[i] != _QUOTE:
            return -1
        i += 1
        first, f = i, after[before]
        for k in range(ends[f], ends[f + 1]):
            if data[i] != text[k]:
                break
            i += 1
        if data[i] != _QUOTE or i - first != ends[f + 1] - ends[f]:
            i = first
            while data[i] > _QUOTE:
                i += 1
            f = find(data, first, i, text, ends, slots)
        if data[i] != _QUOTE or f < 0 or seen & (1 << f):
            return -1
        after[before], before = f, f
        seen |= 1 << f
        i += 1
        while data[i] == _SPACE:
            i += 1
        if data[i] != _COLON:
            return -1
        i += 1
        while data[i] == _SPACE:
            i += 1
        if data[i] == _QUOTE:
            i += 1
            if f in (_TS, _RECEIVED):
                last, moment, mark = _moment(data, i, naive, first_quarter)
                if last < 0 or data[last] != _QUOTE:
                    return -1
                columns[TS if f == _TS else RECEIVED, line] = moment
                if f == _TS:
                    columns[MARKS, line] = mark
                i = last + 1
            else:
                last, has = _string(data, i)
                if last < 0 or not _put_string(data, f, line, i, last, has, kinds, columns, places, sizes, odd):
                    return -1
                i = last + 1
        elif data[i] == 91 and f == _REPAIRS:
            i += 1
            last = i
            while 97 <= data[last] <= 122 or 48 <= data[last] <= 57 or data[last] in (95, _QUOTE, _COMMA, _SPACE):
                last += 1
            if data[last] != 93:
                return -1
            places[f, line], sizes[f, line], odd[f - len(IDS), line] = i, last - i, ODD
            i = last + 1
        elif data[i] == 110:
            if data[i + 1] != 117 or data[i + 2] != 108 or data[i + 3] != 108:
                return -1
            i += 4
        else:
            i, whole, mantissa, exponent = _number(data, i)
            if i < 0 or not _put_number(f, line, whole, mantissa, exponent, columns, numbers):
                return -1
        while data[i] == _SPACE:
            i += 1
        if data[i] == _COMMA:
            i += 1
        elif data[i] == 125:
            break
        else:
            return -1
    i += 1
    while data[i] == _SPACE or data[i] == _CR:
        i += 1
    return i if data[i] == _LF else -1


@kernel
def _timely(line: int, columns: Any, sizes: Any, window: Any, offsets: Any) -> bool:
    """Fill in the local day and what goes with it; whether all that an event must have is there, at a time at which it may be."""
    partition, end, cutoff, first_quarter, late_days, search = window
    at, received = columns[TS, line], columns[RECEIVED, line]
    now = end if received == NO_TIME else received
    if at == NO_TIME or at > now or now > end + _DAY or now > cutoff or columns[TYPE, line] < 0:
        return False
    if sizes[_EVENT_ID, line] < 0 or sizes[_USER_ID, line] < 0:
        return False
    if sizes[_ITEM_ID, line] < 0 and (sizes[_QUERY, line] < 0 or columns[TYPE, line] != search):
        return False
    quarter = at // _QUARTER - first_quarter
    if not 0 <= quarter < len(offsets):
        return False
    local = at + offsets[quarter]
    day = local // _DAY
    columns[DAY, line], columns[DAYPART, line] = day, (local - day * _DAY) // (_DAY // 4)
    if day < partition:
        columns[MARKS, line] |= LATE
    return day + late_days >= partition


@kernel
def scan(
    data: Any,
    keys: Any,
    kinds: Any,
    window: Any,
    offsets: Any,
    naive: Any,
    columns: Any,
    numbers: Any,
    places: Any,
    sizes: Any,
    odd: Any,
    ordinary: Any,
) -> int:
    """Fill in what is known of each line; returns how many there are.

    data       uint8 (bytes,): whole lines, each with its line feed
    keys, kinds     `names` of FIELDS and of the types of events
    window     the partition's day, its end and the cutoff of what is known (µs), the first quarter of an hour of `offsets`, days that an
               event may be late, number of the type of a search, which alone may have no item
    offsets    int64: what the zone adds to UTC (µs) in each quarter of an hour in which an event of the partition can lie
    naive      see `_moment`
    columns, numbers    int64 (len(COLUMNS), lines), see there; float64 (2, lines): rating and dwell, NaN for none
    places, sizes       int32 (len(IDS + TEXTS), lines): where a value begins, and its bytes, −1 for none
    odd        uint8 (len(TEXTS), lines): PLAIN, ODD or ESCAPED
    ordinary   bool (lines,): whether all of that holds; of another line only where it begins and ends
    """
    after = np.zeros(len(keys[1]), np.int64)
    i = line = 0
    while i < len(data):
        columns[START, line], columns[TYPE, line], columns[MARKS, line] = i, -1, 0
        columns[TS, line] = columns[RECEIVED, line] = NO_TIME
        columns[PRICE, line] = columns[QUANTITY, line] = -1
        numbers[:, line] = np.nan
        sizes[:, line] = -1
        odd[:, line] = PLAIN
        end = _line(data, i, line, keys, kinds, naive, window[3], after, columns, numbers, places, sizes, odd)
        ordinary[line] = end >= 0 and _timely(line, columns, sizes, window, offsets)
        if end < 0:
            end = i
            while data[end] != _LF:
                end += 1
        columns[STOP, line] = end
        i = end + 1
        line += 1
    return line
