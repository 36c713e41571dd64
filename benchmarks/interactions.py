"""Files of interactions as public data sets have them: sequences a line, or tab-separated ratings with times."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_core.recommenders import Interactions
from recsys_core.recommenders.base import Floats, Ints

COLUMNS = ("user", "item", "rating", "timestamp")
_FAULTS_TOLD = 5
_DAY = 86_400
_INT64 = 2**63


class BadFile(ValueError):
    """A file that cannot be read; says each place, FILE:LINE, and what to do."""


@dataclass(frozen=True)
class Log:
    """What a file says, rows in its order.

    user, item     codes by the order of ids, as numbers where all are integers, else as text
    weight         > 0, mean 1: 1, or the rating as its distance from the least one, plus one, over the mean of that
    day, time      day number (0 without times), and what orders a user's rows: microseconds, or places in a line
    users, items   the ids by code: int64, or text
    """

    user: Ints
    item: Ints
    weight: Floats
    day: Ints
    time: Ints
    users: pa.Array
    items: pa.Array

    def history(self, rows: NDArray[np.bool_] | None = None) -> Interactions:
        """Interactions of the rows of a mask, or of all, as of the newest day among them."""
        kept = np.ones(len(self.user), bool) if rows is None else rows
        age = self.day[kept].max(initial=0) - self.day[kept]
        sizes = len(self.users), len(self.items)
        return Interactions.of(self.user[kept], self.item[kept], self.weight[kept], age, self.time[kept], *sizes)


def read_sequences(path: Path) -> Log:
    """`user item item …` a line in time order, apart by blanks; blank lines are skipped, a user alone has no history.

    BadFile for a user on two lines, a file without items, and bytes that are not UTF-8.
    """
    users: dict[str, int] = {}
    lengths: list[int] = []
    items: list[str] = []
    faults: list[str] = []
    for number, line in _lines(path):
        user, *own = line.split()
        if user in users:
            faults.append(
                f"{path}:{number}: user {user} stands on line {users[user]}, too: put all items of a user on one line, in time order"
            )
            continue
        users[user] = number
        lengths.append(len(own))
        items += own
    _raise(faults)
    if not items:
        raise BadFile(f"{path}: no {'items' if users else 'users'}: each line must be `user item item …`, in time order")
    row = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(items)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    (user_ids, user_code), (item_ids, item_code) = _coded(list(users)), _coded(items)
    n = len(items)
    return Log(user_code[row], item_code, np.ones(n), np.zeros(n, np.int64), place, user_ids, item_ids)


def read_interactions(path: Path) -> Log:
    """Tab-separated user, item, rating, timestamp; a first line that names columns (`user_id:token` is `user`) may order them otherwise.

    Every row counts as an interaction that speaks for the item, whatever its rating. Timestamps are seconds since 1970, or milliseconds
    where all are over 10¹¹. BadFile names the lines that have other than four fields, an empty id, or no number where one must be.
    """
    rows: list[tuple[str, str, float, float]] = []
    faults: list[str] = []
    at: Sequence[int] | None = None
    width = len(COLUMNS)
    for number, line in _lines(path):
        fields = line.rstrip("\r\n").split("\t")
        if at is None:
            at = _header(fields)
            if at is not None:
                width = len(fields)
                continue
            at = range(width)
        if len(fields) != width:
            faults.append(f"{path}:{number}: {len(fields)} fields apart by tabs, {width} expected ({', '.join(COLUMNS)})")
            continue
        who, what, rating, timestamp = (fields[place].strip() for place in at)
        stars, moment = _number(rating), _number(timestamp)
        if not who or not what:
            faults.append(f"{path}:{number}: empty {'item' if who else 'user'}: give it an id or remove the line")
        elif stars is None or moment is None:
            name, value = ("rating", rating) if stars is None else ("timestamp", timestamp)
            faults.append(f"{path}:{number}: {name} {value!r} is no number: correct or remove the line")
        else:
            rows.append((who, what, stars, moment))
    _raise(faults)
    if not rows:
        raise BadFile(f"{path}: no interactions: each line must be user, item, rating and timestamp, apart by tabs")
    of_user, of_item, ratings, times = zip(*rows, strict=True)
    (users, user), (items, item) = _coded(of_user), _coded(of_item)
    weight = np.array(ratings) - min(ratings) + 1
    time = np.array(times) / (1000 if min(times) > 1e11 else 1)
    microseconds = np.round(time * 1e6).astype(np.int64)
    return Log(user, item, weight / weight.mean(), np.floor(time / _DAY).astype(np.int64), microseconds, users, items)


def read_ids(path: Path) -> list[str]:
    """One id a line, in order, each once."""
    return list(dict.fromkeys(line.strip() for _, line in _lines(path)))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise BadFile(f"{path}:{number}: not UTF-8 ({error.reason}): convert the file") from error
            if line.strip():
                yield number, line


def _header(fields: Sequence[str]) -> list[int] | None:
    """Places of COLUMNS when the fields name them, else None."""
    names = [field.strip().split(":")[0].lower().removesuffix("_id") for field in fields]
    return [names.index(column) for column in COLUMNS] if set(COLUMNS) <= set(names) else None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def as_ids(ids: Sequence[str]) -> pa.Array:
    """The ids in their order: int64 where all are integers, else text."""
    integers = _integers(ids)
    return pa.array(ids, pa.string()) if integers is None else pa.array(integers, pa.int64())


def _coded(ids: Sequence[str]) -> tuple[pa.Array, Ints]:
    """Distinct ids in order, and the code of each."""
    given = as_ids(ids)
    # Texts as Python objects would be slow to sort, as fixed-width arrays large where one id is long: Arrow's dictionary is neither.
    coded = given.dictionary_encode()
    order = pc.sort_indices(coded.dictionary)
    rank = np.empty(len(order), np.int64)
    rank[order.to_numpy()] = np.arange(len(order))
    return coded.dictionary.take(order), rank[coded.indices.to_numpy()]


def _integers(ids: Sequence[str]) -> list[int] | None:
    """The ids as integers when each is written as one and would come out as it came in (007 would not)."""
    try:
        found = [int(i) for i in ids]
    except ValueError:
        return None
    return found if all(str(n) == i and -_INT64 <= n < _INT64 for n, i in zip(found, ids, strict=True)) else None


def _raise(faults: Sequence[str]) -> None:
    if faults:
        more = f"\nand {len(faults) - _FAULTS_TOLD:,} lines more" if len(faults) > _FAULTS_TOLD else ""
        raise BadFile("\n".join(faults[:_FAULTS_TOLD]) + more)
