"""The loss over sampled windows, of InstanceFCN and DeepMask."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pyifcn.training.config import Config
from pyifcn.training.distributed import mean_over_batch
from pyifcn.training.windows import Windows

__all__ = ["negatives", "window_loss"]

_OUTSIDE = -20.0  # the logit of pixels outside the image: background, at no loss


def window_loss(
    score_maps: Tensor,
    objectness: Tensor,
    views: Sequence[Windows],
    config: Config,
    *,
    masks_at: Callable[[Tensor, Tensor, float], Tensor],
) -> dict[str, Tensor]:
    """The paper's loss: a logistic loss of each window's score, and of its assembled mask.

    Args:
        score_maps: float (B, C, h, w), what ``masks_at`` takes.
        objectness: float (B, h, w) logits.
        views: The windows of each of the B views.
        config: Weights and choices.
        masks_at: The network's ``WindowNetwork.masks_at``.

    Returns:
        "loss", what to minimise, and its parts "objectness" and "mask" as means over windows and
        "quality", the mean IoU of positive windows' masks with their truth. Means are over the
        batches of all processes: see ``mean_over_batch``.
    """
    device = score_maps.device
    score_maps, objectness = score_maps.float(), objectness.float()
    rows = [
        torch.cat([torch.full((len(v.centres), 1), b), torch.from_numpy(v.centres)], 1)
        for b, v in enumerate(views)
    ]
    windows = torch.cat(rows).to(device)
    truth, areas, positive = (
        torch.cat([torch.from_numpy(getattr(v, name)) for v in views]).to(device)
        for name in ("truth", "areas", "positive")
    )
    outside = negatives(objectness.detach(), views, config)

    masks = masks_at(score_maps, windows, _OUTSIDE)
    target, quality = _window_targets(masks, truth, areas, positive, config)
    everywhere = torch.cat([windows, outside])
    logits = objectness[everywhere.unbind(1)]
    target = torch.cat([target, target.new_zeros(len(outside))])
    score_term = F.binary_cross_entropy_with_logits(logits, target, reduction="sum")
    score_term = mean_over_batch(score_term, len(target))

    shown, wanted = masks[positive], truth[positive]
    if config.mask_negatives:
        empty = masks_at(score_maps, outside, _OUTSIDE)
        shown, wanted = torch.cat([shown, empty]), torch.cat([wanted, torch.zeros_like(empty)])
    mask_term = F.binary_cross_entropy_with_logits(shown, wanted, reduction="sum")
    mask_term = mean_over_batch(mask_term, shown.numel())
    return {
        "loss": score_term + config.mask_weight * mask_term,
        "objectness": score_term.detach(),
        "mask": mask_term.detach(),
        "quality": quality,
    }


def _window_targets(
    masks: Tensor, truth: Tensor, areas: Tensor, positive: Tensor, config: Config
) -> tuple[Tensor, Tensor]:
    """What objectness should say at windows with an instance, and the mean IoU of positives."""
    with torch.no_grad():
        shown = (masks > 0).float()
        common = (shown * truth).sum((1, 2))
        iou = common / (shown.sum((1, 2)) + areas - common).clamp_min(1e-6)
        quality = mean_over_batch((iou * positive).sum(), positive.sum())
    return (iou if config.quality else positive.float()), quality


def negatives(objectness: Tensor, views: Sequence[Windows], config: Config) -> Tensor:
    """Draws negative windows, as many as bring each view to ``config.windows``.

    Args:
        objectness: float (B, h, w).
        views: The windows of each view.
        config: ``hardest`` of them have the highest objectness, the rest is random.

    Returns:
        int64 (N, 3) rows (image, y, x) on objectness's device.
    """
    rows = []
    for image, view in enumerate(views):
        height, width = view.chance.shape
        count = min(max(config.windows - len(view.centres), 0), int(np.count_nonzero(view.chance)))
        hard = round(count * config.hardest)
        chance = torch.from_numpy(view.chance).to(objectness.device)
        scores = objectness[image, :height, :width].masked_fill(chance == 0, -torch.inf)
        chosen = scores.flatten().topk(hard).indices
        chance = chance.flatten().index_fill(0, chosen, 0)
        chosen = torch.cat([chosen, chance.topk(count - hard).indices])
        column = torch.full_like(chosen, image)
        rows.append(torch.stack([column, chosen // width, chosen % width], 1))
    return torch.cat(rows)
