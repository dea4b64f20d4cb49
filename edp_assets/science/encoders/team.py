"""The processes of one training run, as torch's launcher starts them: who am I, what is my share; no training.

`torchrun` tells by RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT; without them a process is alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed


@dataclass(frozen=True)
class Team:
    """This process among those that train together.

    Attributes:
        rank: this process, from 0; 0 writes checkpoints and speaks.
        size: processes.
        device: that this process computes on.
    """

    rank: int
    size: int
    device: torch.device

    def share(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
        """Return this process's consecutive part of a batch, and how many items stand before it."""
        bounds = [len(rows) * rank // self.size for rank in (self.rank, self.rank + 1)]
        return rows[bounds[0] : bounds[1]], bounds[0]

    def total(self, value: torch.Tensor) -> float:
        """Return the sum over all processes of a scalar; the same number in each."""
        value = value.detach().double()
        if self.size > 1:
            distributed.all_reduce(value)
        return value.item()

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.size > 1:
            distributed.barrier()


def rank_and_size() -> tuple[int, int]:
    """Return which of how many processes this is."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def best_device() -> torch.device:
    """Return the GPU of this process, or the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


@contextmanager
def join_team() -> Iterator[Team]:
    """Join the processes that the launcher started, NCCL on GPUs and gloo on CPUs; alone where there is no launcher."""
    rank, size = rank_and_size()
    device = best_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size == 1:
        yield Team(0, 1, device)
        return
    if os.environ.get("MASTER_ADDR") in ("127.0.0.1", "localhost"):
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # all on this machine: listen nowhere else
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(rank, size, device)
    finally:
        distributed.destroy_process_group()
