"""What is known on a night that its lists are made from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import sparse

from recsys_core.declared import Stances
from recsys_core.explain import Proposal
from recsys_core.ranking.exploration import Proposed, members
from recsys_core.ranking.offer import Offer
from recsys_core.ranking.personal import Exploration, Order
from recsys_core.ranking.policy import ListRules, consumed, in_region, muted, of_topics
from recsys_core.recommenders.base import Interactions, Ints
from recsys_core.recommenders.history import History, codes, item_topics, usual


@dataclass(frozen=True)
class Shop:
    """What is known on the night `ds`.

    past       everything up to the night, with languages as groups and the vectors of items
    languages  those that the groups stand for
    catalogue  columns of item; tree the table category
    sessions   user_key, region
    topics     item_id, topic_id, weight, rank (may be empty: topic_id of slots is then null)
    contexts   ds, user_key, item_id, daypart: the part of the day in which an item was met
    interests  user_key, topic_id, share over ninety days
    expansion  rows of user_interest_expansion
    labels     topic_id → its names in English and Chinese
    stances    who declared an interest gets for_you without any event, too; items of a muted topic are not listed for who muted it
    hidden     topics whose items are listed for nobody
    """

    ds: dt.date
    past: History
    languages: list[str]
    catalogue: pa.Table
    tree: pa.Table
    sessions: pa.Table
    topics: pa.Table
    contexts: pa.Table
    interests: pa.Table
    expansion: pa.Table
    labels: Mapping[int, tuple[str, str]]
    stances: Stances
    hidden: Collection[int] = ()

    @property
    def history(self) -> Interactions:
        """The interactions."""
        return self.past.interactions

    @cached_property
    def first_topics(self) -> pa.Table:
        """item_id and topic_id of the strongest topic of each item."""
        return self.topics.filter(pc.equal(self.topics["rank"], 1)).select(["item_id", "topic_id"])

    @cached_property
    def topic_of_item(self) -> pa.Array:
        """The strongest topic by item code, null without one."""
        first = self.first_topics
        return first["topic_id"].combine_chunks().take(pc.index_in(self.past.items, value_set=first["item_id"].combine_chunks()))

    @cached_property
    def titles(self) -> list[str]:
        """Titles by item code; an item without one goes by its id."""
        titles: list[str] = self.past.items.to_pylist()
        told = self.catalogue["title"].to_pylist()
        for code, title in zip(self.past.item_codes(self.catalogue["item_id"]).tolist(), told, strict=True):
            titles[code] = title or titles[code]
        return titles

    @cached_property
    def topic_ids(self) -> pa.Array:
        """Topics of items, ascending: columns of what is by topic."""
        return pa.array(sorted(set(self.topics["topic_id"].to_pylist())), pa.int64())

    @cached_property
    def regions(self) -> tuple[list[str], Ints]:
        """Regions of users, and each user's."""
        return usual(self.sessions, "region", self.past.users)

    def offer(self, rules: ListRules) -> Offer:
        """What may be shown to whom."""
        eligible = rules.eligible(self.catalogue, self.tree, self.past.items, self.ds)
        eligible[of_topics(self.first_topics, self.past.items, self.hidden)] = False
        met = consumed(self.history, rules.cool_down(self.catalogue, self.tree, self.past.items))
        kept = muted(self.stances.muted, self.past.users, self.past.items, self.first_topics)
        names, region = self.regions
        return Offer(eligible, (met + kept).tocsr(), region, in_region(self.catalogue, self.past.items, names))

    def order(self, rules: ListRules) -> Order:
        """What puts lists in order."""
        vectors = self.history.vectors
        assert vectors is not None, "a shop has vectors, zeros without texts"
        of_items = item_topics(self.past, self.topics, self.topic_ids)
        user, topic = self.past.user_codes(self.interests["user_key"]), codes(self.interests["topic_id"], self.topic_ids)
        known = (user >= 0) & (topic >= 0)
        shares = self.interests["share"].to_numpy()[known]
        target = sparse.csr_matrix((shares, (user[known], topic[known])), shape=(self.history.n_users, of_items.shape[1]))
        return Order(vectors, of_items, target, rules.diversity, rules.calibration)

    def exploration(self, popularity: NDArray[np.float64], slots: int) -> Exploration:
        """What slots of lists may explore: `slots` of each."""
        first = np.full(self.history.n_items, -1, np.int64)
        first[self.past.item_codes(self.first_topics["item_id"])] = codes(self.first_topics["topic_id"], self.topic_ids)
        proposed = Proposed.of(self.expansion, self.past.users, self.topic_ids)
        return Exploration(proposed, members(first, len(self.topic_ids), popularity), slots)

    def newcomers(self, active_nights: int) -> list[str]:
        """Users who declared interests and did nothing lately, in the order of keys."""
        active = self.past.users.take(pa.array(np.unique(self.history.user[self.history.age < active_nights])))
        return sorted(set(self.stances.prior["user_key"].to_pylist()) - set(active.to_pylist()))

    def proposals(self, rows: Ints) -> dict[int, Proposal]:
        """What some rows of the expansion propose, in words."""
        nameless, different = ("", ""), np.unique(rows)
        told = self.expansion.select(["topic_id", "via_topic_id", "method"]).take(pa.array(different)).to_pydict().values()
        found = (Proposal(self.labels.get(t, nameless), self.labels.get(via, nameless), how) for t, via, how in zip(*told, strict=True))
        return dict(zip(different.tolist(), found, strict=True))
