"""Slots of a list for what its user has not turned to yet: items of topics that the night's expansion proposes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys_core.recommenders.base import Floats, Ints
from recsys_core.recommenders.history import coded, codes


def exploring_ranks(n: int, slots: int) -> list[int]:
    """Ranks, from 1, of a list of n that explore: fixed, so that what they cost and bring is measured at known ranks.

    >>> exploring_ranks(20, 2), exploring_ranks(20, 1), exploring_ranks(10, 3), exploring_ranks(2, 5)
    ([10, 20], [20], [4, 7, 10], [1, 2])
    """
    slots = min(slots, n)
    return [-(-n * (slot + 1) // slots) for slot in range(slots)]


@dataclass(frozen=True)
class Proposed:
    """What is proposed to users: their rows of user_interest_expansion, the most probable topic first, each topic once.

    begin  (n_users + 1,) where each user's rows begin
    topic  column of the topic in `members`
    row    place in the table
    """

    begin: Ints
    topic: Ints
    row: Ints

    @staticmethod
    def of(expansion: pa.Table, users: pa.Array, topics: pa.Array) -> Proposed:
        """From rows of user_interest_expansion of any users; of methods that propose one topic the surest holds, ties to the first name."""
        user, topic = codes(expansion["user_key"], users), codes(expansion["topic_id"], topics)
        order = np.lexsort((coded(expansion["method"])[1], topic, -expansion["score"].to_numpy(), user))
        order = order[(user[order] >= 0) & (topic[order] >= 0)]
        first = np.sort(np.unique(user[order] * (len(topics) + 1) + topic[order], return_index=True)[1])
        order = order[first]
        return Proposed(np.searchsorted(user[order], np.arange(len(users) + 1)), topic[order], order)


def members(first_topic: Ints, n_topics: int, popularity: Floats) -> list[Ints]:
    """Items of each topic, the most popular first, ties to the lower code; `first_topic` is each item's strongest topic, −1 = none."""
    order = np.lexsort((-popularity, first_topic))
    begin = np.searchsorted(first_topic[order], np.arange(n_topics + 1))
    return [order[a:b] for a, b in pairwise(begin)]


def explore(
    users: Ints,
    lists: Ints,
    item: Ints,
    score: Floats,
    allowed: NDArray[np.bool_],
    proposed: Proposed,
    members: list[Ints],
    slots: int,
) -> tuple[Ints, Ints]:
    """Lists of which `slots` slots explore, and the row of the proposal behind each slot, −1 = it does not explore; both (m, n).

    users        codes, as `proposed` has them
    lists        (m, n) item codes, best first, −1 = none left
    item, score  (m, c) candidates of each user with what the blend says of them, −1 = none
    allowed      (m, n_items) what may be shown to each user

    Of each proposed topic in turn the allowed item that the blend likes best is taken, among those that it knows nothing of the most
    popular one; only when every topic had its turn a second item of one. What is in the list already is no exploration. Explored items
    stand at `exploring_ranks`, from the first on; the rest moves down, and the list stays as long as it was. A list that is not full holds
    all that its user may be shown, and stays as it is, as does that of a user to whom nothing is proposed.
    """
    from recsys_core.ranking import choosing

    explored, why = lists.copy(), np.full(lists.shape, -1, np.int64)
    if not slots:
        return explored, why
    ranks = np.array(exploring_ranks(lists.shape[1], slots), np.int64)
    begin = np.cumsum([0, *map(len, members)])
    of_topics = (begin, np.concatenate([np.empty(0, np.int64), *members]))
    choosing.explored(users, item, score, allowed, proposed.begin, proposed.topic, proposed.row, *of_topics, ranks, explored, why)
    return explored, why
