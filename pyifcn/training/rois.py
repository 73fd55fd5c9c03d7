"""Regions of interest: anchors and objects of a view, and the loss of FCIS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from pyifcn.models import FCIS
from pyifcn.models.boxes import best_match, encode
from pyifcn.training.config import Config
from pyifcn.training.distributed import mean_over_batch
from pyifcn.training.windows import instances

__all__ = ["Objects", "objects", "roi_loss"]

_SAME, _OTHER = 0.7, 0.3  # IoU from which an anchor is positive, up to which negative
_FOREGROUND = 0.5  # IoU from which a RoI shows its object
_ROIS = 64  # of a view


@dataclass(frozen=True)
class Objects:
    """A view's objects, and sampled anchors.

    Attributes:
        layers: int32 (L, H, W) as in ``Scene``.
        values: int32 (N,), what the objects' pixels are painted with.
        depth: int64 (N,), in which layer.
        boxes: float32 (N, 4), x1 y1 x2 y2 in pixels.
        classes: int64 (N,), from 1 on.
        anchors: int64 (S, 3), rows of (anchor, y, x).
        positive: bool (S,).
        differences: float32 (S, 4), how an anchor's object differs from it, 0 of negatives.
        chance: float32 (R,), for each RoI that there may be: those with the highest are drawn.
    """

    layers: Tensor
    values: Tensor
    depth: Tensor
    boxes: Tensor
    classes: Tensor
    anchors: Tensor
    positive: Tensor
    differences: Tensor
    chance: Tensor


def objects(
    model: FCIS,
    layers: npt.NDArray[np.int32],
    classes: npt.NDArray[np.int64],
    config: Config,
    rng: np.random.Generator,
) -> Objects:
    """Finds a view's objects and draws anchors, ``windows`` of them, ``positives`` at most.

    An anchor is positive from an IoU of 0.7 with an object on, or if it is an object's best one,
    and negative below 0.3 (Ren et al. 2015, section 3.1.2). Anchors centred in crowds are neither.
    """
    values, depth, boxes, _ = instances(layers)
    height, width = (-(-side // model.stride) for side in layers.shape[-2:])
    anchors = model.anchors(height, width)
    flat, truth = anchors.reshape(-1, 4), torch.from_numpy(boxes)
    overlap, owner, closest = best_match(flat, truth)
    positive = overlap >= _SAME
    positive[closest] = True
    owner[closest] = torch.arange(len(truth))
    negative = (overlap < _OTHER) & ~positive
    middle = layers[:, model.stride // 2 :: model.stride, model.stride // 2 :: model.stride]
    crowd = np.zeros((height, width), bool)
    crowd[: middle.shape[1], : middle.shape[2]] = (middle < 0).any(0)
    negative &= ~torch.from_numpy(crowd).expand(len(anchors), -1, -1).reshape(-1)

    drawn = _draw(positive.numpy(), int(config.windows * config.positives), rng)
    others = _draw(negative.numpy(), config.windows - len(drawn), rng)
    chosen = torch.from_numpy(np.concatenate([drawn, others]))
    differences = torch.zeros(len(chosen), 4)
    if len(drawn):
        matched = chosen[: len(drawn)]
        differences[: len(drawn)] = encode(truth[owner[matched]], flat[matched])
    places = np.unravel_index(chosen.numpy(), anchors.shape[:3])
    return Objects(
        layers=torch.from_numpy(layers),
        values=torch.from_numpy(values),
        depth=torch.from_numpy(depth).long(),
        boxes=truth,
        classes=torch.from_numpy(classes[values - 1]),
        anchors=torch.from_numpy(np.stack(places, 1)),
        positive=torch.arange(len(chosen)) < len(drawn),
        differences=differences,
        chance=torch.from_numpy(rng.random(len(truth) + model.settings.max_proposals, np.float32)),
    )


def _draw(
    where: npt.NDArray[np.bool_], count: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    flat = np.flatnonzero(where)
    return rng.choice(flat, count, replace=False) if len(flat) > count else flat


def roi_loss(
    model: FCIS,
    outputs: tuple[Tensor, ...],
    views: Sequence[Objects],
    config: Config,
) -> dict[str, Tensor]:
    """FCIS's loss: of the RoIs' proposals, and of their classes, masks and boxes.

    Proposals and the objects' own boxes are RoIs; from an IoU of 0.5 on they show their object,
    and up to ``positives`` of 64 a view do. Masks and boxes are learned from those alone.

    Args:
        model: The network.
        outputs: What it scored.
        views: The objects of each view.
        config: ``mask_weight`` is the weight of the masks, 10 in FCIS.

    Returns:
        "loss", and its parts: "objectness" and "anchor" of the anchors' logits and boxes, "class",
        "mask" and "box" of the RoIs.
    """
    pairs, refinements, said = outputs
    objectness, anchor = _anchor_loss(said.float(), views)
    drawn = [
        _draw_rois(model, of_view, view, config)
        for of_view, view in zip(said.detach().float(), views, strict=True)
    ]
    rois, owners = zip(*drawn, strict=True)
    rows = [F.pad(boxes, (1, 0), value=b) for b, boxes in enumerate(rois)]
    found = model.detect(pairs, refinements, torch.cat(rows))

    device = said.device
    classes = torch.cat([_classes(view, of) for view, of in zip(views, owners, strict=True)])
    classes = classes.to(device)
    class_term = F.cross_entropy(found.classes, classes, reduction="sum")
    class_term = mean_over_batch(class_term, len(classes))
    shown = classes > 0
    truth, boxes = zip(
        *(
            _truth(view, of_view, of, model.window)
            for view, (of_view, of) in zip(views, drawn, strict=True)
        ),
        strict=True,
    )
    masks = found.masks[shown, classes[shown]]
    mask_term = F.binary_cross_entropy_with_logits(
        masks, torch.cat(truth).to(device), reduction="sum"
    )
    mask_term = mean_over_batch(mask_term, masks.numel())
    foreground = torch.cat(rows)[shown, 1:]
    wanted = encode(torch.cat(boxes).to(device), foreground)
    box_term = F.smooth_l1_loss(found.refinements[shown], wanted, reduction="sum")
    box_term = mean_over_batch(box_term, len(classes))
    return {
        "loss": objectness + anchor + class_term + config.mask_weight * mask_term + box_term,
        "objectness": objectness.detach(),
        "anchor": anchor.detach(),
        "class": class_term.detach(),
        "mask": mask_term.detach(),
        "box": box_term.detach(),
    }


def _anchor_loss(said: Tensor, views: Sequence[Objects]) -> tuple[Tensor, Tensor]:
    told = said.view(len(said), -1, 5, *said.shape[-2:])
    rows = torch.cat(
        [
            told[b, a, :, y, x]
            for b, (a, y, x) in enumerate(view.anchors.to(said.device).unbind(1) for view in views)
        ]
    )
    positive, wanted = (
        torch.cat([getattr(view, name) for view in views]).to(said.device)
        for name in ("positive", "differences")
    )
    logistic = F.binary_cross_entropy_with_logits(rows[:, 0], positive.float(), reduction="sum")
    box = F.smooth_l1_loss(rows[positive, 1:], wanted[positive], beta=1 / 9, reduction="sum")
    return mean_over_batch(logistic, len(rows)), mean_over_batch(box, len(rows))


def _draw_rois(model: FCIS, said: Tensor, view: Objects, config: Config) -> tuple[Tensor, Tensor]:
    """RoIs float32 (R, 4) of a view, and their objects int64 (R,), -1 for none, on the CPU."""
    size = view.layers.shape[-2], view.layers.shape[-1]
    height, width = (-(-side // model.stride) for side in size)
    proposed = model.propose_rois(said[:, :height, :width].contiguous(), size)
    boxes = torch.cat([view.boxes.to(said.device), proposed])
    overlap, owner, _ = best_match(boxes, view.boxes.to(said.device))
    foreground = (overlap >= _FOREGROUND).cpu()
    order = view.chance[: len(boxes)].argsort(descending=True)
    some = order[foreground[order]][: int(_ROIS * config.positives)]
    others = order[~foreground[order]][: _ROIS - len(some)]
    owners = torch.cat([owner.cpu()[some], torch.full_like(others, -1)])
    return boxes[torch.cat([some, others]).to(boxes.device)], owners


def _classes(view: Objects, owners: Tensor) -> Tensor:
    return torch.where(owners >= 0, F.pad(view.classes, (0, 1))[owners], 0)


def _truth(view: Objects, rois: Tensor, owners: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Of RoIs with an object: its mask at the bins' centres float (R, side, side), its box."""
    kept = owners >= 0
    rois, owners = rois.cpu()[kept], owners[kept]
    height, width = view.layers.shape[-2:]
    bins = (torch.arange(side) + 0.5) / side
    x = (rois[:, :1] + bins * (rois[:, 2:3] - rois[:, :1])).long().clamp(0, width - 1)
    y = (rois[:, 1:2] + bins * (rois[:, 3:] - rois[:, 1:2])).long().clamp(0, height - 1)
    pixels = view.layers[view.depth[owners][:, None, None], y[:, :, None], x[:, None]]
    return (pixels == view.values[owners][:, None, None]).float(), view.boxes[owners]
