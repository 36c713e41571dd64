"""How far predicted ratings are from tonight's: MAE and RMSE of the rating model beside the biases alone."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.evaluation.rows import Row, rounded
from recsys_core.lake import digest
from recsys_core.metrics import interval, rating_errors, resampled
from recsys_core.recommenders.base import Floats
from recsys_core.recommenders.biased_mf import RATING_MODELS, BiasedMF
from recsys_core.recommenders.history import codes

# Fewer earlier ratings tell nothing worth a row.
MIN_RATINGS = 100


def rating_metrics(
    ratings: pa.Table, ds: dt.date, seed: int, models: Mapping[str, Callable[[], BiasedMF]] = RATING_MODELS, baseline: str = "biases"
) -> list[Row]:
    """Rows of eval_metric, subject rating: `mae` and `rmse` of tonight's ratings by models of all earlier ones; less is better.

    ratings  ds, user_key, item_id, rating (no nulls) of nights up to ds; of a user and item rated on several nights each one counts

    `n` is the number of ratings; the interval draws users. The baseline is the mean with the biases of user and item. A user or an item
    that was never rated before is given what is left of the model. Empty without a rating tonight or MIN_RATINGS before.
    """
    now = pc.equal(ratings["ds"], pa.scalar(ds, pa.date32()))
    before, tonight = ratings.filter(pc.invert(now)), ratings.filter(now)
    if before.num_rows < MIN_RATINGS or not tonight.num_rows:
        return []
    users, items = (pc.unique(before[c]).sort() for c in ("user_key", "item_id"))
    learnt = codes(before["user_key"], users), codes(before["item_id"], items), before["rating"].to_numpy().astype(np.float64)
    asked = codes(tonight["user_key"], users), codes(tonight["item_id"], items)
    rating = tonight["rating"].to_numpy().astype(np.float64)
    who = pc.unique(tonight["user_key"]).sort()
    rater = codes(tonight["user_key"], who)
    found: dict[str, tuple[str, tuple[float, float], Floats]] = {}
    for name, made in models.items():
        model = made().fit(*learnt, len(users), len(items))
        predicted = model.predict(*asked)
        error = predicted - rating
        # Sums over a user's ratings and their number: what is drawn are users, what is averaged are ratings.
        sums = [np.bincount(rater, weights=w, minlength=len(who)) for w in (np.abs(error), error**2, np.ones(len(error)))]
        means = resampled(np.column_stack(sums), seed)[:, 0]
        draws = np.column_stack([means[:, 0] / means[:, 2], np.sqrt(means[:, 1] / means[:, 2])])
        found[name] = f"{name}-{digest(model.parameters)[:8]}", rating_errors(predicted, rating), draws
    _, base, theirs = found[baseline]
    rows: list[Row] = []
    for name, (version, value, draws) in found.items():
        if name == baseline:
            continue
        (low, high), (diff_low, diff_high) = interval(draws), interval(draws - theirs)
        for i, metric in enumerate(("mae", "rmse")):
            row: Row = {"ds": ds, "subject": "rating", "model_version": version, "list_name": "", "variant": "default", "slice_dim": "all"}
            row |= {"slice_value": "", "metric": metric, "k": 0, "baseline": baseline, "n": len(rating), "value": rounded(value[i])}
            row |= {"ci_low": rounded(low[i]), "ci_high": rounded(high[i]), "baseline_value": rounded(base[i])}
            row |= {"diff": rounded(value[i] - base[i]), "diff_ci_low": rounded(diff_low[i]), "diff_ci_high": rounded(diff_high[i])}
            rows.append(row)
    return rows
