"""The demonstration: a field of touching nuclei, found and explained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from pyifcn.data import Sample, SyntheticNuclei, written_whole
from pyifcn.evaluation import average_recall, coco_results, detection_quality, write_results
from pyifcn.masks import Masks
from pyifcn.models import InstanceFCN, load
from pyifcn.plot import Pixels, overlay, score_map_figure


def run(
    folder: Path, *, weights: str = "nuclei", seed: int = 0, echo: Callable[[str], object] = print
) -> None:
    """Segment a generated field, print what was found, write pictures and results.

    Args:
        folder: receives input.png, overlay.png, score_maps.png and proposals.json; made if missing.
        weights: name or file.
        seed: of the field.
        echo: receives each line of the report.

    Raises:
        OSError: the folder cannot be written.
        ValueError: the weights are not of an InstanceFCN.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stages: dict[str, float] = {}
    with _timed(stages, "draw the field"):
        sample = SyntheticNuclei(1, size=(384, 512), seed=seed, coverage=(0.3, 0.4))[0]
    with _timed(stages, "load the weights"):
        model = load(weights)
        if not isinstance(model, InstanceFCN):
            raise ValueError(f"weights {weights} are of {type(model).__name__}, not InstanceFCN")
    with _timed(stages, "score maps"):
        levels = model.pyramid(sample.image)
    with _timed(stages, "proposals"):
        proposals = model.search(*levels, sample.masks.size)
    with _timed(stages, "instances"):
        found, their_scores = model.select(proposals)
        masks, scores = found.numpy(), their_scores.numpy()
    with _timed(stages, "pictures"):
        _write_image(folder / "input.png", sample.image)
        _write_image(folder / "overlay.png", overlay(sample.image, masks))
        _write_image(folder / "score_maps.png", _explain(model, sample.image, masks))
    write_results(
        folder / "proposals.json", coco_results(masks, scores, "input", file_name="input.png")
    )
    echo(_summary(sample, masks, scores))
    for stage, seconds in stages.items():
        echo(f"  {stage:<18}{seconds:7.2f} s")
    echo(f"pictures and results: {folder}/")


def _summary(sample: Sample, masks: Masks, scores: npt.NDArray[np.float32]) -> str:
    prediction = [(masks, scores)]
    quality = detection_quality(prediction, [sample], [0.5])
    recall = average_recall(prediction, [sample])
    found, wrong = int(quality.tp[0]), int(quality.fp[0])
    return f"found {found} of {len(sample.masks)} nuclei at IoU 0.5, {wrong} wrong\n" + ", ".join(
        f"AR@{n} {recall[f'AR@{n}']:.3f}" for n in (10, 100, 1000)
    )


def _explain(model: InstanceFCN, image: Pixels, masks: Masks) -> Pixels:
    """The figure for a nucleus that touches others, at the scale where it fits its window."""
    boxes = masks.boxes
    sides = (boxes[:, 2:] - boxes[:, :2]).max(1)
    reach = sides.mean() / 2
    apart = np.abs((boxes[:, None, :2] + boxes[:, None, 2:] - boxes[:, :2] - boxes[:, 2:]) / 2)
    neighbours = (apart.max(2) < sides.mean()).sum(1)
    height, width = masks.size
    inside = (boxes[:, :2] > reach).all(1) & (boxes[:, 2:] < np.array([width, height]) - reach).all(
        1
    )
    chosen = int(np.argmax(neighbours * inside * (sides > 0.8 * sides.mean())))
    extent = model.stride * model.window
    scale = 0.68 * extent / sides[chosen]
    score_maps, _, strides = model.pyramid(image, scales=[scale])
    x1, y1, x2, y2 = boxes[chosen].tolist()
    window = int((y1 + y2) / 2 / strides[0]), int((x1 + x2) / 2 / strides[0])
    return score_map_figure(
        image,
        score_maps[0][0].numpy(),
        window,
        scale=strides[0],
        size=model.window,
        mask_threshold=model.settings.mask_threshold,
    )


def _write_image(path: Path, image: Pixels) -> None:
    with written_whole(path) as file:
        Image.fromarray(image).save(file)


@contextmanager
def _timed(stages: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    stages[stage] = time.perf_counter() - start
