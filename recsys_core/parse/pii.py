"""Personal data in a text, masked: e-mail addresses, phone numbers, payment cards and Chinese resident identity numbers."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

# How the people of a region write phone numbers without a country code: without a space, hyphen or bracket mobile numbers only, since any
# ten digits would do for an American one. What is written so must also be a number that the region has. One line adds a region.
REGIONS: dict[str, str] = {
    "CN": r"(?:(?:00)?86[ -]?)?1[3-9]\d[ -]?\d{4}[ -]?\d{4}|(?:\(0\d{2,3}\) ?|0\d{2,3}[ -])\d{3,4}[ -]?\d{4}|[48]00[ -]\d{3}[ -]?\d{4}",
    "US": r"(?:1[ .-])?(?:\(\d{3}\)[ -]?|\d{3}[ .-])\d{3}[ .-]\d{4}",
    "GB": r"07\d{9}|(?:\(0[1-9]\d{1,4}\) ?|0[1-9]\d{1,4}[ -])\d{3,8}(?:[ -]\d{3,4})?",
    "DE": r"01[5-7]\d{8,9}|(?:\(0[1-9]\d{1,4}\) ?|0[1-9]\d{1,4}(?: ?[/-] ?| ))\d{2,8}(?:[ -]\d{1,6}){0,3}",
}
# Numbers without a country code have at least as many digits.
MIN_PHONE_DIGITS = 9
# What is masked can uncover a number glued to it; a chain of them may not cost more than this many times its length.
MAX_PASSES = 5

# Thai, Hangul, kana and Han: an address ends where they begin, for they are written without spaces.
_LETTER = "[^\\W_\u0e00-\u0e7f\u1100-\u11ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]"
_NO_FILE = r"(?!(?:gif|jpe?g|pdf|png|svg|webp)\b)"
# Possessive and bounded repetitions: time grows with the length of a text alone.
_EMAIL = re.compile(
    rf"(?<!{_LETTER})(?<![._+-])(?<!%(?=40))[._+-]*+{_LETTER}(?:{_LETTER}|[._+-])*+(?:@|%40)"
    rf"(?:(?:[a-zA-Z0-9-]{{1,63}}+\.){{1,9}}{_NO_FILE}[a-zA-Z]{{2,24}}+"
    rf"|(?:[\w-]{{1,63}}+\.){{1,9}}{_NO_FILE}(?:(?:(?!\d){_LETTER}){{2,24}}+|中国|中國|公司|网络|網絡|香港|台灣|台湾|한국|みんな))"
    rf"(?!\d|\(\D|(?:{_LETTER}|[._+-])*+(?:@|%40))"
)
# Of numbers that begin with 00 only those of countries where it is dialled: others are mostly order numbers.
_INTERNATIONAL = r"(?:\+|00(?=44|49))[1-9](?:[ ().-]{0,3}\d){6,14}"
_RESIDENT = r"[1-9]\d{5} ?(?:19|20)\d{6} ?\d{3}(?:\d|[Xx](?!/))"
# First digits and lengths of the card networks; in groups of four, or of 4, 6 and the rest.
_CARD = (
    r"(?:4\d{15}(?:\d{3})?|5\d{15}|2[2-7]\d{14}|3[47]\d{13}|3[0689]\d{12}|35\d{14}|6\d{15,18})"
    r"|[2-6]\d{3}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?|3\d{3}([ -])\d{6}\2\d{4,5}"
)

# As long as what they replace, so that places hold in both: full-width forms; spaces, hyphens and at signs of other kinds.
_PLAIN: dict[int, int | str] = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_PLAIN |= dict.fromkeys((0xA0, 0x2007, 0x202F, 0x3000), " ") | dict.fromkeys((*range(0x2010, 0x2016), 0x2212), "-") | {0xFE6B: "@"}
_SEVEN_DIGITS = re.compile("[0-9\uff10-\uff19](?:[^0-9\uff10-\uff19]{0,3}+[0-9\uff10-\uff19]){6}")
# Digits as near to each other as in any number above, and how far before and behind them its pattern has to see.
_RUN = re.compile(r"[0-9](?:[ ().+/-]{0,3}+[0-9]){6,}")
_BEFORE, _BEHIND = 3, 3


def mask(text: str) -> str:
    """The text with [email], [id], [card] and [phone] in the places of such data; the same text again when masked once more.

    Numbers count when their check digit or their region's numbering plan allows them and they are written as people write them: what only
    could be one (an order number, a date, a price) stays.

    >>> mask("邮箱是a.b@qq.com谢谢，电话１３８１２３４５６７８")
    '邮箱是[email]谢谢，电话[phone]'
    >>> mask("+49 30 901820 or 4111 1111 1111 1111, not 9780306406157 of 2026-01-05 10:00:00 for 1,299.00")
    '[phone] or [card], not 9780306406157 of 2026-01-05 10:00:00 for 1,299.00'
    """
    # Nearly every text ends here: searches for single characters are the cheapest there are.
    if text.isascii() and not (
        ("@" in text or "0" in text or "1" in text or "2" in text or "3" in text or "4" in text)
        or ("5" in text or "6" in text or "7" in text or "8" in text or "9" in text)
    ):
        return text
    for _ in range(MAX_PASSES):
        masked = _masked(text)
        if masked == text:
            break
        text = masked
    return text


def _masked(text: str) -> str:
    """The text masked once over."""
    addresses = "@" in text or "%40" in text or "\uff20" in text or "\ufe6b" in text
    numbers = _SEVEN_DIGITS.search(text)
    if not addresses and not numbers:
        return text
    plain = text if text.isascii() else text.translate(_PLAIN)
    found: list[tuple[int, int, str]] = []
    if addresses:
        plain = _cover(plain, 0, "[email]", _EMAIL, len, found)
    for run in _RUN.finditer(plain) if numbers else ():
        first = max(run.start() - _BEFORE, 0)
        window = plain[first : run.end() + _BEHIND]
        for name, pattern, length in _NUMBERS:
            window = _cover(window, first, name, pattern, length, found)
    parts, end = [], 0
    for start, stop, name in sorted(found):
        parts += [text[end:start], name]
        end = stop
    return "".join(parts) + text[end:]


def _cover(
    plain: str, first: int, name: str, pattern: re.Pattern[str], length: Callable[[str], int], found: list[tuple[int, int, str]]
) -> str:
    """`plain` with the pattern's matches overwritten as far as `length` says; their places, counted from `first`, go to `found`."""

    def overwrite(match: re.Match[str]) -> str:
        n = length(match[0])
        if n:
            found.append((first + match.start(), first + match.start() + n, name))
        return "]" * n + match[0][n:]

    return pattern.sub(overwrite, plain)


def _resident(raw: str) -> int:
    """Characters to mask: all of a resident identity number with the right check digit, a birthday and a place, else 0."""
    from stdnum.cn import ric

    try:
        return len(raw) if ric.is_valid(raw.replace(" ", "")) else 0
    except KeyError:  # The province is known, the county is not (yet); the rest was right.
        return len(raw)


def _card(raw: str) -> int:
    """Characters to mask: those of a number with the check digit of Luhn, also without the three digits behind sixteen in groups."""
    from stdnum import luhn

    for n in (len(raw), 19):
        digits = [c for c in raw[:n] if c.isdigit()]
        if len(digits) >= 14 and len(set(digits)) > 1 and luhn.is_valid("".join(digits)):
            return min(n, len(raw))
    return 0


def _phone(raw: str, region: str | None) -> int:
    """Characters to mask: all of a number that its country, or else `region`, has, else 0."""
    import phonenumbers

    if region and sum(map(str.isdigit, raw)) < MIN_PHONE_DIGITS:
        return 0
    try:
        number = phonenumbers.parse(raw if region else "+" + raw.removeprefix("00").lstrip("+"), region)
    except phonenumbers.NumberParseException:
        return 0
    return len(raw) if phonenumbers.is_valid_number(number) else 0


def _number(written: str) -> re.Pattern[str]:
    """Numbers written so that are neither in a word, an amount or a path nor part of a longer number, date, version or network address."""
    starts = r"(?:(?=[+(])(?<!\+)|(?<![0-9A-Za-z_=#$€£¥+*^&])(?<!\d[.:-]))(?<![A-Za-z_/]/)"
    ends = r"(?![0-9A-Za-z_%])(?!(?<=\d)[.:-]\d)"
    return re.compile(f"{starts}(?:{written}){ends}", re.ASCII)


# In this order: (what to write instead, pattern, characters of a match to mask).
_NUMBERS: tuple[tuple[str, re.Pattern[str], Callable[[str], int]], ...] = (
    ("[id]", _number(_RESIDENT), _resident),
    ("[card]", _number(_CARD), _card),
    ("[phone]", _number(_INTERNATIONAL), partial(_phone, region=None)),
    *(("[phone]", _number(written), partial(_phone, region=region)) for region, written in REGIONS.items()),
)
