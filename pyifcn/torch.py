"""The operators as torch.ops.pyifcn: for autograd, torch.compile, export and tensor subclasses.

Importing this module registers them. The functions of `pyifcn` come here by themselves where a
call cannot go straight to the compiled code.
"""

from typing import Any, List  # noqa: UP035

import torch

from pyifcn.ops.assemble import run_assemble, run_assemble_backward, run_assemble_dense
from pyifcn.ops.assemble_prototypes import (
    run_assemble_prototypes,
    run_assemble_prototypes_backward,
)
from pyifcn.ops.blend import run_blend, run_blend_backward
from pyifcn.ops.fast_nms import run_fast_nms
from pyifcn.ops.nms import run_batched_nms, run_batched_nms_groups, run_nms, run_nms_groups
from pyifcn.ops.nms_from_iou import run_nms_from_iou
from pyifcn.ops.nms_padded import run_nms_padded
from pyifcn.ops.paste_masks import run_paste_masks
from pyifcn.ops.ps_roi import run_ps_roi, run_ps_roi_backward
from pyifcn.ops.soft_nms import run_soft_nms
from pyifcn.ops.swap_align2nat import (
    run_swap_align2nat,
    run_swap_align2nat_backward,
    swapped_shape,
)

ops = torch.ops.pyifcn
Tensor = torch.Tensor
Ints = List[int]  # noqa: UP006  torch 2.6 reads neither list[int] nor a name for it in quotes


@torch.library.custom_op("pyifcn::assemble", mutates_args=())
def _assemble(
    score_maps: Tensor, windows: Tensor, size: int, cells: str, pad_value: float
) -> Tensor:
    return run_assemble(score_maps, windows, size, cells, pad_value)


@_assemble.register_fake
def _(score_maps: Tensor, windows: Tensor, size: int, cells: str, pad_value: float) -> Tensor:
    return score_maps.new_empty((windows.shape[0], size, size))


@torch.library.custom_op("pyifcn::assemble_dense", mutates_args=())
def _assemble_dense(score_maps: Tensor, size: int, cells: str, pad_value: float) -> Tensor:
    return run_assemble_dense(score_maps, size, cells, pad_value)


@_assemble_dense.register_fake
def _(score_maps: Tensor, size: int, cells: str, pad_value: float) -> Tensor:
    images, _, height, width = score_maps.shape
    return score_maps.new_empty((images, height, width, size, size))


@torch.library.custom_op("pyifcn::assemble_backward", mutates_args=())
def _assemble_backward(
    grad_out: Tensor, windows: Tensor | None, maps_shape: Ints, cells: str
) -> Tensor:
    return run_assemble_backward(grad_out, windows, tuple(maps_shape), cells)


@_assemble_backward.register_fake
def _(grad_out: Tensor, windows: Tensor | None, maps_shape: Ints, cells: str) -> Tensor:
    return grad_out.new_empty(maps_shape)


def _save_assemble(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    score_maps, windows, _, cells, _ = inputs
    ctx.save_for_backward(windows)
    ctx.maps_shape, ctx.cells = list(score_maps.shape), cells


def _assemble_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (windows,) = ctx.saved_tensors
    return ops.assemble_backward(grad, windows, ctx.maps_shape, ctx.cells), None, None, None, None


def _save_assemble_dense(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    score_maps, _, cells, _ = inputs
    ctx.maps_shape, ctx.cells = list(score_maps.shape), cells


def _assemble_dense_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return ops.assemble_backward(grad, None, ctx.maps_shape, ctx.cells), None, None, None


# The gradient is linear in grad_out, and assembling is its derivative: second derivatives work.
def _save_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad_out, windows, _, cells = inputs
    ctx.save_for_backward(windows)
    ctx.size, ctx.cells = grad_out.shape[-1], cells


def _backward_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (windows,) = ctx.saved_tensors
    if windows is None:
        return ops.assemble_dense(grad, ctx.size, ctx.cells, 0.0), None, None, None
    return ops.assemble(grad, windows, ctx.size, ctx.cells, 0.0), None, None, None


_assemble.register_autograd(_assemble_gradients, setup_context=_save_assemble)
_assemble_dense.register_autograd(_assemble_dense_gradients, setup_context=_save_assemble_dense)
_assemble_backward.register_autograd(_backward_gradients, setup_context=_save_backward)


def _kept(like: Tensor) -> Tensor:
    """In a fake kernel: so many indices as only a real one can tell."""
    count = torch.library.get_ctx().new_dynamic_size()
    return like.new_empty((count,), dtype=torch.int64)


@torch.library.custom_op("pyifcn::nms", mutates_args=())
def _nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return run_nms(boxes, scores, iou_threshold)


@_nms.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    return _kept(boxes)


@torch.library.custom_op("pyifcn::batched_nms", mutates_args=())
def _batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    return run_batched_nms(boxes, scores, idxs, iou_threshold)


@_batched_nms.register_fake
def _(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    return _kept(boxes)


@torch.library.custom_op("pyifcn::nms_groups", mutates_args=())
def _nms_groups(boxes: Tensor, scores: Tensor, iou_threshold: float) -> tuple[Tensor, Tensor]:
    return run_nms_groups(boxes, scores, iou_threshold)


@_nms_groups.register_fake
def _(boxes: Tensor, scores: Tensor, iou_threshold: float) -> tuple[Tensor, Tensor]:
    return _kept(boxes), boxes.new_empty((boxes.shape[0],), dtype=torch.int64)


@torch.library.custom_op("pyifcn::batched_nms_groups", mutates_args=())
def _batched_nms_groups(
    boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float
) -> tuple[Tensor, Tensor]:
    return run_batched_nms_groups(boxes, scores, idxs, iou_threshold)


@_batched_nms_groups.register_fake
def _(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> tuple[Tensor, Tensor]:
    return _kept(boxes), boxes.new_empty((boxes.shape[0],), dtype=torch.int64)


@torch.library.custom_op("pyifcn::fast_nms", mutates_args=())
def _fast_nms(boxes: Tensor, scores: Tensor, idxs: Tensor | None, iou_threshold: float) -> Tensor:
    return run_fast_nms(boxes, scores, idxs, iou_threshold)


@_fast_nms.register_fake
def _(boxes: Tensor, scores: Tensor, idxs: Tensor | None, iou_threshold: float) -> Tensor:
    return _kept(boxes)


@torch.library.custom_op("pyifcn::nms_from_iou", mutates_args=())
def _nms_from_iou(iou: Tensor, scores: Tensor, iou_threshold: float) -> tuple[Tensor, Tensor]:
    return run_nms_from_iou(iou, scores, iou_threshold)


@_nms_from_iou.register_fake
def _(iou: Tensor, scores: Tensor, iou_threshold: float) -> tuple[Tensor, Tensor]:
    return _kept(iou), iou.new_empty((iou.shape[0],), dtype=torch.int64)


@torch.library.custom_op("pyifcn::paste_masks", mutates_args=())
def _paste_masks(
    masks: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    threshold: float | None,
    convention: str,
    out: str,
) -> Tensor:
    return run_paste_masks(masks, boxes, height, width, threshold, convention, out)


@_paste_masks.register_fake
def _(
    masks: Tensor,
    boxes: Tensor,
    height: int,
    width: int,
    threshold: float | None,
    convention: str,
    out: str,
) -> Tensor:
    return masks.new_empty((masks.shape[0], height, width), dtype=getattr(torch, out))


@torch.library.custom_op("pyifcn::nms_padded", mutates_args=())
def _nms_padded(
    boxes: Tensor,
    scores: Tensor,
    idxs: Tensor | None,
    iou_threshold: float,
    max_output: int,
    score_threshold: float | None,
) -> tuple[Tensor, Tensor]:
    return run_nms_padded(boxes, scores, idxs, iou_threshold, max_output, score_threshold)


@_nms_padded.register_fake
def _(
    boxes: Tensor,
    scores: Tensor,
    idxs: Tensor | None,
    iou_threshold: float,
    max_output: int,
    score_threshold: float | None,
) -> tuple[Tensor, Tensor]:
    images = boxes.shape[0]
    indices = boxes.new_empty((images, max_output), dtype=torch.int64)
    return indices, boxes.new_empty((images,), dtype=torch.int64)


@torch.library.custom_op("pyifcn::soft_nms", mutates_args=())
def _soft_nms(
    boxes: Tensor,
    scores: Tensor,
    idxs: Tensor | None,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: str,
) -> tuple[Tensor, Tensor]:
    return run_soft_nms(boxes, scores, idxs, iou_threshold, sigma, min_score, method)


@_soft_nms.register_fake
def _(
    boxes: Tensor,
    scores: Tensor,
    idxs: Tensor | None,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: str,
) -> tuple[Tensor, Tensor]:
    keep = _kept(scores)
    return keep, scores.new_empty(keep.shape)


@torch.library.custom_op("pyifcn::ps_roi", mutates_args=())
def _ps_roi(
    maps: Tensor,
    boxes: Tensor,
    rule: str,
    grid: Ints,
    size: Ints,
    scale: float,
    ratio: int,
) -> Tensor:
    return run_ps_roi(maps, boxes, rule, grid, size, scale, ratio)


@_ps_roi.register_fake
def _(
    maps: Tensor,
    boxes: Tensor,
    rule: str,
    grid: Ints,
    size: Ints,
    scale: float,
    ratio: int,
) -> Tensor:
    return maps.new_empty((boxes.shape[0], maps.shape[1] // (grid[0] * grid[1]), *size))


@torch.library.custom_op("pyifcn::ps_roi_backward", mutates_args=())
def _ps_roi_backward(
    grad_out: Tensor,
    boxes: Tensor,
    maps_shape: Ints,
    rule: str,
    grid: Ints,
    scale: float,
    ratio: int,
) -> Tensor:
    return run_ps_roi_backward(grad_out, boxes, maps_shape, rule, grid, scale, ratio)


@_ps_roi_backward.register_fake
def _(
    grad_out: Tensor,
    boxes: Tensor,
    maps_shape: Ints,
    rule: str,
    grid: Ints,
    scale: float,
    ratio: int,
) -> Tensor:
    return grad_out.new_empty(maps_shape)


def _save_ps_roi(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    maps, boxes, rule, grid, _, scale, ratio = inputs
    ctx.save_for_backward(boxes)
    # torchvision's gradient of "pool" reaches a row and a column that its forward pass leaves out.
    rule = "pool_whole" if rule == "pool" else rule
    ctx.arguments = list(maps.shape), rule, grid, scale, ratio


def _ps_roi_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (boxes,) = ctx.saved_tensors
    return ops.ps_roi_backward(grad, boxes, *ctx.arguments), *(None,) * 6


def _save_ps_roi_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    grad_out, boxes, _, rule, grid, scale, ratio = inputs
    ctx.save_for_backward(boxes)
    ctx.arguments = rule, grid, list(grad_out.shape[2:]), scale, ratio


def _ps_roi_backward_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    (boxes,) = ctx.saved_tensors
    return ops.ps_roi(grad, boxes, *ctx.arguments), *(None,) * 6


_ps_roi.register_autograd(_ps_roi_gradients, setup_context=_save_ps_roi)
_ps_roi_backward.register_autograd(_ps_roi_backward_gradients, setup_context=_save_ps_roi_backward)


@torch.library.custom_op("pyifcn::assemble_prototypes", mutates_args=())
def _assemble_prototypes(
    prototypes: Tensor,
    coefficients: Tensor,
    boxes: Tensor | None,
    images: Tensor | None,
    sigmoid: bool,
) -> Tensor:
    return run_assemble_prototypes(prototypes, coefficients, boxes, images, sigmoid)


@_assemble_prototypes.register_fake
def _(
    prototypes: Tensor,
    coefficients: Tensor,
    boxes: Tensor | None,
    images: Tensor | None,
    sigmoid: bool,
) -> Tensor:
    return prototypes.new_empty((coefficients.shape[0], *prototypes.shape[2:]))


@torch.library.custom_op("pyifcn::assemble_prototypes_backward", mutates_args=())
def _assemble_prototypes_backward(
    grad_out: Tensor,
    out: Tensor | None,
    prototypes: Tensor,
    coefficients: Tensor,
    boxes: Tensor | None,
    images: Tensor | None,
) -> tuple[Tensor, Tensor]:
    return run_assemble_prototypes_backward(grad_out, out, prototypes, coefficients, boxes, images)


@_assemble_prototypes_backward.register_fake
def _(
    grad_out: Tensor,
    out: Tensor | None,
    prototypes: Tensor,
    coefficients: Tensor,
    boxes: Tensor | None,
    images: Tensor | None,
) -> tuple[Tensor, Tensor]:
    return prototypes.new_empty(prototypes.shape), coefficients.new_empty(coefficients.shape)


def _save_assemble_prototypes(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, sigmoid = inputs
    ctx.save_for_backward(output if sigmoid else None, *tensors)


def _assemble_prototypes_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *ops.assemble_prototypes_backward(grad, *ctx.saved_tensors), None, None, None


_assemble_prototypes.register_autograd(
    _assemble_prototypes_gradients, setup_context=_save_assemble_prototypes
)


@torch.library.custom_op("pyifcn::blend", mutates_args=())
def _blend(bases: Tensor, attention: Tensor, sigmoid: bool) -> Tensor:
    return run_blend(bases, attention, sigmoid)


@_blend.register_fake
def _(bases: Tensor, attention: Tensor, sigmoid: bool) -> Tensor:
    return bases.new_empty((bases.shape[0], *bases.shape[2:]))


@torch.library.custom_op("pyifcn::blend_backward", mutates_args=())
def _blend_backward(
    grad_out: Tensor, out: Tensor | None, bases: Tensor, attention: Tensor
) -> tuple[Tensor, Tensor]:
    return run_blend_backward(grad_out, out, bases, attention)


@_blend_backward.register_fake
def _(
    grad_out: Tensor, out: Tensor | None, bases: Tensor, attention: Tensor
) -> tuple[Tensor, Tensor]:
    return bases.new_empty(bases.shape), attention.new_empty(attention.shape)


def _save_blend(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    bases, attention, sigmoid = inputs
    ctx.save_for_backward(output if sigmoid else None, bases, attention)


def _blend_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *ops.blend_backward(grad, *ctx.saved_tensors), None


_blend.register_autograd(_blend_gradients, setup_context=_save_blend)


@torch.library.custom_op("pyifcn::swap_align2nat", mutates_args=())
def _swap_align2nat(values: Tensor, lambda_val: int, pad_val: float) -> Tensor:
    return run_swap_align2nat(values, lambda_val, pad_val)


@_swap_align2nat.register_fake
def _(values: Tensor, lambda_val: int, pad_val: float) -> Tensor:
    return values.new_empty(swapped_shape(values.shape, lambda_val))


@torch.library.custom_op("pyifcn::swap_align2nat_backward", mutates_args=())
def _swap_align2nat_backward(grad_out: Tensor, values_shape: Ints, lambda_val: int) -> Tensor:
    return run_swap_align2nat_backward(grad_out, values_shape, lambda_val)


@_swap_align2nat_backward.register_fake
def _(grad_out: Tensor, values_shape: Ints, lambda_val: int) -> Tensor:
    return grad_out.new_empty(values_shape)


def _save_swap_align2nat(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    values, ctx.lambda_val, _ = inputs
    ctx.values_shape = list(values.shape)


def _swap_align2nat_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return ops.swap_align2nat_backward(grad, ctx.values_shape, ctx.lambda_val), None, None


# The gradient is linear in grad_out, and swapping with pads of 0 is its derivative.
def _save_swap_align2nat_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.lambda_val = inputs[2]


def _swap_align2nat_backward_gradients(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return ops.swap_align2nat(grad, ctx.lambda_val, 0.0), None, None


_swap_align2nat.register_autograd(_swap_align2nat_gradients, setup_context=_save_swap_align2nat)
_swap_align2nat_backward.register_autograd(
    _swap_align2nat_backward_gradients, setup_context=_save_swap_align2nat_backward
)
