"""Peers of top-N, as their packages have them: `implicit` in our environment, RecTools in one of its own."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from recsys_core.recommenders import Interactions
from recsys_core.recommenders.base import Floats, Ints
from recsys_core.recommenders.holdout import Cut, K, lists, measured

RECTOOLS = Path(__file__).parent / "rectools_peer.py"
RECTOOLS_SETTINGS = 4  # of each of its models, by number


class ImplicitALS:
    """ALS of the package `implicit`, as it comes, one thread."""

    def __init__(self, factors: int, regularization: float, alpha: float, seed: int) -> None:
        self.parameters = {"factors": factors, "regularization": regularization, "alpha": alpha}
        self.seed = seed

    def fit(self, history: Interactions) -> ImplicitALS:
        """Fit on what was met, each pair once."""
        from implicit.als import AlternatingLeastSquares

        model = AlternatingLeastSquares(**self.parameters, use_gpu=False, random_state=self.seed, num_threads=1)
        model.fit(sparse.csr_matrix(history.seen(), dtype=np.float32), show_progress=False)
        self.user, self.item = model.user_factors.astype(np.float64), model.item_factors.astype(np.float64)
        return self

    def scores(self, users: Ints) -> Floats:
        """Products of factors."""
        found: Floats = self.user[users] @ self.item.T
        return found


class ImplicitCosine:
    """Item neighbours by cosine of the package `implicit`."""

    def __init__(self, neighbours: int) -> None:
        self.parameters = {"neighbours": neighbours}

    def fit(self, history: Interactions) -> ImplicitCosine:
        """Fit on what was met, each pair once."""
        from implicit.nearest_neighbours import CosineRecommender

        model = CosineRecommender(K=self.parameters["neighbours"], num_threads=1)
        self.met = sparse.csr_matrix(history.seen(), dtype=np.float64)
        model.fit(self.met, show_progress=False)
        self.similarity = model.similarity
        return self

    def scores(self, users: Ints) -> Floats:
        """Sums over what the user met."""
        return np.asarray((self.met[users] @ self.similarity).toarray())


def peers(seed: int) -> dict[str, list[Any]]:
    """Settings of each package's model."""
    grid = product((64, 128), (0.1, 20.0), (3.0, 10.0))
    return {
        "implicit ALS": [ImplicitALS(factors, reg, alpha, seed) for factors, reg, alpha in grid],
        "implicit item cosine": [ImplicitCosine(n) for n in (20, 100, 500)],
    }


def tuned(settings: Sequence[Any], held: Cut) -> Any:
    """The peer's setting with the largest NDCG on the validation cut; ties to the first."""
    if len(settings) == 1:
        return settings[0]
    ndcg = [measured(lists(s.fit(held.known), held.known, held.users, K)[0], held)["ndcg"].mean() for s in settings]
    return settings[int(np.argmax(np.round(ndcg, 6)))]


def rectools(python: str, test: Cut, held: Cut, seed: int) -> Iterator[tuple[str, Ints, float, float]]:
    """RecTools by `python`: (model, lists, CPU seconds of fitting, of lists), each with the setting that is best on the validation cut."""
    with tempfile.TemporaryDirectory() as folder:
        for name, part in (("validation", held), ("test", test)):
            known = part.known
            np.savez(f"{folder}/{name}.npz", user=known.user, item=known.item, place=np.arange(len(known.user)))
        for model in ("ease", "als"):
            tried = [_ask(python, folder, "validation", model, number, seed, held)[0] for number in range(RECTOOLS_SETTINGS)]
            number = int(np.argmax([round(float(measured(items, held)["ndcg"].mean()), 6) for items in tried]))
            yield f"RecTools {model.upper()}, setting {number}", *_ask(python, folder, "test", model, number, seed, test)


def _ask(python: str, folder: str, name: str, model: str, number: int, seed: int, part: Cut) -> tuple[Ints, float, float]:
    out = f"{folder}/lists.npz"
    argv = [python, str(RECTOOLS), f"{folder}/{name}.npz", out, model, str(number), str(K), str(seed)]
    seconds = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.split()[-2:]
    rows = np.load(out)
    items = np.full((len(part.users), K), -1, np.int64)
    inside = np.isin(rows["user"], part.users)
    items[np.searchsorted(part.users, rows["user"][inside]), rows["rank"][inside] - 1] = rows["item"][inside]
    return items, float(seconds[0]), float(seconds[1])
