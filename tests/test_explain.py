"""Reasons in words: every source has one that it can prove, and slots without evidence claim less."""

from __future__ import annotations

import datetime as dt
import string

import numpy as np
import pytest

from recsys_core.expansion import METHODS
from recsys_core.explain import CODES, REASON_OF_SOURCE, TEMPLATES, Proposal, Reasons, last_met, reason_text, reason_texts
from recsys_core.recommenders import RECOMMENDERS, Interactions

D = dt.date(2026, 3, 10)
NIGHT = (D - dt.date(1970, 1, 1)).days


def said(reasons: Reasons, titles: list[str] = ["Ant", "Bee {x}"], proposals: list[Proposal] = []) -> list[tuple[str, str]]:  # noqa: B006
    english, chinese = reason_texts(reasons.code, reasons.about, titles, 14, reasons.before, proposals, 28)
    return list(zip(english.to_pylist(), chinese.to_pylist(), strict=True))


def test_every_source_has_a_reason_and_every_reason_both_languages() -> None:
    assert set(RECOMMENDERS) <= set(REASON_OF_SOURCE)
    assert set(REASON_OF_SOURCE.values()) <= set(CODES)
    takes = {"item": {"title"}, "night": {"date"}, "counts": {"now", "before", "compared"}, "proposal": {"topic", "why"}, "": {"nights"}}
    for code, template in TEMPLATES.items():
        english, chinese = ({n for _, n, _, _ in string.Formatter().parse(t) if n} for t in (template.english, template.chinese))
        assert english == chinese, code
        assert english <= takes[template.about], code
        assert not template.about or english == takes[template.about], code


def test_a_source_without_evidence_claims_less() -> None:
    sources = ["transitions", "popularity", "sasrec", "declared"]
    source, evidence = np.array([0, 0, 0, 1, 1, 2, 3]), np.array([1, -1, -1, -1, -1, -1, -1])
    lately = np.array([False, True, False, True, False, False, False])
    found = Reasons.of_sources(sources, source, evidence, lately)
    codes = ["followed", "popular", "catalogue", "popular", "catalogue", "catalogue", "declared"]
    assert [CODES[c] for c in found.code] == codes
    assert found.about.tolist() == [1, -1, -1, -1, -1, -1, -1]
    assert said(found)[0] == ("Because of “Bee {x}”: others went on from it to this", "因为“Bee {x}”：其他人在它之后选择了这个")
    assert said(found)[1:3] == [("Popular in the last 14 nights", "近14天的热门"), ("More from the catalogue", "更多商品")]


def test_what_returns_says_when_it_was_met_last() -> None:
    user, item, age, time = np.array([[0, 0, 1], [0, 0, 1], [9, 2, 0], [1, 2, 3]])
    history = Interactions.of(user, item, np.array([1.0, 0.0, 1.0]), age, time, 3, 4)
    user, item = np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0])
    assert last_met(user, item, history).tolist() == [2, -1, 0, -1]
    assert last_met(user, item, history.take(np.zeros(3, bool))).tolist() == [-1] * 4
    assert last_met(user[:0], item[:0], history).tolist() == []
    found = Reasons.of("because_you_liked", np.zeros(4, np.int64)).but_repeats(user, item, history, D)
    assert [CODES[c] for c in found.code] == ["repeat", "because_you_liked", "repeat", "because_you_liked"]
    assert [t[0] for t in said(found)] == [
        "Back again: you last came across it on 2026-03-08",
        "Because you liked “Ant”",
        "Back again: you last came across it on 2026-03-10",
        "Because you liked “Ant”",
    ]


def test_words_with_nights_counts_and_proposals() -> None:
    assert said(Reasons.of("new", np.array([NIGHT - 1, NIGHT]))) == [
        ("New since 2026-03-09", "2026-03-09上新"),
        ("New since 2026-03-10", "2026-03-10上新"),
    ]
    assert said(Reasons.of("trending", np.array([12, 12, 3]), np.array([4, 0, 4]))) == [
        ("Rising: chosen 12 times this week, 4 times in the 28 nights before", "热度上升：本周被选择12次，此前28天4次"),
        ("Rising: chosen 12 times this week, 0 times in the 28 nights before", "热度上升：本周被选择12次，此前28天0次"),
        ("Rising: chosen 3 times this week, 4 times in the 28 nights before", "热度上升：本周被选择3次，此前28天4次"),
    ]
    tents, stoves = ("tents", "帐篷"), ("stoves", "炉子")
    proposals = [Proposal(stoves, tents, method) for method in METHODS]
    found = Reasons.of_sources(["popularity"], np.zeros(6, int), np.full(6, -1), np.ones(6, bool))
    found = found.but(np.arange(6) < len(METHODS), "explore", np.arange(len(METHODS)))
    texts = said(found, proposals=proposals)
    assert texts[0] == ("New to you: stoves – close to tents", "新主题“炉子”：与“帐篷”相近")
    assert texts[-1][0] == "Popular in the last 14 nights"
    for (english, chinese), method in zip(texts, METHODS, strict=False):
        told = METHODS[method].reason(tents).split(" · ")
        assert (english, chinese) == (f"New to you: stoves – {told[0]}", f"新主题“炉子”：{told[1]}")


@pytest.mark.parametrize("n", [0, 1, 5000])
def test_many_slots_are_said_as_single_ones(n: int) -> None:
    rng = np.random.default_rng(n)
    titles = [f"t{i}" for i in range(40)]
    item = np.array([CODES.index(c) for c, t in TEMPLATES.items() if t.about == "item"])
    code, about = rng.choice(item, n).astype(np.int64), rng.integers(0, 40, n)
    wanted = [reason_text(CODES[c], titles[a]) for c, a in zip(code, about, strict=True)]
    assert said(Reasons(code, about, np.zeros(n, np.int64)), titles) == wanted
