"""A user in one row: stage of life, how much is known, how wide and how moving the interests are, and all of it in words."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.generate import Prompt, Templates, TextGenerator, answers
from recsys_core.lake import Lake
from recsys_core.profiles.clock import WINDOW, codes, distinct, nights_back

# From so many events on a user is served by everything there is.
FULL_EVENTS = 10
_NEVER = np.iinfo(np.int32).max
Labels = Mapping[int, tuple[str, str]]
Interests = Mapping[str, Mapping[int, float]]

_ASKED = {
    "en": "Say in one English sentence of at most 25 words what a visitor of a catalogue is interested in. Use nothing but what is given, "
    "and no numbers. Answer with the sentence alone.\nInterests: {topics}\nActivity: {activity}\nSentence:",
    "zh": "用一句不超过四十个汉字的中文说明一位访客的兴趣。只用给出的内容，不写数字。只回答这句话。\n"
    "兴趣：{topics}\n活跃程度：{activity}\n句子：",
}
_MAX_CHARS = {"en": 240, "zh": 80}
# Shares and activity as words, from a number on: prompts must not tell two alike users apart.
_PARTS = ((0.6, ("most", "大部分")), (0.4, ("about half", "约一半")), (0.2, ("a quarter", "约四分之一")), (0.0, ("a little", "少量")))
_ACTIVITY = ((50, ("high", "高")), (10, ("middle", "中")), (1, ("low", "低")), (0, ("none lately", "近期无")))


def lifecycle(first: dt.date | None, last: dt.date | None, ds: dt.date) -> str:
    """A user's stage: new (first event within 7 nights, or none yet), active (last event within 7), lapsing (within 30), else dormant.

    >>> lifecycle(dt.date(2026, 1, 1), dt.date(2026, 3, 1), dt.date(2026, 3, 5))
    'active'
    """
    if first is None or (ds - first).days < 7:
        return "new"
    age = (ds - (last or first)).days
    return "active" if age < 7 else "lapsing" if age < 30 else "dormant"


def entropy(shares: Sequence[float]) -> float:
    """−Σ p ln p over shares that are scaled to sum to 1, in nats.

    >>> round(entropy([0.5, 0.5]), 4)
    0.6931
    """
    p = np.asarray([s for s in shares if s > 0], float)
    p = p / p.sum() if p.size else p
    return float(-(p * np.log(p)).sum()) + 0.0 if p.size else 0.0  # + 0.0: a single topic has 0, not −0


def drift(recent: Mapping[int, float], long: Mapping[int, float]) -> float | None:
    """Half the L1 distance of two share distributions, 0 to 1; None when either is empty.

    >>> drift({1: 1.0}, {1: 0.5, 2: 0.5})
    0.5
    """
    if not recent or not long:
        return None
    return 0.5 * sum(abs(recent.get(t, 0.0) - long.get(t, 0.0)) for t in sorted({*recent, *long}))


def cold_level(n_events: int, by_content: bool, declared: bool) -> int:
    """How much there is to go by: 3 from FULL_EVENTS events on, 2 with fewer where items told anything, 1 what was declared, 0 nothing.

    >>> [cold_level(10, True, False), cold_level(9, True, True), cold_level(9, False, True), cold_level(9, False, False)]
    [3, 2, 1, 0]
    """
    return 3 if n_events >= FULL_EVENTS else 2 if by_content else 1 if declared else 0


def summary(shares: Mapping[int, float], labels: Labels, n_events_30d: int) -> tuple[str, str]:
    """A profile in one English and one Chinese sentence: the three strongest topics by 90-day share, and how active the user is."""
    top = _strongest(shares)
    if not top:
        return (f"No topic yet; {n_events_30d} events in the last 30 days.", f"尚无兴趣主题；最近30天{n_events_30d}次行为。")
    english = ", ".join(f"{_label(labels, t)[0]} ({share:.0%})" for t, share in top)
    chinese = "、".join(f"{_label(labels, t)[1]}（{share:.0%}）" for t, share in top)
    return f"Mostly {english}; {n_events_30d} events in the last 30 days.", f"主要兴趣：{chinese}；最近30天{n_events_30d}次行为。"


def _strongest(shares: Mapping[int, float]) -> list[tuple[int, float]]:
    return sorted(shares.items(), key=lambda x: (-x[1], x[0]))[:3]


def _label(labels: Labels, topic: int) -> tuple[str, str]:
    return labels.get(topic, (str(topic), str(topic)))


def _word(value: float, words: tuple[tuple[float, tuple[str, str]], ...], lang: int) -> str:
    return next(word for least, word in words if value >= least)[lang]


def summary_prompts(shares: Mapping[int, float], labels: Labels, n_events_30d: int) -> list[Prompt]:
    """The English and the Chinese prompt, each with its template's sentence.

    They hold labels of topics, coarse shares and a coarse activity and nothing else of the user, so that like profiles share one answer.
    """
    prompts = []
    for lang, (code, template) in enumerate(zip(("en", "zh"), summary(shares, labels, n_events_30d), strict=True)):
        topics = [f"{_label(labels, t)[lang]} ({_word(share, _PARTS, lang)})" for t, share in _strongest(shares)]
        asked = _ASKED[code].format(topics=json.dumps(topics, ensure_ascii=False), activity=_word(n_events_30d, _ACTIVITY, lang))
        prompts.append(Prompt(asked, template, code, _MAX_CHARS[code], 96))  # type: ignore[arg-type]
    return prompts


def write_summaries(
    rows: Sequence[dict[str, Any]],
    shares: Interests,
    labels: Labels,
    generator: TextGenerator,
    cache: Lake | None,
    say: Callable[[str], None],
) -> None:
    """Put a generator's sentences in place of the template's in rows of `user_profile`; users without a topic keep the template's."""
    if generator.name == Templates.name:
        return
    told = [row for row in rows if shares.get(row["user_key"])]
    prompts = [p for row in told for p in summary_prompts(shares[row["user_key"]], labels, row["n_events_30d"])]
    written = iter(answers(generator, prompts, cache, say))
    for row in told:
        row["summary_en"], row["summary_zh"] = next(written).text, next(written).text


def shares_of(interests: pa.Table, horizon: str, without: Collection[int] = ()) -> dict[str, dict[int, float]]:
    """user → topic → share at a horizon, topics named in `without` left out."""
    rows = interests.filter(pc.equal(interests["horizon"], horizon)).select(["user_key", "topic_id", "share"]).to_pydict()
    found: dict[str, dict[int, float]] = {}
    for user, topic, share in zip(*rows.values(), strict=True):
        if topic not in without:
            found.setdefault(user, {})[topic] = share
    return found


def user_profile(
    sessions: pa.Table,
    interests: pa.Table,
    vectors: Mapping[str, np.ndarray],
    labels: Labels,
    ds: dt.date,
    embedding_space: str | None,
    model_version: str | None,
    run_id: str,
    declared: Collection[str] = (),
    sensitive: Collection[int] = (),
) -> list[dict[str, Any]]:
    """Rows of the table `user_profile`: one per user with an event in the last WINDOW nights, or who declared an interest.

    `sessions` has ds, user_key, n_events of 2 · WINDOW − 1 nights, of which each user's are the WINDOW up to their last; `interests` is
    tonight's `user_interest`. A user is new by the first night known: of a session, or of an interest, which goes back a year. Topics in
    `sensitive` are counted, but never named.
    """
    since = interests.group_by("user_key").aggregate([("first_seen_ds", "min")]).to_pydict()
    first_seen = dict(zip(since["user_key"], since["first_seen_ds_min"], strict=True))
    long, shown, recent = shares_of(interests, "90d"), shares_of(interests, "90d", sensitive), shares_of(interests, "7d")
    users = distinct(sessions["user_key"], pa.array(sorted(declared), pa.string()))
    user_of, back = codes(sessions["user_key"], users), nights_back(sessions["ds"], ds)
    least, most = np.full(len(users), _NEVER), np.full(len(users), -1)
    np.minimum.at(least, user_of, back)
    np.maximum.at(most, user_of, back)
    n = sessions["n_events"].to_numpy()
    within, lately = (np.bincount(user_of, n * w, len(users)).astype(int) for w in (back - least[user_of] < WINDOW, back < 30))
    known = zip(users.to_pylist(), least.tolist(), most.tolist(), within.tolist(), lately.tolist(), strict=True)
    rows: list[dict[str, Any]] = []
    for user, idle, oldest, n_within, n30 in known:
        present, seen = idle < WINDOW, oldest >= 0
        if not present and user not in declared:
            continue
        held, told = long.get(user, {}), shown.get(user, {})
        last, n_events = ds - dt.timedelta(days=idle) if seen else None, n_within if present else 0
        # A topic that was only declared has tonight as its first night.
        first = min(ds - dt.timedelta(days=oldest), first_seen.get(user, ds)) if seen else None
        moved = drift(recent.get(user, {}), held)
        english, chinese = summary(told, labels, n30)
        rows.append(
            {
                "ds": ds,
                "user_key": user,
                "lifecycle": lifecycle(first, last, ds),
                "cold_level": cold_level(n_events, user in vectors or (bool(held) and user not in declared), user in declared),
                "n_events_30d": n30,
                "n_topics": len(held),
                "entropy": round(entropy([s for _, s in sorted(held.items())]), 6),
                "drift_7d": None if moved is None else round(moved, 6),
                "top_topic_id": min(told, key=lambda t: (-told[t], t), default=None),
                "summary_en": english,
                "summary_zh": chinese,
                "vector": vectors.get(user),
                "embedding_space": embedding_space if user in vectors else None,
                "model_version": model_version,
                "run_id": run_id,
            }
        )
    return rows
