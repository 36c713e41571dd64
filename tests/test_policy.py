"""Rules of lists: every fault of the file at once, what may be listed on a night, and to whom an item may not be shown."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from jobs.settings import SettingError, Settings, load_settings
from recsys_core.lake import digest
from recsys_core.ranking.policy import NEVER, ListRules, ListRulesError, consumed, in_region, list_rules
from recsys_core.recommenders.base import Interactions
from recsys_core.tables import TABLES

DS, DAY = dt.date(2026, 3, 10), dt.timedelta(days=1)
FILE = """
list_size = 12
diversity = 0.2
calibration = 0
exploration_slots = 2
trending = 0

[category."*"]
ttl_nights = 90

[category.Groceries]
repeat = 14

[category."鲜奶"]
repeat = "always"
ttl_nights = 3

[category."Best Wines"]
repeat = "never"
ttl_nights = "none"
"""


def catalogue(*rows: dict[str, Any]) -> pa.Table:
    """Rows of the table item; each names what differs from one that is on sale everywhere and was first known on DS."""
    plain = {"ds": DS, "title": "x", "lang": "en", "valid_from_ds": DS, "deleted": False, "first_ds": DS}
    return pa.Table.from_pylist([plain | row for row in rows], schema=TABLES["item"].arrow_schema())


def tree(**parents: str | None) -> pa.Table:
    """Rows of the table category."""
    rows = [{"ds": DS, "category": c, "parent": p, "valid_from_ds": DS} for c, p in parents.items()]
    return pa.Table.from_pylist(rows, schema=TABLES["category"].arrow_schema())


def listed(rules: ListRules, *rows: dict[str, Any], ds: dt.date = DS, above: pa.Table | None = None) -> list[str]:
    """Ids that may be listed."""
    items = pa.array(sorted(["unknown", *(r["item_id"] for r in rows)]))
    found = rules.eligible(catalogue(*rows), above or tree(), items, ds)
    return items.filter(pa.array(found)).to_pylist()


def test_a_file_says_what_differs_from_the_usual() -> None:
    assert list_rules("", "empty.toml") == ListRules()
    rules = list_rules(FILE, "site.toml")
    assert (rules.list_size, rules.diversity, rules.calibration, rules.exploration_slots, rules.trending) == (12, 0.2, 0, 2, 0)
    assert (rules.because_you_liked, rules.new_nights) == (ListRules().because_you_liked, ListRules().new_nights)
    assert rules.category == {
        "*": {"ttl_nights": 90},
        "groceries": {"repeat": 14},
        "鲜奶": {"repeat": 0, "ttl_nights": 3},
        "best wines": {"repeat": NEVER, "ttl_nights": NEVER},
    }
    assert digest(asdict(rules)) != digest(asdict(ListRules())), "what a run is stamped with"


def test_all_faults_are_told_with_their_lines() -> None:
    text = """list_size = 5
exploration_slots = 6
diversty = 0.2
trending = -1
new_nights = true
repeat = 3
diversity = 0.7
calibration = 0.4
[category.Tea]
repeat = "sometimes"
ttl_night = 4
[category.tea]
ttl_nights = 0
[category.Empty]
[category."Best Wines"]
repeat = false
"""
    keys = list(ListRules.__dataclass_fields__)
    back = 'give "never", "always", or nights after which an item may come back, a whole number from 1 to 3660'
    with pytest.raises(ListRulesError) as error:
        list_rules(text, "site.toml")
    assert [re.sub(r"^site.toml, line ", "", line) for line in str(error.value).split("\n")] == [
        "2: exploration_slots is 6, but a list has 5 slots; give at most so many",
        f"3: there is no key 'diversty'; did you mean diversity? there are {', '.join(keys)}",
        "4: trending is -1; give a whole number from 0 (no such list) to 1000",
        "5: new_nights is true; give nights, a whole number from 1 to 3660",
        '6: repeat belongs to a category: write [category."*"] for all of them, and below it repeat = …',
        "8: diversity and calibration are more than 1 together, so that nothing is left for scores; lower one",
        f'10: [category."Tea"] repeat is "sometimes"; {back}',
        "11: [category.\"Tea\"] there is no key 'ttl_night'; did you mean ttl_nights? there are repeat, ttl_nights",
        "12: category 'tea' was there before, as 'Tea' (letter case is none); make it one",
        '13: [category."tea"] ttl_nights is 0; give nights, a whole number from 1 to 3660, or "none"',
        '14: [category."Empty"] says nothing; give repeat or ttl_nights',
        f'16: [category."Best Wines"] repeat is false; {back}',
    ]
    for wrong, told in (("category = 3", "category is no table"), ("list_size = ", "line 1: not TOML")):
        with pytest.raises(ListRulesError, match=told):
            list_rules(wrong, "site.toml")


def test_a_wrong_file_is_told_before_any_job_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lists.toml"
    path.write_text("trending = 1.5\n", encoding="utf-8")
    (tmp_path / "settings.env").write_text(f"LISTS_FILE={path}\n", encoding="utf-8")
    monkeypatch.setenv("SETTINGS_FILE", str(tmp_path / "settings.env"))
    with pytest.raises(SettingError, match=r"^LISTS_FILE: .*lists.toml, line 1: trending is 1.5; give a whole number"):
        load_settings()
    path.write_text(FILE, encoding="utf-8")
    assert load_settings().list_rules.list_size == 12
    with pytest.raises(SettingError, match=r"LISTS_FILE names .*, which is not there"):
        _ = Settings(lists_file=f"{path}x").list_rules
    assert Settings().list_rules == ListRules()


def test_what_cannot_be_had_when_the_list_is_read_is_not_listed() -> None:
    rows: list[dict[str, Any]] = [
        {"item_id": "plain"},
        {"item_id": "deleted", "deleted": True},
        {"item_id": "sold out", "stock": 0},
        {"item_id": "one left", "stock": 1},
        {"item_id": "until tonight", "available_to_ds": DS},
        {"item_id": "until tomorrow", "available_to_ds": DS + DAY},
        {"item_id": "from tomorrow", "available_from_ds": DS + DAY},
        {"item_id": "from later", "available_from_ds": DS + 2 * DAY},
        {"item_id": "tomorrow alone", "available_from_ds": DS + DAY, "available_to_ds": DS + DAY},
    ]
    assert listed(ListRules(), *rows) == ["from tomorrow", "one left", "plain", "tomorrow alone", "until tomorrow"]


def test_an_item_is_not_shown_forever_where_its_category_says_so() -> None:
    rules = list_rules('[category."*"]\nttl_nights = 3\n[category.News]\nttl_nights = 1\n[category.Books]\nttl_nights = "none"', "x.toml")
    rows = [
        {"item_id": f"{category or 'none'} {age}", "category": category, "first_ds": DS - age * DAY}
        for category in (None, "News", "books", "Novels")
        for age in (0, 1, 2, 3, 400)
    ]
    above = tree(Books=None, Novels="Books", News=None)
    assert listed(rules, *rows, above=above) == sorted(
        [*(f"none {age}" for age in (0, 1, 2)), "News 0", *(f"{c} {age}" for c in ("books", "Novels") for age in (0, 1, 2, 3, 400))]
    )
    assert len(listed(ListRules(), *rows, above=above)) == len(rows)


def test_categories_inherit_each_rule_on_its_own() -> None:
    text = "[category.Food]\nrepeat = 14\nttl_nights = 30\n[category.Milk]\nrepeat = 3\n[category.Cheese]\nttl_nights = 9\n"
    above = tree(Food=None, Dairy="Food", Milk="Dairy", Cheese="DAIRY", Toys="TOYS", TOYS=None)
    items = pa.array(["cheese", "dairy", "gone", "milk", "nothing", "toy"])
    rows = catalogue(
        *(
            {"item_id": i, "category": c}
            for i, c in zip(items.to_pylist(), ("Cheese", "Dairy", None, "milk", None, "Toys"), strict=True)
            if i != "gone"
        )
    )
    assert list_rules(text, "x").cool_down(rows, above, items).tolist() == [14, 14, NEVER, 3, NEVER, NEVER]
    assert list_rules(text + '[category."*"]\nrepeat = 60', "x").cool_down(rows, above, items).tolist() == [14, 14, 60, 3, 60, 60]
    old = [r | {"first_ds": DS - 10 * DAY, "deleted": False} for r in rows.select(["item_id", "category"]).to_pylist()]
    assert listed(list_rules(text, "x"), *old, above=above) == ["dairy", "milk", "nothing", "toy"]


def met(*rows: tuple[int, int, float, int], n_users: int = 2, n_items: int = 3) -> Interactions:
    """Interactions from (user, item, weight, age)."""
    user, item, weight, age = (np.array(c) for c in zip(*rows, strict=True))
    return Interactions.of(user, item, weight.astype(float), age, -age, n_users, n_items)


@pytest.mark.parametrize(("age", "back"), [(0, False), (13, False), (14, True), (400, True)])
def test_an_item_comes_back_to_the_night(age: int, back: bool) -> None:
    history = met((0, 0, 1, age), (0, 0, 1, 500), (0, 1, 1, age), (0, 2, 1, age), (1, 0, 1, 0))
    found = consumed(history, np.array([14, NEVER, 0])).toarray().astype(bool)
    assert found[0].tolist() == [not back, True, False], "after 14 nights, never, at once"
    assert found[1].tolist() == [True, False, False], "of what another user did nothing follows"


def test_the_whole_history_counts_and_what_was_objected_to_stays_away() -> None:
    never = np.full(3, NEVER)
    assert consumed(met((0, 2, 1, 3_000)), never).toarray().tolist() == [[0, 0, 1], [0, 0, 0]]
    always = np.zeros(3, np.int64)
    history = met((0, 0, 2, 9), (0, 0, -3, 5), (0, 1, 2, 9), (0, 1, -1, 5), (1, 0, 3, 2), (0, 2, 0, 4))
    assert consumed(history, always).toarray().tolist() == [[1, 0, 0], [0, 0, 0]]
    assert set(consumed(history, never).data.tolist()) == {1}


def test_regions_hold_for_whom_one_knows_and_the_rest_sees_what_all_may_see() -> None:
    rows = catalogue(
        {"item_id": "a"},
        {"item_id": "b", "regions": ["de", "AT"]},
        {"item_id": "c", "regions": ["US", "AT", "DE", "JP"]},
        {"item_id": "d", "regions": ["JP"]},
    )
    items = pa.array(["a", "b", "c", "d", "e"])
    found = in_region(rows, items, ["AT", "DE", "US"])
    assert found.astype(int).tolist() == [[1, 1, 1, 0, 1], [1, 1, 1, 0, 1], [1, 0, 1, 0, 1], [1, 0, 1, 0, 1]]
    assert found[np.array([1, -1])].shape == (2, 5), "a user without a region, −1, has the last row"
    assert in_region(rows, items, []).all(), "where no region is known nothing can be kept from anybody"
