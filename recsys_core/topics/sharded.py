"""k-means whose rows are shared out over processes: each holds its own, and sums of clusters are added up over all of them.

As the sums are whole numbers and labels are exact (see `lloyd`), any number of processes finds what one finds, byte by byte.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recsys_core.processes import in_processes
from recsys_core.topics.lloyd import MAX_ROUNDS, Found, Group, lloyd


def together(x: np.ndarray, starts: Sequence[np.ndarray], rounds: int = MAX_ROUNDS) -> list[Found]:
    """`lloyd` from each of the starts, called in every process of a torch.distributed group with the rows that are its own.

    Rows may be shared out in any way; only where two rows are equally far from their centroids does their order count. Under torchrun on
    several machines a script needs no more than `init_process_group` and this call.
    """
    import torch
    import torch.distributed as dist

    device = f"cuda:{torch.cuda.current_device()}" if dist.get_backend() == "nccl" else "cpu"

    def total(own: np.ndarray) -> np.ndarray:
        held = torch.from_numpy(own.copy()).to(device)
        dist.all_reduce(held)
        return held.cpu().numpy()

    tensor = None if device == "cpu" else torch.from_numpy(np.array(x)).to(device)
    group = Group(dist.get_rank(), dist.get_world_size(), total)
    return [lloyd(x, start, rounds, tensor, group) for start in starts]


def share_out(x: np.ndarray, starts: Sequence[np.ndarray], rounds: int, processes: int, device: str) -> list[Found]:
    """`lloyd` from each of the starts by processes of this machine, each with a share of successive rows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, x, allow_pickle=False)
        parts = in_processes(_share, processes, device, str(path), list(starts), rounds)
    return [(runs[0][0], np.concatenate([labels for _, labels, _ in runs]), runs[0][2]) for runs in zip(*parts, strict=True)]


def _share(path: str, starts: Sequence[np.ndarray], rounds: int) -> list[Found]:
    import torch.distributed as dist
    from threadpoolctl import threadpool_limits

    rows = np.load(path, mmap_mode="r", allow_pickle=False)
    bounds = np.linspace(0, len(rows), dist.get_world_size() + 1).astype(int)
    own = rows[bounds[dist.get_rank()] : bounds[dist.get_rank() + 1]]
    with threadpool_limits(max(1, len(os.sched_getaffinity(0)) // dist.get_world_size())):
        return together(own, starts, rounds)
