"""The page of a comparison: its table, and pictures of why the figures are what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from pyifcn.comparison.entries import Entry
from pyifcn.data import Sample, written_whole
from pyifcn.masks import Masks
from pyifcn.models import FCN, InstanceFCN, Network, WindowNetwork
from pyifcn.models.components import components
from pyifcn.plot import Pixels, heat, overlay, panels, score_map_figure

__all__ = ["draw"]

_SHOWN = 3  # images
_LARGEST = 700  # pixels along a side of an image that is shown, where there are such


def draw(models: Mapping[Entry, Network], data: Sequence[Sample], folder: Path, table: str) -> str:
    """Draws the pictures.

    Args:
        models: The trained networks.
        data: Images to show, those with the most touching instances.
        folder: Receives png files; made if it is missing.
        table: As Markdown.

    Returns:
        The page, Markdown that stands beside the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    samples = _crowded(data)
    fcn = _last(models, FCN)
    instance = _last(models, InstanceFCN, "k5")
    deep = _last(models, WindowNetwork, "deepmask")
    page = ["# The heads compared\n", table]
    if isinstance(fcn, FCN):
        _write(folder / "fcn.png", _semantic(fcn, samples[0]))
        page.append(
            "FCN has one map for a category. Objects that touch are one region in it, whatever "
            "the map's quality:\n\n![FCN's map of an image, and its regions](pictures/fcn.png)\n"
        )
    if isinstance(instance, InstanceFCN):
        _write(folder / "instance_fcn.png", _assembled(instance, samples[0]))
        page.append(
            "InstanceFCN's maps are high at parts of objects, so that where two touch each has "
            "its own side in another map (the paper's Figure 1):\n\n"
            "![InstanceFCN's maps around one object](pictures/instance_fcn.png)\n"
        )
    heads = {entry.title: model for entry, model in models.items() if model in (deep, instance)}
    if heads:
        _write(folder / "heads.png", _windows(heads, samples[0]))
        page.append(
            "What the two heads write into the same window (Figure 2). DeepMask's layers have a "
            "weight for each of the mask's pixels; InstanceFCN's know nothing of its size:\n\n"
            "![Masks of one window by both heads](pictures/heads.png)\n"
        )
    _write(folder / "masks.png", _masks(models, samples))
    page.append(
        "The best masks of each network, as many as there are instances, and all of FCN's "
        "regions:\n\n"
        "![The truth, and what each network finds](pictures/masks.png)\n"
    )
    return "\n".join(page)


def _last(models: Mapping[Entry, Network], kind: type, head: str | None = None) -> Network | None:
    """A network of a kind, the one on whole images if there are two."""
    found = None
    for entry, model in models.items():
        if isinstance(model, kind) and head in (None, entry.head):
            found = model
    return found


def _crowded(data: Sequence[Sample]) -> list[Sample]:
    """The images with the most borders between instances for their size."""
    ranks = []
    for index in range(len(data)):
        masks = data[index].masks
        labels = np.asarray(masks.numpy().to_labels())
        right = (labels[:, 1:] != labels[:, :-1]) & (labels[:, 1:] > 0) & (labels[:, :-1] > 0)
        down = (labels[1:] != labels[:-1]) & (labels[1:] > 0) & (labels[:-1] > 0)
        large = max(masks.size) > _LARGEST
        ranks.append((large, -(right.sum() + down.sum()) / max((labels > 0).sum(), 1), index))
    return [data[index] for _, _, index in sorted(ranks)[:_SHOWN]]


def _semantic(model: FCN, sample: Sample) -> Pixels:
    probability = 1 - model.probabilities(sample.image)[0].cpu().numpy()
    regions, _ = Masks.from_labels(components((probability > 0.5).astype(np.int64)))
    return panels(
        [
            [
                ("image", sample.image),
                ("FCN's map: any object", heat(probability)),
                ("its connected regions", overlay(sample.image, regions)),
                ("the truth", overlay(sample.image, sample.masks)),
            ]
        ]
    )


def _touched(masks: Masks) -> int:
    """An instance near the middle of the image, among those of usual size."""
    boxes = masks.boxes.astype(np.float64)
    sides = (boxes[:, 2:] - boxes[:, :2]).max(1)
    height, width = masks.size
    away = np.abs(boxes[:, :2] + boxes[:, 2:] - (width, height)).max(1)
    return int(np.argmin(away + 1e6 * (sides < 0.8 * np.median(sides))))


def _looked_at(model: WindowNetwork, sample: Sample) -> tuple[torch.Tensor, tuple[int, int], float]:
    """Maps at the scale where one instance fits its window, that window, and the stride."""
    x1, y1, x2, y2 = sample.masks.boxes[_touched(sample.masks)].tolist()
    scale = 0.68 * model.stride * model.window / max(x2 - x1, y2 - y1, 1)
    maps, _, strides = model.pyramid(sample.image, scales=[scale])
    window = int((y1 + y2) / 2 / strides[0]), int((x1 + x2) / 2 / strides[0])
    return maps[0], window, strides[0]


def _assembled(model: InstanceFCN, sample: Sample) -> Pixels:
    maps, window, stride = _looked_at(model, sample)
    return score_map_figure(
        sample.image,
        maps[0].cpu().numpy(),
        window,
        scale=stride,
        size=model.window,
        mask_threshold=model.settings.mask_threshold,
    )


@torch.inference_mode()
def _windows(models: Mapping[str, Network], sample: Sample) -> Pixels:
    rows = []
    for title, model in models.items():
        if not isinstance(model, WindowNetwork):
            continue
        maps, (y, x), stride = _looked_at(model, sample)
        windows = torch.tensor([[0, y, x]], device=maps.device)
        logits = model.masks_at(maps, windows, -20.0)[0].float().cpu()
        cut = _cut(sample.image, (y, x), stride, model.window)
        soft = logits.sigmoid().numpy()
        side = len(cut)
        large = Image.fromarray(logits.numpy()).resize((side, side), Image.Resampling.BILINEAR)
        mask = Masks.from_dense((np.asarray(large) > model.settings.mask_threshold)[None])
        rows.append(
            [
                ("a window", cut),
                (f"{title}: its {model.window} x {model.window} outputs", heat(soft)),
                ("the mask", overlay(cut, mask, scale=1, outline=3)),
            ]
        )
    return panels(rows)


def _cut(image: Pixels, centre: tuple[int, int], stride: float, window: int) -> Pixels:
    """A window's pixels, enlarged."""
    y, x = ((place - window // 2) * stride for place in centre)
    extent = window * stride
    part = Image.fromarray(image).transform(
        (480, 480),
        Image.Transform.EXTENT,
        (x, y, x + extent, y + extent),
        Image.Resampling.BICUBIC,
        fillcolor=0,
    )
    return np.asarray(part)


def _masks(models: Mapping[Entry, Network], samples: Sequence[Sample]) -> Pixels:
    views = {"crop": "crops", "image": "whole images"}
    several = len({entry.view for entry in models}) > 1
    rows = []
    for sample in samples:
        row = [("the truth", overlay(sample.image, sample.masks))]
        for entry, model in models.items():
            title = f"{entry.title}, {views[entry.view]}" if several else entry.title
            row.append((title, overlay(sample.image, _best(model, sample))))
        rows.append(row)
    return panels(rows, columns=7, side=300)


def _best(model: Network, sample: Sample) -> Masks:
    """As many masks as there are instances, so that no threshold decides; of FCN all regions."""
    if isinstance(model, FCN):
        return model.predict(sample.image).masks
    most = model.settings.max_proposals
    masks, _ = model.segment(sample.image, max_proposals=most, score_threshold=0)
    return masks[: len(sample.masks)]


def _write(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    with written_whole(path) as partial:
        Image.fromarray(picture).save(partial)
