"""Delivered bytes to JSON objects, strictly: what is not clean JSON is named, never guessed at."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import orjson

from recsys_core.parse.rules import Fault

BLOCK = 1 << 20
MAX_LINE = 16 << 20
MAX_DEPTH = 32
MAX_DIGITS = 300
BOMB_RATIO, BOMB_BYTES = 200, 64 << 20
BOM = b"\xef\xbb\xbf"
_KEY = re.compile(rb'"[ \t\r\n]*:')
_SPACE = re.compile(r"[ \t\r\n]*")
_EXACT = 1e15
_LONG_NUMBER = re.compile(rb"\d{19}")


class Found(NamedTuple):
    """What stands at a byte of a line: an object, or None and the code of its fault; `raw` are its bytes."""

    offset: int
    raw: bytes
    value: dict[str, Any] | None
    fault: str | None
    repairs: tuple[str, ...] = ()


def _plain(stream: BinaryIO, head: bytes) -> Iterator[bytes]:
    while head:
        yield head
        head = stream.read(BLOCK)


def _gunzipped(stream: BinaryIO, data: bytes) -> Iterator[bytes]:
    """Blocks of all members of a gzip stream; Fault on the first thing wrong with it."""
    member = zlib.decompressobj(31)
    read, written = len(data), 0
    while True:
        while data:
            if member.eof:
                if not data.strip(b"\0"):  # padding, which gzip allows
                    data = b""
                    break
                if len(data) == 1:
                    break
                if data[:2] != b"\x1f\x8b":
                    raise Fault("gz_trailing")
                member = zlib.decompressobj(31)
            try:
                block = member.decompress(data, BLOCK)
            except zlib.error:
                raise Fault("gz_corrupt") from None
            data = member.unconsumed_tail or member.unused_data
            written += len(block)
            if written > max(BOMB_BYTES, BOMB_RATIO * read):
                raise Fault("gz_bomb")
            if block:
                yield block
        more = stream.read(BLOCK)
        read += len(more)
        if not more:
            break
        data += more
    if not member.eof:
        raise Fault("gz_truncated")
    if data:
        raise Fault("gz_trailing")


def blocks(stream: BinaryIO) -> tuple[bool, Iterator[bytes]]:
    """(whether a file is gzip by its bytes, its unpacked blocks up to the first Fault)."""
    head = stream.read(BLOCK)
    zipped = head[:2] == b"\x1f\x8b"
    return zipped, _gunzipped(stream, head) if zipped else _plain(stream, head)


def whole_lines(stream: BinaryIO, name: str, size: int = BLOCK) -> Iterator[tuple[int, bytes]]:
    """(byte offset in the unpacked file, whole lines of at least `size` bytes together, each with its line feed).

    The file's last lines may be fewer bytes, and the very last may lack its line feed. Gzip is known by its bytes; Fault when the file is
    to be refused.
    """
    zipped, unpacked = blocks(stream)
    offset, read, tail, parts = 0, 0, 0, []
    for number, block in enumerate(unpacked):
        if not number and name.endswith(".gz") and not zipped:
            raise Fault("not_gzip")
        if not number and (block[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in block[:4]):
            raise Fault("encoding")
        last = block.rfind(b"\n")
        if tail + (len(block) if last < 0 else block.find(b"\n")) > MAX_LINE:
            raise Fault("line_too_long")
        tail = tail + len(block) if last < 0 else len(block) - last - 1
        parts.append(block)
        read += len(block)
        if last >= 0 and read - offset >= size:
            whole = b"".join(parts)
            yield offset, whole[: len(whole) - tail]
            parts = [whole[len(whole) - tail :]]
            offset = read - tail
    if read > offset:
        yield offset, b"".join(parts)


def lines(stream: BinaryIO, name: str) -> Iterator[tuple[int, bytes]]:
    """(byte offset in the unpacked file, line without its line feed), gzip known by its bytes; Fault when the file is to be refused."""
    for offset, block in whole_lines(stream, name):
        *whole, tail = block.split(b"\n")
        for line in whole:
            yield offset, line
            offset += len(line) + 1
        if tail:
            yield offset, tail


def objects(line: bytes) -> Iterator[Found]:
    """The objects of one line that is not blank: as a rule one, several of an array or when a line feed was lost, or a fault."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        yield from _slowly(line)
        return
    if type(value) is not dict:
        yield from _slowly(line)
        return
    try:
        keys = _count_keys(value, 1)
    except Fault as fault:
        yield Found(0, line, None, fault.code)
        return
    # Each key is followed by a colon, so as many `":` as keys proves that none is repeated; more (also inside a text) is looked at exactly.
    if len(_KEY.findall(line)) != keys or inexact(line, value):
        yield from _slowly(line)
    else:
        yield Found(0, line, value, None)


def objects_at(offset: int, line: bytes) -> Iterator[Found] | None:
    """The objects of a delivered line that begins at a byte of its file, placed in the file; None of a blank line.

    A byte-order mark before the file's first line and a carriage return at the end are no part of it.
    """
    before: tuple[str, ...] = ()
    if offset == 0 and line.startswith(BOM):
        offset, line, before = len(BOM), line[len(BOM) :], ("bom",)
    if not line.strip(b" \t\r"):
        return None
    return (f._replace(offset=offset + f.offset, repairs=before + f.repairs) for f in objects(line.rstrip(b"\r")))


def inexact(line: bytes, value: dict[str, Any]) -> bool:
    """Whether a number of the line may have lost digits: orjson reads whole numbers beyond 64 bits as floats, and floats of any length."""
    long = len(line) > MAX_DIGITS
    for v in value.values():
        kind = type(v)
        # A number of many digits is large, or its line is long; a nested value may hold one, too.
        if (kind is float and (long or abs(v) >= _EXACT)) or kind is dict or kind is list:
            return _LONG_NUMBER.search(line) is not None
    return False


def _count_keys(value: Any, depth: int) -> int:
    """Number of keys at all levels; Fault beyond MAX_DEPTH."""
    if depth > MAX_DEPTH:
        raise Fault("too_deep")
    keys, inner = (len(value), value.values()) if type(value) is dict else (0, value)
    return keys + sum(_count_keys(v, depth + 1) for v in inner if type(v) in (dict, list))


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Fault("dup_key")
    return found


def _constant(name: str) -> Any:
    raise Fault("non_finite")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise Fault("number_too_long")
    return int(digits)


def _fraction(digits: str) -> float:
    if len(digits) > MAX_DIGITS:
        raise Fault("number_too_long")
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise Fault("non_finite")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant, parse_int=_integer, parse_float=_fraction)


def _slowly(line: bytes) -> Iterator[Found]:
    """The same as `objects` with the standard library's decoder, which tells what is wrong and where."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        yield Found(0, line, None, "bad_utf8")
        return
    try:
        spans, code = _spans(text)
    except Fault as fault:
        yield Found(0, line, None, fault.code)
        return
    except RecursionError:
        yield Found(0, line, None, "too_deep")
        return
    offset = seen = 0
    for start, end, value in spans:
        raw = text[start:end].encode() if code else line
        if code:
            offset, seen = offset + len(text[seen:start].encode()), start
        repairs = (code,) if code else ()
        if type(value) is not dict:
            yield Found(offset, raw, None, "not_object", repairs)
            continue
        try:
            _count_keys(value, 1)
        except Fault as fault:
            yield Found(offset, raw, None, fault.code, repairs)
            continue
        mended = _mend(value)
        yield Found(offset, raw, mended, None, (*repairs, "surrogate") if mended != value else repairs)


def _spans(text: str) -> tuple[list[tuple[int, int, Any]], str | None]:
    """[(start, end, value)] of the objects on a line and the repair that took them apart, if any; Fault when the line is not clean."""
    at = _skip(text, 0)
    opening = text[at : at + 1]
    if opening == "[":
        found, repair = _array(text, at), "array_unwrapped"
    elif opening == "{":
        found, repair = [], "glued_objects"
        while at < len(text):
            if found and text[at] != "{":
                raise Fault("trailing_data")
            start = at
            try:
                value, at = _DECODER.raw_decode(text, at)
            except json.JSONDecodeError as error:
                raise Fault("trailing_data" if found else _fault_of(text, error)) from None
            found.append((start, at, value))
            at = _skip(text, at)
        return found, repair if len(found) > 1 else None
    else:
        try:
            _, end = _DECODER.raw_decode(text, at)
        except (json.JSONDecodeError, Fault):
            raise Fault("control_char" if "\0" in text else "not_json") from None
        raise Fault("not_object" if _skip(text, end) == len(text) else "not_json")
    return found, repair


def _array(text: str, at: int) -> list[tuple[int, int, Any]]:
    """Elements of the array that begins at `at` and fills the line."""
    try:
        values, end = _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        inner = text[_skip(text, at + 1) :][:1]
        raise Fault(_fault_of(text, error) if inner in ("{", "[", "") else "not_json") from None
    if _skip(text, end) != len(text):
        raise Fault("trailing_data")
    if not values:
        raise Fault("not_object")
    found = []
    for value in values:
        start = _skip(text, at + 1)
        _, at = _DECODER.raw_decode(text, start)
        found.append((start, at, value))
        at = _skip(text, at)
    return found


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _fault_of(text: str, error: json.JSONDecodeError) -> str:
    """Why a line that begins like an object or array is none."""
    if "\0" in text or error.msg.startswith("Invalid control character"):
        return "control_char"
    whole = text.rstrip()
    cut = error.msg.startswith("Unterminated string") or error.pos >= len(whole) or whole[-1] not in "}]"
    return "json_truncated" if cut else "json_syntax"


def _mend(value: Any) -> Any:
    """The value with U+FFFD for each half of a surrogate pair."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return value
    if isinstance(value, dict):
        return {_mend(k): _mend(v) for k, v in value.items()}
    return [_mend(v) for v in value] if isinstance(value, list) else value
