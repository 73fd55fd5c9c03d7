"""COCO's results format: a json list of masks with scores."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pyifcn._array import as_numpy
from pyifcn.data.checks import DataError, check_keys, check_rle, is_number, read_json
from pyifcn.data.files import written_whole
from pyifcn.masks import Masks, as_masks

Result: TypeAlias = tuple[Masks, npt.NDArray[np.float64], npt.NDArray[np.int64]]


def coco_results(
    masks: Masks | Any,
    scores: Any,
    image_id: int | str,
    *,
    file_name: str | None = None,
    category_id: Any = 1,
) -> list[dict[str, Any]]:
    """The records of one image.

    Args:
        masks: N masks, or dense bool (N, H, W).
        scores: float (N,), an array or a tensor.
        image_id: The image's id; its file's stem where there are no annotations.
        file_name: The image's file name, kept beside the id when given.
        category_id: The category of every mask, or of each: int (N,), an array or a tensor.

    Returns:
        N dicts of image_id, file_name, category_id, bbox (x, y, width, height), score and
        segmentation (compressed run-length code).

    Raises:
        TypeError: If masks are neither, or category_id holds no integers.
        ValueError: If there are not as many scores or categories as masks.

    Example:
        >>> masks = Masks.from_dense(np.ones((1, 2, 3), bool))
        >>> coco_results(masks, np.array([0.5]), 7)  # doctest: +NORMALIZE_WHITESPACE
        [{'image_id': 7, 'category_id': 1, 'bbox': [0, 0, 3, 2], 'score': 0.5,
          'segmentation': {'size': [2, 3], 'counts': '06'}}]
    """
    masks = as_masks(masks, "masks")
    if len(scores) != len(masks):
        raise ValueError(f"scores has {len(scores)} elements for {len(masks)} masks")
    head: dict[str, Any] = {"image_id": image_id}
    if file_name is not None:
        head["file_name"] = file_name
    return [
        {
            **head,
            "category_id": category,
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "score": float(score),
            "segmentation": rle,
        }
        for (x1, y1, x2, y2), score, category, rle in zip(
            masks.boxes.tolist(),
            as_numpy(scores, "scores"),
            _categories(category_id, len(masks)),
            masks.to_rle(),
            strict=True,
        )
    ]


def _categories(category_id: Any, count: int) -> list[int]:
    categories = as_numpy(category_id, "category_id")
    if categories.size and categories.dtype.kind not in "iu":
        raise TypeError(f"category_id must be integers, got {categories.dtype}")
    if categories.shape not in ((), (count,)):
        raise ValueError(f"category_id has shape {categories.shape} for {count} masks")
    values: list[int] = np.broadcast_to(categories, count).tolist()
    return values


def write_results(path: str | os.PathLike[str], records: Iterable[dict[str, Any]]) -> None:
    """Write records as json, one a line, whole or not at all.

    Args:
        path: The file.
        records: What `coco_results` gives, for all images.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If a score is NaN or infinite.
    """
    with written_whole(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        before = "[\n"
        for record in records:
            file.write(before + json.dumps(record, allow_nan=False))
            before = ",\n"
        file.write("[]\n" if before == "[\n" else "\n]\n")


def read_results(path: str | os.PathLike[str]) -> dict[int | str, Result]:
    """Read COCO results.

    Args:
        path: A json file, or one compressed to `.gz`.

    Returns:
        For each image_id its (masks, scores, labels) by category id, which is the label (1 where
        it is missing), and then in the order of the file, as COCO's evaluator goes through them.

    Raises:
        DataError: If the file is not a list of results or one of them is malformed; the message
            names the file and the record.
    """
    path = Path(path)
    content = read_json(path)
    if not isinstance(content, list):
        raise DataError(f"{path} is not COCO results: it holds no list")
    images: dict[int | str, list[dict[str, Any]]] = {}
    for position, record in enumerate(content):
        where = f"{path}: result {position}"
        _check_result(record, where)
        of_image = images.setdefault(record["image_id"], [])
        size = tuple(of_image[0]["segmentation"]["size"]) if of_image else None
        check_rle(record["segmentation"], size, where)
        of_image.append(record)
    return {image_id: _result(records) for image_id, records in images.items()}


def _check_result(record: Any, where: str) -> None:
    check_keys(record, {"image_id": (int, str), "score": (int, float), "segmentation": dict}, where)
    if not is_number(record["score"]):
        raise DataError(f"{where}: score is {record['score']!r}")
    category = record.get("category_id", 1)
    if not isinstance(category, int) or abs(category) >= 2**63:
        raise DataError(f"{where}: category_id is {category!r}")


def _result(records: list[dict[str, Any]]) -> Result:
    records = sorted(records, key=_category)
    masks = Masks.from_rle([record["segmentation"] for record in records])
    scores = np.array([record["score"] for record in records], dtype=np.float64)
    return masks, scores, np.array(list(map(_category, records)), dtype=np.int64)


def _category(record: dict[str, Any]) -> int:
    return int(record.get("category_id", 1))
