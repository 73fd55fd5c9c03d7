"""Training by several processes: everything that knows there may be more than one.

Each process takes every n-th view of a batch, and DistributedDataParallel averages their gradients.
Together they compute what one alone would: means are over the whole batch (``mean_over_batch``),
views are padded to one size (``largest``) and normalised by joint statistics (``batch_norm.py``).
With one process all functions here return what they are given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

__all__ = [
    "agree",
    "averages",
    "is_first",
    "joined",
    "largest",
    "mean_over_batch",
    "parallel",
    "places",
    "total",
    "world_size",
]


def world_size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if joined() else 1


def is_first() -> bool:
    """Whether this is the process that writes and speaks for all."""
    return not joined() or dist.get_rank() == 0


def joined() -> bool:
    """Whether this process belongs to a group."""
    return dist.is_available() and dist.is_initialized()


def places(batch: int) -> range:
    """The places of a batch that are this process's.

    Raises:
        ValueError: If there are fewer places than processes.
    """
    if batch < world_size():
        raise ValueError(
            f"batch must be at least the number of processes, got {batch} for {world_size()}"
        )
    return range(dist.get_rank() if joined() else 0, batch, world_size())


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
        gradient_as_bucket_view=True,
        static_graph=True,  # parameters that the function does not use are left alone
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
