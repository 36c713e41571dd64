"""Loops of expansion, compiled; importing this loads numba: do so where they are needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys_core.compiled import kernel


@kernel
def touched_by_nearest(cosine: Any, touched: Any, most: int) -> Any:
    """((rows, k), (rows,)) Σ cosine of the `most` most similar others who touched each topic, and of all of them, in whole millionths.

    cosine   (rows, others); those that are rounded to 0 or less are not similar, and all that equal the last one count with it
    touched  (others, k) bool
    """
    rows, others = cosine.shape
    found, total = np.zeros((rows, touched.shape[1])), np.zeros(rows)
    micro, heap = np.empty(others, np.int32), np.empty(most, np.int32)
    for row in range(rows):
        for other in range(others):
            micro[other] = np.int32(np.rint(cosine[row, other] * 1_000_000.0))
        # The least of the largest so far is at the root of a heap.
        heap[:] = 1
        for other in range(others):
            value = micro[other]
            if value > heap[0]:
                at, child = 0, 1
                while child < most:
                    if child + 1 < most and heap[child + 1] < heap[child]:
                        child += 1
                    if heap[child] >= value:
                        break
                    heap[at] = heap[child]
                    at, child = child, 2 * child + 1
                heap[at] = value
        for other in range(others):
            if micro[other] >= heap[0]:
                total[row] += micro[other]
                for topic in range(touched.shape[1]):
                    if touched[other, topic]:
                        found[row, topic] += micro[other]
    return found, total
