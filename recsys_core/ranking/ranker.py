"""A registered ranker: which version a night uses, its coefficients and sources, and what is said of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from recsys_core import registry
from recsys_core.lake import Lake
from recsys_core.ranking.blender import Blend
from recsys_core.ranking.training import GATE, Sources, best_single, restored
from recsys_core.recommenders import RECOMMENDERS, Interactions, Recommender

KIND = "ranker"


def names(listed: str) -> tuple[str, ...]:
    """The recommenders of a comma-separated list, each once; ValueError for one that is not registered, or none.

    >>> names("transitions, popularity,transitions")
    ('transitions', 'popularity')
    """
    found = tuple(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))
    if unknown := [name for name in found if name not in RECOMMENDERS]:
        raise ValueError(f"no recommender is named {', '.join(unknown)}: there are {', '.join(RECOMMENDERS)}")
    if not found:
        raise ValueError(f"no recommender is named: there are {', '.join(RECOMMENDERS)}")
    return found


def blend(version: registry.ModelVersion | None, sources: Sequence[str]) -> Blend:
    """The blend of a version; without one the default of `sources`."""
    return Blend(version.params["coefficients"], version.params["sharpness"]) if version else Blend.default(sources)


def sources_for(
    lake: Lake, version: registry.ModelVersion | None, sources: Sources, history: Interactions, items: pa.Array
) -> tuple[Blend, dict[str, Recommender]]:
    """The blend of a night and its sources in the order of its features, which have met `history`, by the codes of `items`.

    With a version it is that one's blend: its sources, of which those that take long to learn were learned in training. Without one it is
    the default of those `sources` that learn anew every night.
    """
    files = {name: registry.load(lake, version, name) for name in version.files} if version else {}
    own = (tuple(version.params["sources"]), version.params["options"], version.params["seed"]) if version else None
    used = Sources(*own, sources.spark) if own else sources
    found = used.fitted(history, restored(files, items))
    if not found:
        raise ValueError(f"of {', '.join(used.names)} none learns in a night: add one to RECOMMENDERS, or run `python -m jobs fit_ranker`")
    blended = blend(version, tuple(found))
    return blended, {name: found[name] for name in blended.sources}


def sentences(fitted: Blend, measured: Mapping[str, Any]) -> Iterator[str]:
    """Coefficients by segment, and how good the lists by them are, as lines for people."""
    for segment in fitted.weights:
        yield f"users of {segment} events: " + " + ".join(f"{share:.2f} {name}" for name, share in fitted.shares(segment).items())
    gate, single = measured[GATE], best_single(measured)
    against = {"in_use": "those in use", single: f"{single} alone"}
    found = ", ".join(f"{gate[n][0]:.4f} by {of} ({_signed(gate[f'{n}_diff'])} more)" for n, of in against.items())
    loss = measured["log_loss"]
    yield f"{GATE} {gate['value'][0]:.4f}, {found} over {measured['users']:,} users"
    yield f"log loss of what they turned to {loss['value'][0]:.4f}, by those in use {loss['in_use'][0]:.4f}"


def _signed(estimate: Sequence[float]) -> str:
    value, low, high = estimate
    return f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"
