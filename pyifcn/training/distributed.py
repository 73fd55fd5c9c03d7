"""Training by several processes: everything that knows there may be more than one.

Each process takes every n-th view of a batch, and DistributedDataParallel averages their gradients.
Together they compute what one alone would: means are over the whole batch (``mean_over_batch``),
views are padded to one size (``largest``) and normalised by joint statistics (``batch_norm.py``).
With one process all functions here return what they are given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = [
    "agree",
    "averages",
    "is_first",
    "largest",
    "mean_over_batch",
    "parallel",
    "places",
    "processes",
    "total",
    "world_size",
]

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
    if launched is None or _joined():
        yield chosen
        return
    if chosen.type == "cuda":
        chosen = _own_gpu(launched["LOCAL_RANK"])
    by_nccl = chosen.type == "cuda" and dist.is_nccl_available()
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if by_nccl else "gloo")
        yield chosen
        total(torch.zeros(1))  # so that none leaves before the last checkpoint is written
    except RuntimeError as error:
        # The group stays: to wait for processes that are gone would hang. It ends with this one.
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            reason = str(error).strip().partition("\n")[0]
            raise ConnectionError(
                f"the processes that train together lost each other: {reason}"
            ) from error
        raise
    dist.destroy_process_group()


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


def world_size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if _joined() else 1


def is_first() -> bool:
    """Whether this is the process that writes and speaks for all."""
    return not _joined() or dist.get_rank() == 0


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def places(batch: int) -> range:
    """The places of a batch that are this process's.

    Raises:
        ValueError: If there are fewer places than processes, or torchrun started several processes
            that have not joined.
    """
    if not _joined():
        if _launched() is not None:
            raise ValueError(
                "torchrun started several processes: train within `with training.processes():`"
            )
        return range(batch)
    if batch < world_size():
        raise ValueError(
            f"batch must be at least the number of processes, got {batch} for {world_size()}"
        )
    return range(dist.get_rank(), batch, world_size())


def agree(values: Mapping[str, Any]) -> None:
    """Checks that all processes were given the same.

    Raises:
        ValueError: With the first name whose value differs.
    """
    if world_size() == 1:
        return
    given: list[Any] = [None] * world_size()
    dist.all_gather_object(given, dict(values))
    for name, value in given[0].items():
        for other in given:
            if other[name] != value:
                raise ValueError(
                    f"{name} must be the same in all processes, got {value} and {other[name]}"
                )


def parallel(model: nn.Module, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of a model whose gradients are averaged over processes.

    Processes that were given other weights than the first get the first's.

    Args:
        model: Whose parameters the function uses.
        function: Maps tensors to tensors; a method of the model, for example.
    """
    if world_size() == 1:
        return function
    own = next(model.parameters()).device
    return nn.parallel.DistributedDataParallel(
        _Call(model, function),
        device_ids=[own] if own.type == "cuda" else None,
        broadcast_buffers=False,  # batch norm keeps them equal
        gradient_as_bucket_view=True,
    )


class _Call(nn.Module):
    """A function as the forward pass of a model."""

    def __init__(self, model: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.model = model
        self.function = function

    def forward(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def total(value: Tensor) -> Tensor:
    """The sum of a tensor over all processes, which carries no gradient."""
    if world_size() == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value


def mean_over_batch(summed: Tensor, count: int | Tensor) -> Tensor:
    """This process's part of a mean over the whole batch; with one process, the mean.

    The average of all parts is the mean, as DistributedDataParallel averages their gradients. A
    mean over nothing is 0.

    Args:
        summed: The sum over this process's places.
        count: How many were summed.

    Example:
        >>> mean_over_batch(torch.tensor(6.0), 4)
        tensor(1.5000)
    """
    everywhere = total(torch.as_tensor(count, device=summed.device)).clamp_min(1)
    return summed * world_size() / everywhere


def averages(parts: Mapping[str, Tensor]) -> dict[str, float]:
    """The average over processes of one-element tensors by name."""
    values = total(torch.stack([part.detach() for part in parts.values()])) / world_size()
    return dict(zip(parts, values.tolist(), strict=True))


def largest(sizes: Sequence[int]) -> list[int]:
    """The largest value in any process of each of some numbers."""
    if world_size() == 1:
        return list(sizes)
    values = torch.tensor(sizes)
    dist.all_reduce(values, dist.ReduceOp.MAX)
    return [int(value) for value in values]
