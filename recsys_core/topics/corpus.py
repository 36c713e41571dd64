"""What topics are learnt from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from recsys_core.texts import tokenize

# Typical texts of a topic, from which it may be named.
TYPICAL_TEXTS = 3


@dataclass(frozen=True)
class Corpus:
    """What topics are learnt from: the distinct texts of the catalogue in the order of their hashes, and reviews.

    hashes    of the texts, sorted
    texts     the texts
    items     of each text, the items that have it, sorted
    vectors   unit vectors of the texts, (n, d)
    words     words of the texts
    reviews   words of the reviews; they shape models on words, never the centroids
    users     item → codes of the users that touched it in the training nights
    """

    hashes: list[str]
    texts: list[str]
    items: list[list[str]]
    vectors: np.ndarray
    words: list[list[str]]
    reviews: list[list[str]]
    users: dict[str, np.ndarray]

    def users_of(self, document: int) -> np.ndarray:
        """Codes of the users that touched an item with the text."""
        found = [self.users[i] for i in self.items[document] if i in self.users]
        return np.unique(np.concatenate(found)) if found else np.zeros(0, np.int64)

    def typical(self, weight: np.ndarray, members: np.ndarray) -> np.ndarray:
        """Of a topic's documents the TYPICAL_TEXTS nearest their mean, by weight, the medoid first."""
        cosines = self.vectors[members] @ (weight[members] @ self.vectors[members])
        return members[np.argsort(-cosines, kind="stable")[:TYPICAL_TEXTS]]


def corpus(
    item_text: pa.Table, user_text: pa.Table, user_item: pa.Table, vectors_of: Callable[[list[str]], np.ndarray], max_reviews: int
) -> Corpus:
    """The training corpus; `vectors_of` gives unit vectors of text hashes.

    Of more than `max_reviews` distinct reviews those with the lowest hashes are taken: a sample without order or meaning.
    """
    texts: dict[str, tuple[str, str]] = {}
    items: dict[str, set[str]] = {}
    for row in item_text.to_pylist():
        texts[row["text_hash"]] = (row["text"], row["lang"])
        items.setdefault(row["text_hash"], set()).add(row["item_id"])
    hashes = sorted(texts)
    reviews = {r["text_hash"]: (r["text"], r["lang"]) for r in user_text.to_pylist() if r["kind"] == "review"}
    chosen = [reviews[h] for h in sorted(reviews)[:max_reviews]]
    pairs = user_item.group_by(["user_key", "item_id"]).aggregate([]).combine_chunks()
    codes = pairs["user_key"].dictionary_encode().combine_chunks().indices.to_pylist()
    held: dict[str, list[int]] = {}
    for item, code in zip(pairs["item_id"].to_pylist(), codes, strict=True):
        held.setdefault(item, []).append(code)
    return Corpus(
        hashes=hashes,
        texts=[texts[h][0] for h in hashes],
        items=[sorted(items[h]) for h in hashes],
        vectors=vectors_of(hashes),
        words=[tokenize(*texts[h]) for h in hashes],
        reviews=[tokenize(*review) for review in chosen],
        users={item: np.unique(found) for item, found in held.items()},
    )
