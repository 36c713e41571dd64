"""One function in several processes of this machine, a group of torch.distributed, started and watched as torchrun does it."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Callable
from typing import Any


def in_processes(work: Callable[..., Any], processes: int, device: str, *arguments: Any) -> list[Any]:
    """What `work(*arguments)` returned in each of the processes, in the order of their ranks; one that fails ends them all.

    `work` is a function of a module. The group is there when it is called: over NCCL with a GPU each on the device "cuda", else over gloo.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory() as logs:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=work.__name__,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=logs),
        )
        handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)}
        try:
            found: dict[int, Any] = elastic_launch(config, _grouped)(work, device, *arguments)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)  # the launcher leaves its own
    return [found[rank] for rank in range(processes)]


def _grouped(work: Callable[..., Any], device: str, *arguments: Any) -> Any:
    """The work of one process; torch finds its place among them in what the launcher set."""
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo" if device == "cpu" else "nccl")
    if device != "cpu":
        torch.cuda.set_device(dist.get_rank() % torch.cuda.device_count())
    try:
        return work(*arguments)
    finally:
        dist.destroy_process_group()
