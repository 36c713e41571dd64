"""Requests to forget people: kept in the lake under salted hashes alone, and looked up by whoever meets an id."""

from __future__ import annotations

import datetime as dt
import hmac
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from recsys_core.lake import LakeError, canonical_json
from recsys_core.landing_schema import MAX_ID_LENGTH

if TYPE_CHECKING:
    from recsys_core.lake import Lake

FOLDER = "_erasure"
_SALT, _REQUESTS, _PENDING = (f"{FOLDER}/{name}" for name in ("salt", "requests.json", "pending.json"))
SALT_BYTES = 32
# Shorter ids are words and numbers like any other: in what other people wrote they mean nothing.
MIN_MENTION = 6
# Ids whose answer is remembered.
_MAX_KNOWN = 1 << 20
_ESCAPED = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["/\\]))')
_WORD = re.compile(rb"\w+")
_TOKEN = re.compile(r'"([^"]*)"|[^\s",:;{}\[\]()<>]+')


@dataclass(frozen=True)
class Request:
    """A person to forget.

    request_id    the beginning of subject_hash
    subject_hash  hex HMAC-SHA-256(salt, user id)
    alias_hashes  the same of the anonymous ids that were this person's alone
    completed_at  None while something may be left
    models        versions whose training data held rows of the person
    """

    request_id: str
    subject_hash: str
    requested_at: str
    completed_at: str | None = None
    alias_hashes: tuple[str, ...] = ()
    files_rewritten: int = 0
    rows_removed: int = 0
    models: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """The row of the table erasure_request."""
        return {
            "request_id": self.request_id,
            "subject_hash": self.subject_hash,
            "requested_at": dt.datetime.fromisoformat(self.requested_at),
            "completed_at": dt.datetime.fromisoformat(self.completed_at) if self.completed_at else None,
            "files_rewritten": self.files_rewritten,
            "rows_removed": self.rows_removed,
        }


class Erased:
    """Who is to be forgotten: answers for any id, or any bytes, whose request they belong to."""

    def __init__(self, salt: bytes, requests: Iterable[Request] = ()) -> None:
        self.salt = salt
        self.by_hash: dict[str, str] = {}
        self._named: set[str] = set()
        for r in requests:
            self._named.add(r.subject_hash)
            self.by_hash |= dict.fromkeys((r.subject_hash, *r.alias_hashes), r.request_id)
        self.ids: dict[str, str] = {}
        self._known: dict[str, str | None] = {}
        self._needles: tuple[int, list[tuple[bytes, bytes]]] = (0, [])

    def __bool__(self) -> bool:
        return bool(self.by_hash)

    def hash(self, user_id: str) -> str:
        """The salted hash of an id."""
        return hmac.digest(self.salt, user_id.encode(), "sha256").hex()

    def request(self, user_id: str) -> str | None:
        """The id of the request that an id (as `parse.values.identifier` gives it) belongs to, or None."""
        if user_id in self._known:
            return self._known[user_id]
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        found = self._known[user_id] = self.by_hash.get(self.hash(user_id))
        if found:
            self.ids[user_id] = found
        return found

    def within(self, raw: bytes) -> str | None:
        """The request of an id that stands as a whole token in bytes nobody can read as an object, or None."""
        for text in _texts(raw):
            for user_id in self.mentioned(text):
                return self.ids[user_id]
            for match in _TOKEN.finditer(text):
                token = (match.group(0) if match.group(1) is None else match.group(1)).strip()
                if 0 < len(token) <= MAX_ID_LENGTH and (found := self.request(token)):
                    return found
        return None

    def add(self, user_id: str, request_id: str) -> None:
        """Have an id belong to a request from now on."""
        self.by_hash[self.hash(user_id)] = self._known[user_id] = self.ids[user_id] = request_id

    def named(self, user_id: str) -> bool:
        """Whether somebody asked for this very id, and it is no anonymous one found with another."""
        return self.hash(user_id) in self._named

    def mentions(self, others: Sequence[bytes]) -> int:
        """In how many of other people's objects one of the longer ids met so far stands as a whole token."""
        if self._needles[0] != len(self.ids):
            longer = [i for i in self.ids if len(i) >= MIN_MENTION]
            written = sorted({n for i in longer for n in (i.encode(), json.dumps(i)[1:-1].encode())})
            self._needles = len(self.ids), [(n, max(_WORD.findall(n), key=len, default=b"")) for n in written]
        together = b"\n".join(others)
        # The longest word of an id stands there as a word: looking words up costs the same for however many ids.
        words = set(_WORD.findall(together))
        near = [n for n, word in self._needles[1] if (word in words if word else n in together)]
        found = (raw for raw in others if any(n in raw for n in near)) if near else ()
        return sum(any(len(i) >= MIN_MENTION for text in _texts(raw) for i in self.mentioned(text)) for raw in found)

    def mentioned(self, text: str) -> Iterator[str]:
        """Ids met so far that stand in a text as whole tokens."""
        for user_id in self.ids:
            if user_id in text and re.search(rf"(?<!\w){re.escape(user_id)}(?!\w)", text, re.ASCII):
                yield user_id


def _texts(raw: bytes) -> Iterator[str]:
    """Bytes as text, and once more with JSON's escapes undone if there are any."""
    text = unicodedata.normalize("NFC", raw.decode("utf-8", "replace"))
    yield text
    if "\\" in text:
        plain = _ESCAPED.sub(lambda m: chr(int(m.group(1), 16)) if m.group(1) else m.group(2), text)
        yield unicodedata.normalize("NFC", plain.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"))


def erased(lake: Lake) -> Erased | None:
    """Whom the parser is to pass over; None when nobody ever asked."""
    found = requests(lake)
    return Erased(_salt(lake), found.values()) if found else None


def salted(lake: Lake, fresh: bytes) -> bytes:
    """The lake's salt; `fresh` becomes it when there is none."""
    if not lake.exists(_SALT) and not lake.exists(_REQUESTS):
        _closed(lake)
        lake.write_bytes(_SALT, fresh)
        if lake.local:
            os.chmod(lake.path(_SALT), 0o600)
    return _salt(lake)


def _salt(lake: Lake) -> bytes:
    found = lake.read_bytes(_SALT) if lake.exists(_SALT) else b""
    if len(found) != SALT_BYTES:
        raise LakeError(
            f"{lake.path(_SALT)} holds {len(found)} bytes instead of {SALT_BYTES}: restore it, or nobody who was erased is known"
        )
    return found


def requests(lake: Lake) -> dict[str, Request]:
    """All requests by id."""
    return {r["request_id"]: Request(**_tuples(r)) for r in _json(lake, _REQUESTS, [])}


def save(lake: Lake, found: Mapping[str, Request]) -> None:
    """Write all requests."""
    _closed(lake)
    lake.write_bytes(_REQUESTS, canonical_json([asdict(found[i]) for i in sorted(found)]).encode())


def opened(known: Request | None, subject_hash: str, now: dt.datetime) -> Request:
    """A person's request as not done: the one of before, or a new one."""
    return replace(known, completed_at=None) if known else Request(subject_hash[:16], subject_hash, now.isoformat())


def pending(lake: Lake) -> dict[str, Any]:
    """What an erasure that did not come to its end had noted before it changed anything; empty when none is."""
    found: dict[str, Any] = _json(lake, _PENDING, {})
    return found


def note_pending(lake: Lake, noted: Mapping[str, Any] | None) -> None:
    """Note it, or (None) that the erasure came to its end."""
    if noted is None:
        lake.remove(_PENDING)
    else:
        lake.write_bytes(_PENDING, canonical_json(noted).encode())


def _closed(lake: Lake) -> None:
    """The folder is the lake's owner's alone."""
    if lake.local:
        os.makedirs(lake.path(FOLDER), exist_ok=True)
        os.chmod(lake.path(FOLDER), 0o700)


def _json(lake: Lake, relative: str, default: Any) -> Any:
    try:
        return json.loads(lake.read_bytes(relative))
    except FileNotFoundError:
        return default
    except ValueError as error:
        raise LakeError(f"{lake.path(relative)} is not JSON ({error}): restore it, or who was erased is not known again") from error


def _tuples(row: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in row.items()}
