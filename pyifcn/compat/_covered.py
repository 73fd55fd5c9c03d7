"""Which calls with tensors our functions take in the place of another library's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

_jit: Any = torch.jit


def on_cpu(*args: Any, **kwargs: Any) -> bool:
    """Whether all tensors of a call are plain ones on the CPU.

    Nothing traces, compiles or batches them, nor differentiates them forwards.
    """
    if torch.compiler.is_compiling() or _jit.is_tracing():
        return False
    if torch._C._len_torch_dispatch_stack() or torch._C._functorch.peek_interpreter_stack():
        return False
    if torch.autograd.forward_ad._current_level >= 0:
        return False
    values = list(_tensors([*args, *kwargs.values()]))
    return bool(values) and all(
        type(value) in (torch.Tensor, torch.nn.Parameter)
        and value.device.type == "cpu"
        and not value.is_quantized
        for value in values
    )


def without_gradient(*args: Any, **kwargs: Any) -> bool:
    """`on_cpu`, and nothing to be differentiated."""
    if not on_cpu(*args, **kwargs):
        return False
    if not torch.is_grad_enabled():
        return True
    return not any(value.requires_grad for value in _tensors([*args, *kwargs.values()]))


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    """The tensors among arguments, and in lists of them."""
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
