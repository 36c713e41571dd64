"""Why a user has an interest, as JSON: made of columns, since there are millions of them in a night."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_core.profiles.clock import Floats, Ints

_MICRO = 1_000_000
# Up to here Python writes floats with an exponent.
_SMALL = np.array([repr(n / _MICRO) for n in range(100)], object)


def evidence(score: Floats, declared: Floats, of: Ints, names: pa.Array, item: Ints, n_events: Ints, weight: Floats) -> pa.Array:
    """Canonical JSON of each score: what was declared, if anything was, the items, and the rest, which sum to the score.

    score, declared  of each text, in 6 decimals
    of               the text that each item stands in, in order, with its place in `names`, events and weight

    >>> one = [np.array([v]) for v in (1.5, 0.0, 0, 0, 2, 1.25)]
    >>> evidence(one[0], one[1], one[2], pa.array(["tea"]), *one[3:]).to_pylist()
    ['{"items":[{"item_id":"tea","n_events":2,"weight":1.25}],"rest":0.25}']
    """
    micro = millionths(weight)
    ids = pa.array([json.dumps(name, ensure_ascii=False) for name in names.to_pylist()], pa.string())
    parts = [
        '{"item_id":',
        ids.take(pa.array(item)),
        ',"n_events":',
        pa.array(n_events).cast(pa.string()),
        ',"weight":',
        decimals(micro),
        "}",
    ]
    each = _joined(*parts)
    bounds = np.searchsorted(of, np.arange(len(score) + 1)).astype(np.int32)
    items = pc.binary_join(pa.ListArray.from_arrays(pa.array(bounds), each), ",")
    said, sums = np.rint(declared * _MICRO).astype(np.int64), np.zeros(len(score), np.int64)
    np.add.at(sums, of, micro)
    rest = np.rint(score * _MICRO).astype(np.int64) - said - sums
    first = pc.if_else(pa.array(said != 0), _joined('{"declared":', decimals(said), ',"items":['), '{"items":[')
    return _joined(first, items, '],"rest":', decimals(rest), "}")


def millionths(values: Floats) -> Ints:
    """round(value, 6) in millionths; where only the exact value tells which way, Python's own rounding does."""
    scaled = values * _MICRO
    found = np.rint(scaled).astype(np.int64)
    for at in np.flatnonzero(np.abs(np.abs(scaled - np.floor(scaled)) - 0.5) <= np.abs(scaled) * 1e-15 + 1e-15):
        found[at] = round(round(float(values[at]), 6) * _MICRO)
    return found


def decimals(micro: Ints) -> pa.Array:
    """Millionths as Python writes the float: repr(n / 1,000,000).

    >>> decimals(np.array([1_500_000, 20, -3_000_000, 0])).to_pylist()
    ['1.5', '2e-05', '-3.0', '0.0']
    """
    size = np.abs(micro)
    whole, part = pa.array(size // _MICRO).cast(pa.string()), pa.array(size % _MICRO).cast(pa.string())
    part = pc.utf8_rtrim(pc.utf8_lpad(part, 6, "0"), "0")
    found = _joined(whole, ".", pc.if_else(pc.equal(part, ""), "0", part))
    small = np.flatnonzero(size < len(_SMALL))
    if len(small):
        mask = np.zeros(len(micro), bool)
        mask[small] = True
        found = pc.replace_with_mask(found, pa.array(mask), pa.array(_SMALL[size[small]], pa.string()))
    return _joined(pc.if_else(pa.array(micro < 0), "-", ""), found)


def _joined(*parts: pa.Array | str) -> pa.Array:
    return pc.binary_join_element_wise(*parts, "")
