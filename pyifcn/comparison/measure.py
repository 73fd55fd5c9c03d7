"""What is measured of a trained network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from pyifcn.data import Sample, Truth
from pyifcn.evaluation import average_precision, average_recall, detection_quality
from pyifcn.models import FCIS, Instances, Network, WindowNetwork

if TYPE_CHECKING:
    from pyifcn.ops.propose import Proposals

__all__ = ["measure"]

_SIDE = 256  # pixels of the square image whose FLOPs are counted
_APART = ("backbone", "objectness", "rois")  # what is not the head's masks


def measure(model: Network, data: Iterable[Sample], count: int) -> dict[str, Any]:
    """Measures a network on images with their truths.

    Args:
        model: In evaluation mode.
        data: The images.
        count: How many, for a progress bar.

    Returns:
        "AR@10", "AR@100", "AR@1000" of proposals where the network makes them, else of all that it
        predicts; "quality" TP / (TP + FP + FN) at IoU 0.5 of what it predicts; for networks with
        categories "mAP@0.5" and "mAP@0.7", for FCIS also "... without voting"; "head parameters",
        "head GFLOP" of an image of 256 x 256 at its own size, "trunk GFLOP", and "seconds" an
        image.
    """
    truths: list[Truth] = []
    ranked: list[tuple[Any, Any]] = []
    likely: list[tuple[Any, Any]] = []
    labelled: list[Instances] = []
    unvoted: list[Instances] = []
    seconds = 0.0
    for sample in tqdm(data, "measuring", count, leave=False, unit="image", disable=None):
        truths.append(
            Truth(sample.masks, sample.labels, sample.crowd, sample.areas, sample.image_id)
        )
        start = time.perf_counter()
        if isinstance(model, WindowNetwork):
            proposals = cast("Proposals[torch.Tensor]", model.propose(sample.image))
            best = proposals.masks, proposals.scores
            seconds += time.perf_counter() - start
            likely.append(_host(model.select(proposals)))
        else:
            found = model.predict(sample.image, score_threshold=0)
            best = found.masks, found.scores
            seconds += time.perf_counter() - start
            labelled.append(found)
            kept = found.scores >= model.settings.score_threshold
            likely.append(_host((found.masks[kept], found.scores[kept])))
        ranked.append(_host(best))
        if isinstance(model, FCIS):
            unvoted.append(model.predict(sample.image, score_threshold=0, voting=False))
    recall = average_recall(ranked, truths)
    measured: dict[str, Any] = {name: recall[name] for name in ("AR@10", "AR@100", "AR@1000")}
    measured["quality"] = float(detection_quality(likely, truths, [0.5]).quality[0])
    if labelled:
        measured |= average_precision(labelled, truths)
    if unvoted:
        plain = average_precision(unvoted, truths)
        measured |= {f"{name} without voting": value for name, value in plain.items()}
    trunk, head = _flops(model)
    return {
        **measured,
        "head parameters": _head_parameters(model),
        "head GFLOP": head / 1e9,
        "trunk GFLOP": trunk / 1e9,
        "seconds": seconds / max(count, 1),
    }


def _host(found: tuple[Any, Any]) -> tuple[Any, Any]:
    masks, scores = found
    return masks.numpy(), scores.cpu().numpy()


def _head_parameters(model: Network) -> int:
    parts = [part for name, part in model.named_children() if name not in _APART]
    return sum(p.numel() for part in parts for p in part.parameters())


@torch.inference_mode()
def _flops(model: Network) -> tuple[int, int]:
    """Floating-point operations of the trunk, and of the rest for all windows of an image."""
    weight = next(model.parameters())
    image = torch.rand(1, 3, _SIDE, _SIDE, device=weight.device)
    planes = model.preprocess.prepare(image)
    trunk = _counted(lambda: model.backbone(model.preprocess(planes)))
    return trunk, _counted(lambda: _everywhere(model, planes)) - trunk


def _counted(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def _everywhere(model: Network, planes: torch.Tensor) -> None:
    outputs = model.score(planes)
    if isinstance(model, WindowNetwork):
        height, width = outputs[1].shape[-2:]
        rows = torch.arange(height, device=planes.device)
        for y in rows:  # a row of windows at a time, to bound the memory
            x = torch.arange(width, device=planes.device)
            windows = torch.stack([torch.zeros_like(x), torch.full_like(x, y), x], 1)
            model.masks_at(outputs[0], windows, 0.0)
