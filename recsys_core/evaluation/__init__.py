"""What became of earlier lists, interests and ratings: rows of eval_metric, experiment_metric and topn_outcome, with intervals."""

from recsys_core.evaluation.interests import interest_metrics, list_stability, stability_metrics
from recsys_core.evaluation.lists import list_metrics
from recsys_core.evaluation.outcomes import outcomes, proxies, proxy_metrics
from recsys_core.evaluation.ratings import rating_metrics
from recsys_core.evaluation.relevance import Cut, cut_at, user_slices
from recsys_core.evaluation.rows import ATTRIBUTE, CUTS, compared
from recsys_core.evaluation.trial import experiment_rows

__all__ = [
    "ATTRIBUTE",
    "CUTS",
    "Cut",
    "compared",
    "cut_at",
    "experiment_rows",
    "interest_metrics",
    "list_metrics",
    "list_stability",
    "outcomes",
    "proxies",
    "proxy_metrics",
    "rating_metrics",
    "stability_metrics",
    "user_slices",
]
