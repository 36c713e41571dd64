"""What a site lets its lists hold: rules from a TOML file, which items may be listed on a night, and to whom they may not be shown."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from recsys_core import toml_file
from recsys_core.recommenders.base import Interactions, Ints
from recsys_core.recommenders.history import codes
from recsys_core.texts import folded

NEVER = 2**31  # nights: longer than any history
EVERY = "*"  # the category of the items that no other rule is for
MAX_NIGHTS, MAX_SIZE = 3_660, 1_000
REPEAT = {"always": 0, "never": NEVER}
TTL = {"none": NEVER}
_REMEDY = 'write diversity = 0.2 or exploration_slots = 1, and [category."Groceries"] with repeat = 14 below it'


class ListRulesError(ValueError):
    """Rules that cannot be used: every fault of the file on a line of its own, with its place and its remedy."""


@dataclass(frozen=True)
class ListRules:
    """The site's rules of lists; what a file leaves out is as here.

    list_size          slots of for_you; None = as the job is told
    because_you_liked, new_for_you, trending   slots of the other lists of each user, 0 = not made
    new_nights         an item is new until so many nights after it was first known
    diversity, calibration   weights of the two in the order of a list (`rerank`), together at most 1
    exploration_slots  of for_you, given to what a user may take up next
    category           category, folded, or EVERY → 'repeat' and 'ttl_nights', each a number of nights; children inherit each on its own
    """

    list_size: int | None = None
    because_you_liked: int = 10
    new_for_you: int = 10
    trending: int = 10
    new_nights: int = 14
    diversity: float = 0.05
    calibration: float = 0.05
    exploration_slots: int = 1
    category: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def cool_down(self, catalogue: pa.Table, tree: pa.Table, items: pa.Array) -> Ints:
        """Nights, by item code, until an item may come back to who met it: 0 = at once, NEVER = not at all."""
        return self._by_item("repeat", catalogue, tree, items)

    def eligible(self, catalogue: pa.Table, tree: pa.Table, items: pa.Array, ds: dt.date) -> NDArray[np.bool_]:
        """Which items, by code, lists of the night `ds` may hold at all.

        catalogue  item_id, category, deleted, stock, available_from_ds, available_to_ds, first_ds as of ds; what is not in it is not listed
        tree       category, parent as of ds (may be empty)

        Out is what is deleted or sold out, what may not be had on the day after the night, on which its lists are read, and what was
        first known as many nights ago as its category's `ttl_nights` or more.
        """
        read, at = pa.scalar(ds + dt.timedelta(days=1), pa.date32()), codes(catalogue["item_id"], items)
        age = np.datetime64(ds, "D") - catalogue["first_ds"].to_numpy().astype("datetime64[D]")
        good = (at >= 0) & (age.astype(np.int64) < self._by_item("ttl_nights", catalogue, tree, items)[at])
        for holds in (
            pc.invert(catalogue["deleted"]),
            pc.not_equal(catalogue["stock"], 0),
            pc.less_equal(catalogue["available_from_ds"], read),
            pc.greater_equal(catalogue["available_to_ds"], read),
        ):
            good &= np.asarray(pc.fill_null(holds, True))
        found = np.zeros(len(items), bool)
        found[at[good]] = True
        return found

    def _by_item(self, key: str, catalogue: pa.Table, tree: pa.Table, items: pa.Array) -> Ints:
        found = np.full(len(items), self.category.get(EVERY, {}).get(key, NEVER))
        if not any(key in rule for name, rule in self.category.items() if name != EVERY):
            return found
        above = {folded(c): folded(p or "") for c, p in zip(tree["category"].to_pylist(), tree["parent"].to_pylist(), strict=True)}
        names = catalogue["category"].combine_chunks().dictionary_encode()
        nights = [self._of(key, folded(name), above) for name in names.dictionary.to_pylist()]
        at, named = codes(catalogue["item_id"], items), np.asarray(names.indices.is_valid())
        known = (at >= 0) & named
        found[at[known]] = np.array(nights, np.int64)[np.asarray(names.indices.drop_null())[at[named] >= 0]]
        return found

    def _of(self, key: str, category: str, above: Mapping[str, str]) -> int:
        """Nights of the category, else of the nearest one above it that names them, else of EVERY; folded, a tree may have rings."""
        met: set[str] = set()
        while category and category not in met:
            if key in self.category.get(category, {}):
                return self.category[category][key]
            met.add(category)
            category = above.get(category, "")
        return self.category.get(EVERY, {}).get(key, NEVER)


def consumed(history: Interactions, cool_down: Ints) -> sparse.csr_matrix:
    """(n_users, n_items), non-zero where a user met an item that may not come back to them yet.

    The one answer to what has been consumed: lists leave it out, the nightly check looks for it, and the evaluation holds it for
    irrelevant. An item comes back `cool_down` nights after it was last met, but not to a user whose events with it speak against it on
    balance. `history` is all there is up to the night, ages and all.

    A user met item 0 tonight and three nights ago, items 1 and 2 three nights ago, and did not like item 2; nights 4, 3 and 0 to wait:

    >>> met = Interactions.of(*np.array([[0, 0, 0, 0], [0, 0, 1, 2]]), np.array([1.0, 1, 1, -1]), *np.array([[3, 0, 3, 3]] * 2), 1, 3)
    >>> consumed(met, np.array([4, 3, 0])).toarray().tolist()
    [[1, 0, 1]]
    """
    shape = (history.n_users, history.n_items)
    total = sparse.csr_matrix((history.weight, (history.user, history.item)), shape=shape)
    total.sum_duplicates()
    found = history.take(history.age < cool_down[history.item]).seen() + (total < 0).astype(np.int8)
    found.data[:] = 1
    return found.tocsr()


def of_topics(topics: pa.Table, items: pa.Array, named: Collection[int]) -> Ints:
    """Codes of the items whose strongest topic is one of `named`; `topics` has item_id, topic_id and, where it holds others too, rank."""
    mask = pc.is_in(topics["topic_id"], pa.array(sorted(named), pa.int64()))
    if "rank" in topics.column_names:
        mask = pc.and_(mask, pc.equal(topics["rank"], 1))
    found: Ints = np.setdiff1d(codes(topics["item_id"].filter(mask), items), [-1])
    return found


def muted(pairs: Collection[tuple[str, int]], users: pa.Array, items: pa.Array, first_topics: pa.Table) -> sparse.csr_matrix:
    """(len(users), len(items)), non-zero where a user has muted an item's strongest topic.

    `pairs` are (user_key, topic_id), `first_topics` has item_id and topic_id.
    """
    said = pa.table({"user_key": pa.array([u for u, _ in pairs], pa.string()), "topic_id": pa.array([t for _, t in pairs], pa.int64())})
    held = said.join(first_topics.select(["item_id", "topic_id"]), "topic_id", join_type="inner")
    user, item = codes(held["user_key"], users), codes(held["item_id"], items)
    known = (user >= 0) & (item >= 0)
    return sparse.csr_matrix((np.ones(known.sum(), np.int8), (user[known], item[known])), shape=(len(users), len(items)))


def in_region(catalogue: pa.Table, items: pa.Array, regions: list[str]) -> NDArray[np.bool_]:
    """Whether each item may be shown to users of each region, shape (len(regions) + 1, n_items); letter case is none.

    An item without regions may be shown to anybody. The last row, that of index −1, is for users of no known region: they are shown what
    may be shown in every region that users are known to be of.
    """
    at = codes(catalogue["item_id"], items)
    place: dict[str, list[int]] = {}
    for number, name in enumerate(regions):
        place.setdefault(folded(name), []).append(number)
    found = np.ones((len(regions) + 1, len(items)), bool)
    for code, allowed in zip(at.tolist(), catalogue["regions"].to_pylist(), strict=True):
        if allowed is not None and code >= 0:
            found[:, code] = False
            found[[number for name in allowed for number in place.get(folded(name), ())], code] = True
    found[-1] = found[:-1].all(axis=0)
    return found


def list_rules(text: str, name: str) -> ListRules:
    """The rules of the TOML file `name`; ListRulesError names all its faults.

    >>> list_rules('trending = 0\\n[category."Groceries"]\\nrepeat = 14\\n', "site.toml").category["groceries"]["repeat"]
    14
    """
    given = toml_file.checked(text, name, _REMEDY, _faults, ListRulesError)
    words = REPEAT | TTL
    category = {
        folded(each): {key: words[value] if isinstance(value, str) else int(value) for key, value in rule.items()}
        for each, rule in given.pop("category", {}).items()
    }
    return ListRules(**given, category=category)


# -- faults ------------------------------------------------------------------------------------------------------------------------
_SIZE = (toml_file.whole(0, MAX_SIZE), f"a whole number from 0 (no such list) to {MAX_SIZE}")
_SHARE = (lambda v: type(v) in (int, float) and 0 <= v <= 1, "a number from 0 to 1, like 0.2")
# Key → (what a value has to be, what to give).
_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "list_size": (toml_file.whole(1, MAX_SIZE), f"a whole number from 1 to {MAX_SIZE}"),
    "because_you_liked": _SIZE,
    "new_for_you": _SIZE,
    "trending": _SIZE,
    "new_nights": (toml_file.whole(1, MAX_NIGHTS), f"nights, a whole number from 1 to {MAX_NIGHTS}"),
    "diversity": _SHARE,
    "calibration": _SHARE,
    "exploration_slots": (toml_file.whole(0, MAX_SIZE), "a whole number from 0 to list_size"),
    "repeat": (
        lambda v: toml_file.whole(1, MAX_NIGHTS)(v) or (isinstance(v, str) and v in REPEAT),
        f'"never", "always", or nights after which an item may come back, a whole number from 1 to {MAX_NIGHTS}',
    ),
    "ttl_nights": (
        lambda v: toml_file.whole(1, MAX_NIGHTS)(v) or (isinstance(v, str) and v in TTL),
        f'nights, a whole number from 1 to {MAX_NIGHTS}, or "none"',
    ),
}
_OF_CATEGORY = ("repeat", "ttl_nights")
_OF_LISTS = tuple(key for key in _VALUES if key not in _OF_CATEGORY)


def _faults(given: dict[str, Any]) -> Iterator[toml_file.Fault]:
    for key, value in given.items():
        if key == "category":
            yield from _category_faults(value)
        elif key in _OF_CATEGORY:
            yield (key,), f'{key} belongs to a category: write [category."{EVERY}"] for all of them, and below it {key} = …'
        else:
            yield from _value_faults((key,), value, (*_OF_LISTS, "category"))
    size, slots = given.get("list_size"), given.get("exploration_slots")
    if type(size) is int and type(slots) is int and slots > size:
        yield ("exploration_slots",), f"exploration_slots is {slots}, but a list has {size} slots; give at most so many"
    shares = [given.get(key, 0) for key in ("diversity", "calibration")]
    if all(_SHARE[0](v) for v in shares) and sum(shares) > 1:
        yield ("calibration",), "diversity and calibration are more than 1 together, so that nothing is left for scores; lower one"


def _category_faults(given: Any) -> Iterator[toml_file.Fault]:
    if not isinstance(given, dict):
        yield ("category",), f"category is no table; {_REMEDY}"
        return
    met: dict[str, str] = {}
    for name, rule in given.items():
        path = ("category", name)
        if not isinstance(rule, dict) or not rule:
            yield path, f"[category.{json.dumps(name, ensure_ascii=False)}] says nothing; give {' or '.join(_OF_CATEGORY)}"
            continue
        if (first := met.setdefault(folded(name), name)) != name:
            yield path, f"category {name!r} was there before, as {first!r} (letter case is none); make it one"
        for key, value in rule.items():
            yield from _value_faults((*path, key), value, _OF_CATEGORY)


def _value_faults(path: tuple[str, ...], value: Any, known: tuple[str, ...]) -> Iterator[toml_file.Fault]:
    key, where = path[-1], f"[category.{json.dumps(path[1], ensure_ascii=False)}] " if len(path) > 1 else ""
    if key not in known:
        yield path, f"{where}there is no key {key!r}; {toml_file.nearest(key, known)}"
        return
    right, wanted = _VALUES[key]
    if not right(value):
        yield path, f"{where}{key} is {json.dumps(value, default=str, ensure_ascii=False)[:60]}; give {wanted}"
