"""Joining the processes that torchrun started."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous

from pyifcn.training.distributed import joined, total

__all__ = ["check_joined", "processes"]

_PATIENCE = 1800  # seconds; nodes of a cluster need not start together
_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@contextmanager
def processes(device: str | torch.device | None = None) -> Iterator[torch.device]:
    """Joins the processes that ``torchrun`` started, for as long as the block lasts.

    They talk by NCCL when they train on GPUs, otherwise by gloo. A program that ``torchrun`` did
    not start is one process, and nothing is joined.

    Args:
        device: "cuda" or "cpu"; the GPU if there is one.

    Yields:
        The device of this process: its own GPU, or the CPU.

    Raises:
        ValueError: If torchrun's variables are incomplete or contradict each other, or there are
            fewer GPUs than processes.
        ConnectionError: If another process does not come, or ends before the block does.

    Example:
        >>> with processes("cpu") as device:
        ...     device
        device(type='cpu')
    """
    launched = _launched()
    chosen = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if launched is None or joined():
        yield chosen
        return
    if chosen.type == "cuda":
        chosen = _own_gpu(launched["LOCAL_RANK"])
    try:
        _join(launched["RANK"], launched["WORLD_SIZE"], by_nccl=chosen.type == "cuda")
        yield chosen
        total(torch.zeros(1))  # so that none leaves before the last checkpoint is written
    except RuntimeError as error:
        # The group stays: to wait for processes that are gone would hang. It ends with this one.
        if isinstance(error, dist.DistError) or "gloo" in str(error).lower():
            reason = re.sub(r"\[/\S*\] ?", "", str(error)).partition(". ")[0].strip()
            raise ConnectionError(f"another process of the training is gone: {reason}") from error
        raise
    dist.destroy_process_group()


def check_joined() -> None:
    """Refuses what would let several processes do, and write, the same.

    Raises:
        ValueError: If torchrun started several processes that have not joined.
    """
    if not joined() and _launched() is not None:
        raise ValueError(
            "torchrun started several processes: train within `with training.processes():`"
        )


def _join(rank: int, world_size: int, *, by_nccl: bool) -> None:
    store, _, _ = next(rendezvous("env://"))
    backend = "cpu:gloo,cuda:nccl" if by_nccl and dist.is_nccl_available() else "gloo"
    fresh = PrefixStore(_meet(store, rank, world_size), store)
    dist.init_process_group(backend, store=fresh, rank=rank, world_size=world_size)


def _meet(store: Store, rank: int, world_size: int) -> str:
    """Waits for the other processes; returns a name for this start, the same in all of them.

    torchrun keeps its store when it starts processes again, and in it the addresses of those that
    were killed, which must not be taken for those of their successors (PyTorch issue 135712).
    So each process writes a name that no other ever had. The first collects them until all others
    have seen theirs in its collection: then none of these is of a process that is gone.
    """
    own = uuid.uuid4().hex
    store.set(f"pyifcn/{rank}", own)
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if rank == 0:
            others = [store.get(f"pyifcn/{other}").decode() for other in range(1, world_size)]
            store.set("pyifcn/all", " ".join([own, *others]))
            if all(store.check([f"pyifcn/{own}/{other}"]) for other in others):
                return own
        else:
            first, *others = store.get("pyifcn/all").decode().split()
            if own in others:
                store.set(f"pyifcn/{first}/{own}", "seen")
                return first
        time.sleep(0.02)
    raise ConnectionError(f"not all of {world_size} processes came within {_PATIENCE} seconds")


def _launched() -> dict[str, int] | None:
    """What torchrun says about this process; None if it did not start it."""
    given = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    if "RANK" not in given and "WORLD_SIZE" not in given:
        return None
    missing = [name for name in _VARIABLES if name not in given]
    if missing:
        raise ValueError(
            f"{next(iter(given))} is set but {missing[0]} is not: torchrun, which starts several "
            "processes, sets both"
        )
    numbers = {}
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        if not given[name].isdecimal():
            raise ValueError(f"{name} must be a number from 0, got {given[name]!r}")
        numbers[name] = int(given[name])
    for name in ("RANK", "LOCAL_RANK"):
        if numbers[name] >= numbers["WORLD_SIZE"]:
            size = numbers["WORLD_SIZE"]
            raise ValueError(f"{name} must be less than WORLD_SIZE, got {numbers[name]} and {size}")
    return numbers if numbers["WORLD_SIZE"] > 1 else None


def _own_gpu(local_rank: int) -> torch.device:
    count = torch.cuda.device_count()
    if local_rank >= count:
        raise ValueError(
            f"torchrun started process {local_rank + 1} of this machine, which has {count} GPUs: "
            "give --nproc-per-node no more than that, or --device cpu"
        )
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
