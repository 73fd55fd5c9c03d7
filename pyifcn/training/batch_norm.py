"""Batch normalisation of a batch that is spread over processes, on CPUs and GPUs alike."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pyifcn.training.distributed import total, world_size

__all__ = ["average_running_statistics", "joint_batch_norm"]


@contextmanager
def joint_batch_norm(model: nn.Module) -> Iterator[None]:
    """Lets batch normalisation in training use the statistics of all processes together.

    For as long as the block lasts; with one process nothing changes. Layers stay what they are, so
    a network's state and architecture do not depend on how many processes train it.

    Raises:
        ValueError: If a layer is of a kind that cannot be joined.
    """
    layers = _layers(model) if world_size() > 1 else []
    for layer in layers:
        layer.forward = partial(_forward, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


@torch.no_grad()
def average_running_statistics(model: nn.Module) -> None:
    """Gives running statistics, which each process has followed by itself, their mean.

    With one process nothing changes.
    """
    if world_size() == 1:
        return
    running = [
        value
        for layer in model.modules()
        if isinstance(layer, _BatchNorm)
        for value in (layer.running_mean, layer.running_var)
        if value is not None
    ]
    if running:
        means = total(torch.cat(running)) / world_size()
        parts = torch.split(means, [len(value) for value in running])
        for value, mean in zip(running, parts, strict=True):
            value.copy_(mean)


def _layers(model: nn.Module) -> list[_BatchNorm]:
    layers = []
    for name, layer in model.named_modules():
        if not isinstance(layer, _BatchNorm) or isinstance(layer, nn.SyncBatchNorm):
            continue
        if type(layer).forward is not _BatchNorm.forward:
            raise ValueError(
                f"{name} is a {type(layer).__name__}, which several processes cannot share: make "
                "it a SyncBatchNorm, or train with one process"
            )
        layers.append(layer)
    return layers


def _forward(layer: _BatchNorm, x: Tensor) -> Tensor:
    """What ``_BatchNorm.forward`` does, with the joint mean and variance."""
    if not layer.training and layer.running_mean is not None:
        return _BatchNorm.forward(layer, x)
    layer._check_input_dim(x)  # type: ignore[no-untyped-call]
    joint = _Normalize.apply(x, layer.weight, layer.bias, layer.eps)  # type: ignore[no-untyped-call]
    y, count, mean, variance = joint
    if layer.training and layer.track_running_stats:
        _follow(layer, count, mean, variance)
    return y


@torch.no_grad()
def _follow(layer: _BatchNorm, count: Tensor, mean: Tensor, variance: Tensor) -> None:
    """Moves the running statistics, of which the variance is the unbiased one."""
    tracked, running_mean, running_var = (
        layer.num_batches_tracked,
        layer.running_mean,
        layer.running_var,
    )
    assert tracked is not None
    assert running_mean is not None
    assert running_var is not None
    tracked += 1
    momentum = 1 / float(tracked) if layer.momentum is None else layer.momentum
    running_mean.lerp_(mean.to(running_mean.dtype), momentum)
    unbiased = variance * (count / (count - 1).clamp_min(1))
    running_var.lerp_(unbiased.to(running_var.dtype), momentum)


class _Normalize(torch.autograd.Function):
    """``(x - mean) / sqrt(variance + eps) * weight + bias`` by the joint statistics."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        count, mean, variance = _joint_statistics(x)
        y = _normalized(x, weight, bias, mean, variance, eps)
        ctx.save_for_backward(x, weight, mean, variance, count)
        ctx.eps = eps
        ctx.mark_non_differentiable(count, mean, variance)
        return y, count, mean, variance

    @staticmethod
    def backward(
        ctx: Any, dy: Tensor, *_: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None, None]:
        """The gradient with fixed statistics, less what flows through them.

        With z the normalised x, of which ``joint`` has the sums over the whole batch:
        dx = weight / deviation * (dy - mean(dy) - z * mean(dy * z)).
        """
        x, weight, mean, variance, count = ctx.saved_tensors
        dx, d_weight, d_bias = torch.ops.aten.native_batch_norm_backward(
            dy.contiguous(memory_format=_layout(x)),
            *(x, weight, mean, variance, None, None, False, ctx.eps, [True, True, True]),
        )
        joint = total(torch.stack([d_weight, d_bias])) / count
        scale = (variance + ctx.eps).rsqrt() * (1 if weight is None else weight)
        dx += _normalized(x, -scale * joint[0], -scale * joint[1], mean, variance, ctx.eps)
        affine = weight is not None
        return dx, d_weight if affine else None, d_bias if affine else None, None


def _normalized(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    eps: float,
) -> Tensor:
    return torch.batch_norm(x, weight, bias, mean, variance, False, 0.0, eps, False)


def _joint_statistics(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The values a channel, their mean and biased variance over all processes, at least float32."""
    channels = x.shape[1]
    scratch = x.new_zeros(2, channels, dtype=torch.promote_types(x.dtype, torch.float32))
    mean, variance = torch.batch_norm_update_stats(x, scratch[0], scratch[1], 0.0)
    mean, variance = mean.double(), variance.double()
    count = mean.new_full((1,), x.numel() // channels)
    sums = total(torch.cat([count, count * mean, count * (variance + mean**2)]))
    count, mean, square = sums[:1], sums[1:-channels], sums[-channels:]
    mean, square = mean / count, square / count
    variance = (square - mean**2).clamp_min(0)
    return count.to(scratch), mean.to(scratch), variance.to(scratch)


def _layout(x: Tensor) -> torch.memory_format:
    last = x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format
