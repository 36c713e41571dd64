"""A user in one row: stage of life, how much is known, how wide and how moving the interests are, and all of it in words."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys_core.generate import Prompt, TextGenerator, answers
from recsys_core.lake import Lake
from recsys_core.profiles.clock import WINDOW, Floats, Ints, codes, distinct, nights_back, places
from recsys_core.profiles.evidence import millionths
from recsys_core.tables import TABLES

# From so many events on a user is served by everything there is.
FULL_EVENTS = 10
# Topics that a summary names.
_NAMED = 3
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
# By language: a topic, what is between topics, before and after them, what is said without any, and the rest of the sentence.
_SUMMARIES = (
    ("{} ({}%)", ", ", "Mostly ", "; ", "No topic yet; ", " events in the last 30 days."),
    ("{}（{}%）", "、", "主要兴趣：", "；最近30天", "尚无兴趣主题；最近30天", "次行为。"),
)
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
    return float(_entropies(np.array([[0.0] * len(shares), range(len(shares)), shares]), 1)[0])


def _entropies(shares: Floats, n: int) -> Floats:
    """The entropy of each of n users; `shares` as `_of_horizon` has them."""
    user, _, share = shares[:, shares[2] > 0]
    of = user.astype(np.int64)
    p = share / np.bincount(of, share, n)[of]
    return np.asarray(-np.bincount(of, p * np.log(p), n) + 0.0, np.float64)  # + 0.0: a single topic has 0, not −0


def drift(recent: Mapping[int, float], long: Mapping[int, float]) -> float | None:
    """Half the L1 distance of two share distributions, 0 to 1; None when either is empty.

    >>> drift({1: 1.0}, {1: 0.5, 2: 0.5})
    0.5
    """
    if not recent or not long:
        return None
    newer, older = (np.array([[0.0] * len(shares), [*shares], [*shares.values()]]) for shares in (recent, long))
    return float(_drifts(newer, older, 1)[0])


def _drifts(recent: Floats, long: Floats, n: int) -> Floats:
    """The drift of each of n users, 0 where it has none; shares as `_of_horizon` has them."""
    user, topic = (np.concatenate([recent[at], long[at]]).astype(np.int64) for at in (0, 1))
    ids, place = np.unique(topic, return_inverse=True)
    keys, of = np.unique(user * max(len(ids), 1) + place, return_inverse=True)
    change = np.bincount(of, np.concatenate([recent[2], -long[2]]), len(keys))
    return np.asarray(0.5 * np.bincount(keys // max(len(ids), 1), np.abs(change), n), np.float64)


def cold_level(n_events: int, by_content: bool, declared: bool) -> int:
    """How much there is to go by: 3 from FULL_EVENTS events on, 2 with fewer where items told anything, 1 what was declared, 0 nothing.

    >>> [cold_level(10, True, False), cold_level(9, True, True), cold_level(9, False, True), cold_level(9, False, False)]
    [3, 2, 1, 0]
    """
    return 3 if n_events >= FULL_EVENTS else 2 if by_content else 1 if declared else 0


def summary(shares: Mapping[int, float], labels: Labels, n_events_30d: int) -> tuple[str, str]:
    """A profile in one English and one Chinese sentence: the three strongest topics by 90-day share, and how active the user is."""
    top = _strongest(shares)
    columns = np.zeros(len(top), int), np.array([t for t, _ in top], int), np.array([s for _, s in top], float)
    english, chinese = _summaries(*columns, np.array([n_events_30d]), labels)
    return english[0].as_py(), chinese[0].as_py()


def _summaries(user: Ints, topic: Ints, share: Floats, n_events_30d: Ints, labels: Labels) -> tuple[pa.Array, pa.Array]:
    """The same of many users, by place: their strongest topics (of which `user` says whose, in order) and the events of each."""
    percent = np.rint(share * 100).astype(np.int64)
    pairs, of = np.unique(topic << 8 | percent, return_inverse=True)
    told = [(_label(labels, pair >> 8), pair & 255) for pair in pairs.tolist()]
    bounds = np.searchsorted(user, np.arange(len(n_events_30d) + 1)).astype(np.int32)
    some, events = pa.array(bounds[1:] > bounds[:-1]), pa.array(n_events_30d).cast(pa.string())
    found = []
    for lang, (each, comma, first, then, none, last) in enumerate(_SUMMARIES):
        named = pa.array([each.format(label[lang], share) for label, share in told], pa.string()).take(pa.array(of))
        topics = pc.binary_join(pa.ListArray.from_arrays(pa.array(bounds), named), comma)
        topics = pc.if_else(some, pc.binary_join_element_wise(first, topics, then, ""), none)
        found.append(pc.binary_join_element_wise(topics, events, last, ""))
    return found[0], found[1]


def _strongest(shares: Mapping[int, float]) -> list[tuple[int, float]]:
    return sorted(shares.items(), key=lambda x: (-x[1], x[0]))[:_NAMED]


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
) -> pa.Table:
    """Rows of the table `user_profile`, by user: one per user with an event in the last WINDOW nights, or who declared an interest.

    `sessions` has ds, user_key, n_events of 2 · WINDOW − 1 nights, of which each user's are the WINDOW up to their last; `interests` is
    tonight's `user_interest`. A user is new by the first night known: of a session, or of an interest, which goes back a year. Topics in
    `sensitive` are counted, but never named.
    """
    users = distinct(sessions["user_key"], pa.array(sorted(declared), pa.string()))
    user_of, back = codes(sessions["user_key"], users), nights_back(sessions["ds"], ds)
    idle, oldest = np.full(len(users), _NEVER), np.full(len(users), -1)
    np.minimum.at(idle, user_of, back)
    np.maximum.at(oldest, user_of, back)
    n = sessions["n_events"].to_numpy()
    within, lately = (np.bincount(user_of, n * w, len(users)).astype(int) for w in (back - idle[user_of] < WINDOW, back < 30))
    said = pc.is_in(users, pa.array(sorted(declared), pa.string())).to_numpy(zero_copy_only=False)
    present, seen = idle < WINDOW, oldest >= 0
    # A topic that was only declared has tonight as its first night.
    whose, first = codes(interests["user_key"], users), nights_back(interests["first_seen_ds"], ds)
    np.maximum.at(oldest, whose[whose >= 0], first[whose >= 0])
    held, recent = _of_horizon(interests, "90d", users), _of_horizon(interests, "7d", users)
    shown = held[:, ~np.isin(held[1], [*sensitive])]
    n_topics, n_shown, n_recent = (np.bincount(of[0].astype(np.int64), minlength=len(users)) for of in (held, shown, recent))
    strongest = shown[:, np.lexsort((shown[1], -shown[2], shown[0]))]
    strongest = strongest[:, places(strongest[0].astype(np.int64)) < _NAMED]
    whose, topic = strongest[0].astype(np.int64), strongest[1].astype(np.int64)
    top, leads = np.full(len(users), -1), places(whose) == 0
    top[whose[leads]] = topic[leads]
    moved = _drifts(recent, held, len(users))
    english, chinese = _summaries(whose, topic, strongest[2], lately, labels)
    pooled = pa.array([vectors.get(user) for user in users.to_pylist()], pa.list_(pa.float32()))
    by_content = pooled.is_valid().to_numpy(zero_copy_only=False)

    def stage(oldest: int, idle: int) -> str:
        first, last = (ds - dt.timedelta(days=back) if back >= 0 else None for back in (oldest, idle))
        return lifecycle(first, last, ds)

    columns = {
        "ds": pa.repeat(pa.scalar(ds, pa.date32()), len(users)),
        "user_key": users,
        "lifecycle": _each(stage, np.where(seen, oldest, -1), np.where(seen, idle, -1)),
        "cold_level": _each(cold_level, np.minimum(np.where(present, within, 0), FULL_EVENTS), by_content | ((n_topics > 0) & ~said), said),
        "n_events_30d": lately,
        "n_topics": n_topics,
        "entropy": millionths(_entropies(held, len(users))) / 1e6,
        "drift_7d": pa.array(millionths(moved) / 1e6, mask=(n_topics == 0) | (n_recent == 0)),
        "top_topic_id": pa.array(top, mask=n_shown == 0),
        "summary_en": english,
        "summary_zh": chinese,
        "vector": pooled,
        "embedding_space": pc.if_else(pooled.is_valid(), pa.scalar(embedding_space, pa.string()), pa.scalar(None, pa.string())),
        "model_version": pa.repeat(pa.scalar(model_version, pa.string()), len(users)),
        "run_id": pa.repeat(pa.scalar(run_id), len(users)),
    }
    schema = TABLES["user_profile"].arrow_schema()
    return pa.table(columns).select(schema.names).cast(schema).filter(pa.array(present | said))


def _of_horizon(interests: pa.Table, horizon: str, users: pa.Array) -> Floats:
    """(3, n) place in `users`, topic and share of each interest of these users at a horizon, by user, then topic."""
    rows = interests.filter(pc.equal(interests["horizon"], horizon))
    found = np.stack([codes(rows["user_key"], users), rows["topic_id"].to_numpy(), rows["share"].to_numpy()])
    found = found[:, found[0] >= 0]
    return found[:, np.lexsort((found[1], found[0]))]


def _each(function: Callable[..., Any], *columns: NDArray[Any]) -> pa.Array:
    """What a function gives for each row, called once for all rows that are alike."""
    rows, of = np.unique(np.stack(columns, axis=1).astype(np.int64), axis=0, return_inverse=True)
    return pa.array([function(*row) for row in rows.tolist()]).take(pa.array(of.ravel()))
