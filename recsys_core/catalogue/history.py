"""Deliveries folded into history: of each item or category its newest contents, and the partition since which they hold."""

from __future__ import annotations

import datetime as dt
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from recsys_core.catalogue.files import FileContents, Row, Said, decoded, encoded, read
from recsys_core.catalogue.rows import Kind
from recsys_core.lake import digest
from recsys_core.parse.drift import shown
from recsys_core.quality import FileLedger

if TYPE_CHECKING:
    from recsys_core.landing import Landing

# Histories kept in memory for the nights to come, in bytes: a night then reads only what is new in it.
REMEMBERED_BYTES = 512 << 20
# What a row costs beside its contents: key, date, tuples and places in dicts.
ROW_BYTES = 700
# Members of a cycle that the ledger names.
CYCLE_NAMES = 5


# key → (number of the file, row, what it says) of the rows that hold
_Winners: TypeAlias = dict[str, tuple[int, Row, Said]]


class Refused(NamedTuple):
    """A row for the quarantine."""

    file: str
    row: Row
    code: str
    field: str | None


@dataclass(frozen=True)
class History:
    """What is known after a partition; never changed once made.

    rows       key → (partition since which the contents hold, contents)
    first      key → partition that first delivered it
    parents    key → parent as delivered, known or not; never a cycle
    partition  the newest one, of which the rest tells; None when nothing was ever delivered
    files      its files
    winners    key → 2 · index into files + whether the row was repaired, for each row that was taken
    refused    its refused rows, of files that are used
    delivered  hashes of its files that hold anything and were used, or are copies of such
    known      mark of a row that was taken → what it says, so that a snapshot that comes every day is cleaned once
    """

    rows: dict[str, tuple[dt.date, bytes]] = field(default_factory=dict)
    first: dict[str, dt.date] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)
    partition: dt.date | None = None
    files: tuple[FileLedger, ...] = ()
    winners: dict[str, int] = field(default_factory=dict)
    refused: tuple[Refused, ...] = ()
    delivered: frozenset[str] = frozenset()
    known: dict[bytes, Said] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes in memory, about."""
        return sum(ROW_BYTES + len(c) for _, c in self.rows.values()) + sum(ROW_BYTES + len(r.row.raw) for r in self.refused)


class Remembered:
    """The histories used last, up to `limit` bytes, the newest in any case; for several threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lock = Lock()
        self._found: OrderedDict[str, tuple[int, History]] = OrderedDict()

    def get(self, key: str) -> History | None:
        """A history by the digest of all that went into it."""
        with self._lock:
            if key not in self._found:
                return None
            self._found.move_to_end(key)
            return self._found[key][1]

    def put(self, key: str, history: History) -> None:
        """Keep a history, and let go of the ones not used for longest."""
        size = history.size
        with self._lock:
            self._found[key] = (size, history)
            while len(self._found) > 1 and sum(held for held, _ in self._found.values()) > self.limit:
                self._found.popitem(last=False)


_REMEMBERED: dict[str, Remembered] = {}


def history_of(kind: Kind, landing: Landing, ds: dt.date, empty_allowed: bool) -> History:
    """The history of a kind after its newest partition up to ds; OSError when a file cannot be fetched, since all later nights need it."""
    partitions = [(d, landing.fingerprint(landing.files(d, kind.folder))) for d in landing.nights(kind.folder) if d <= ds]
    keys = [digest([kind.folder, empty_allowed])]
    for partition, files in partitions:
        keys.append(digest([keys[-1], partition.isoformat(), files]))
    remembered = _REMEMBERED.setdefault(kind.folder, Remembered(REMEMBERED_BYTES))
    history, start = History(), 0
    for n in range(len(partitions), 0, -1):
        if found := remembered.get(keys[n]):
            history, start = found, n
            break
    for n in range(start, len(partitions)):
        history = fold(kind, history, partitions[n][0], landing, partitions[n][1], empty_allowed)
    if start < len(partitions):
        remembered.put(keys[-1], history)
    return history


def fold(
    kind: Kind, before: History, partition: dt.date, landing: Landing, files: Iterable[tuple[str, str]], empty_allowed: bool
) -> History:
    """The history after one more partition; `files` are its (file, sha256) in order of delivery.

    Of several rows with one key the last one holds. A file that is byte for byte one of this or of the partition before is not used: it
    would undo what came after its first copy. An older snapshot may come again, to roll back. A file that closes a cycle of parents is
    refused whole.
    """
    ledgers: list[FileLedger] = []
    found_in: list[FileContents] = []
    used: set[str] = set(before.delivered)
    for file, sha256 in files:
        found = FileContents(reason="file_repeated")
        if sha256 not in used:
            with landing.fs.open(f"{landing.root}/{file}", "rb") as stream:
                found = read(kind, stream, file, empty_allowed, before.known)
        if found.rows and not found.reason:
            used.add(sha256)
        found_in.append(found)
        ledgers.append(FileLedger(kind.folder, partition, file, n_bytes=landing.size(file), sha256=sha256))
    winners, losers, parents = _merged_without_cycles(before, found_in)
    refused: list[Refused] = []
    for n, (ledger, found) in enumerate(zip(ledgers, found_in, strict=True)):
        refused += _accounted(ledger, found, losers.get(n, {}), kind.key)
    rows = dict(before.rows)
    for key, (_, _, said) in winners.items():
        last = rows.get(key)
        contents = encoded(decoded(last[1]) | {"deleted": True}, kind.key) if said.stub and last else said.contents
        if last is None or last[1] != contents:
            rows[key] = (partition, contents)
    taken = {key: 2 * n + bool(said.repairs) for key, (n, _, said) in winners.items()}
    known = {row.mark: said for _, row, said in winners.values() if row.mark}
    closing = {ledger.sha256 for ledger in ledgers if ledger.reason == "parent_cycle"}
    delivered = frozenset(f.sha256 for f in ledgers if f.reason == "file_repeated" or (f.objects_in and not f.reason)) - closing
    first = dict.fromkeys(rows, partition) | before.first
    return History(rows, first, parents, partition, tuple(ledgers), taken, tuple(refused), delivered, known)


def _merged_without_cycles(before: History, found_in: list[FileContents]) -> tuple[_Winners, dict[int, dict[int, str]], dict[str, str]]:
    """(rows that hold, file → offset → code of each other accepted row, parents after them); files that close a cycle are refused."""
    while True:
        winners, losers = _merged(found_in)
        parents = _parents(before, winners)
        changed = [k for k in winners if parents.get(k) != before.parents.get(k)]
        # There was no cycle before, so each has a new link; without its file an older link is back, and may close another cycle.
        cycles_found = cycles(parents, changed)
        for cycle in cycles_found:
            for n in {winners[k][0] for k in cycle if k in winners and parents[k] != before.parents.get(k)}:
                found_in[n].reason = "parent_cycle"
                found_in[n].fields[f"cycle:{_named(cycle)}"] += 1
        if not cycles_found:
            return winners, losers, parents


def _merged(found_in: list[FileContents]) -> tuple[_Winners, dict[int, dict[int, str]]]:
    winners: _Winners = {}
    losers: dict[int, dict[int, str]] = {}
    for n, found in enumerate(found_in):
        for row in found.rows if found.reason is None else ():
            if (said := row.said) is None:
                continue
            if earlier := winners.get(said.key):
                file, other, said_there = earlier
                losers.setdefault(file, {})[other.offset] = "dedup" if said_there.contents == said.contents else "dup_item"
            winners[said.key] = (n, row, said)
    return winners, losers


def _parents(before: History, winners: _Winners) -> dict[str, str]:
    parents = dict(before.parents)
    for key, (_, _, said) in winners.items():
        if said.stub and key in before.rows:
            continue
        if said.parent is None:
            parents.pop(key, None)
        else:
            parents[key] = said.parent
    return parents


def cycles(parents: Mapping[str, str], starts: Iterable[str]) -> list[list[str]]:
    """The cycles that one comes to by going up from `starts`, each from its least member on; every node is visited once.

    >>> cycles({"a": "b", "b": "c", "c": "b", "d": "e", "f": "f"}, ["a", "d", "f"])
    [['b', 'c'], ['f']]
    """
    found: list[list[str]] = []
    met_on: dict[str, int] = {}
    for walk, start in enumerate(starts):
        path: list[str] = []
        node: str | None = start
        while node is not None and node not in met_on:
            met_on[node] = walk
            path.append(node)
            node = parents.get(node)
        if node is not None and met_on[node] == walk:
            cycle = path[path.index(node) :]
            least = cycle.index(min(cycle))
            found.append(cycle[least:] + cycle[:least])
    return found


def _named(cycle: list[str]) -> str:
    return " > ".join((*map(shown, cycle[:CYCLE_NAMES]), *["…"] * (len(cycle) > CYCLE_NAMES)))


def _accounted(ledger: FileLedger, found: FileContents, losers: Mapping[int, str], key: str) -> list[Refused]:
    """Complete a file's ledger; its refused rows. Of a refused file no row is."""
    ledger.reason, ledger.lines, ledger.objects_in, ledger.fields = found.reason, found.lines, len(found.rows), found.fields
    if found.reason:
        return []
    refused: list[Refused] = []
    ledger.by_reason = Counter(found.beside)
    for row in found.rows:
        lost = None if row.code else losers.get(row.offset)
        code, at = (lost, key) if lost == "dup_item" else (row.code, row.field)
        if code:
            refused.append(Refused(ledger.file, row, code, at))
            ledger.quarantined += 1
            ledger.by_reason[code] += 1
        else:
            repairs = (*(row.said.repairs if row.said else ()), *(["dedup"] if lost else []))
            ledger.by_reason.update(repairs)
            ledger.repaired += bool(repairs)
            ledger.good += not repairs
    return refused
