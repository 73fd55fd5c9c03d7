"""Figures as plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyifcn.evaluation.coco_average_precision import CocoAveragePrecision
from pyifcn.evaluation.matching import AREAS
from pyifcn.evaluation.quality import DetectionQuality


def report(
    recall: Mapping[str, float],
    quality: DetectionQuality | None = None,
    precision: Mapping[str, float] | None = None,
    coco: CocoAveragePrecision | None = None,
) -> str:
    """What this package's functions measure, as small tables.

    Args:
        recall: The result of `average_recall`.
        quality: The result of `detection_quality`, if there is any.
        precision: The result of `average_precision`, if there is any.
        coco: The result of `coco_average_precision`, if there is any.

    Returns:
        Lines of text; a dash stands where there was nothing to find.

    Example:
        >>> print(report({"AR@10": 0.25, "AR@10/small": -1, "AR@10/medium": 0.3, "AR@10/large": 0}))
                           all   small  medium   large
        AR@10            0.250       -   0.300   0.000
    """
    lines = [_line("", ("all", "small", "medium", "large"))]
    figures = {**recall, **(coco.figures if coco else {})}
    for name in figures:
        if "/" not in name:
            parts = [figures[name + part] for part in AREAS if name + part in figures]
            lines.append(_line(name, list(map(_cell, parts))))
    lines += [_line(name, [_cell(value)]) for name, value in (precision or {}).items()]
    if quality is not None:
        lines += ["", _line("IoU", [f"{level:.2f}" for level in quality.thresholds] + ["mean"])]
        for name, values in (
            ("TP/(TP+FP+FN)", quality.quality),
            ("precision", quality.precision),
            ("recall", quality.recall),
        ):
            lines.append(_line(name, [f"{value:.3f}" for value in (*values, values.mean())]))
    return "\n".join(lines)


def _cell(value: float) -> str:
    return "-" if value < 0 else f"{value:.3f}"


def _line(name: str, cells: Sequence[str]) -> str:
    return f"{name:<14}" + "".join(f"{cell:>8}" for cell in cells)
