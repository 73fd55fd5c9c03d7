"""Images annotated in COCO's instances format."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pyifcn.data.checks import DataError, check_keys, check_rle, is_number
from pyifcn.data.coco_file import CocoFile
from pyifcn.data.dataset import Problems
from pyifcn.data.files import written_whole
from pyifcn.data.sample import Sample, Truth
from pyifcn.masks import Masks

_FAR = 2**20  # pixels; a polygon's corner further out than this is an error, not a shape


class CocoInstances(CocoFile):
    """The images of a COCO instances file, each with its masks.

    The whole json is checked as it is read, so that an error shows at once; images are decoded
    and polygons drawn when a sample is asked for. Samples come in the order of the file's
    `images`. Slices and `filter` give a data set that shares the annotations.

    Args:
        annotations: The json file.
        images: The folder that the `file_name`s are relative to; None for truths alone.
        on_error: "refuse" raises at what is wrong. "skip" reads every image once and leaves out,
            with a warning, those that cannot be decoded or have a malformed annotation.

    Attributes:
        records: The image records of the json, one for each sample.
        categories: Category names by id.
        skipped: A line for each image left out.

    Raises:
        DataError: If the file is not COCO's instances format or, unless errors are skipped,
            anything in it is malformed; the message names the file and the annotation's id.

    Example:
        >>> import tempfile
        >>> from pyifcn.data import SyntheticNuclei
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_coco(SyntheticNuclei(5), folder / "nuclei.json", folder)
        >>> data = CocoInstances(folder / "nuclei.json", folder)
        >>> data[0].image.shape, data[0].masks == SyntheticNuclei(5)[0].masks
        ((256, 256, 3), True)
        >>> len(data[1:]), len(data.filter(lambda record: record["id"] > 2))
        (4, 2)
    """

    _format = "COCO instances"

    def _read_annotations(self, annotations: list[Any], problems: Problems) -> set[int | str]:
        names = {record["id"]: record["file_name"] for record in self.records}
        sizes = {record["id"]: (record["height"], record["width"]) for record in self.records}
        self._annotations: dict[int | str, list[dict[str, Any]]] = {key: [] for key in names}
        broken: set[int | str] = set()

        def add(error: DataError, image_id: Any) -> None:
            image_id = image_id if isinstance(image_id, int | str) else ""
            if image_id not in broken:
                problems.add(error, names.get(image_id, ""))
            if image_id in names:
                broken.add(image_id)

        seen = set()
        for position, annotation in enumerate(annotations):
            where = _name(annotation, position, self.path)
            try:
                _check_annotation(annotation, sizes, where)
                self._check_category(annotation["category_id"], where)
                name = annotation.get("id", f"at {position}")
                if name in seen:
                    raise DataError(f"{where}: the id occurs twice")
            except DataError as error:
                add(error, annotation.get("image_id") if isinstance(annotation, dict) else None)
                continue
            seen.add(name)
            self._annotations[annotation["image_id"]].append(annotation)
        for image_id, those in self._annotations.items():
            try:
                _check_codes(
                    those, sizes[image_id], lambda a: _name(a, annotations.index(a), self.path)
                )
            except DataError as error:
                add(error, image_id)
        return broken

    def _check_category(self, category: int, where: str) -> None:
        if self.categories and category not in self.categories:
            raise DataError(f"{where}: there is no category with the id {category}")

    def _truth(self, record: dict[str, Any]) -> Truth:
        size = record["height"], record["width"]
        annotations = self._annotations[record["id"]]
        masks = _masks_of([annotation["segmentation"] for annotation in annotations], size)
        areas = masks.area.astype(np.float64)
        for i, annotation in enumerate(annotations):
            areas[i] = annotation.get("area", areas[i])
        return Truth(
            masks=masks,
            labels=np.array([a["category_id"] for a in annotations], dtype=np.int64),
            crowd=np.array([a.get("iscrowd", 0) for a in annotations], dtype=bool),
            areas=areas,
            image_id=record["id"],
            file_name=record["file_name"],
        )


def write_coco(
    samples: Iterable[Sample],
    annotations: str | os.PathLike[str],
    images: str | os.PathLike[str],
    categories: Mapping[int, str] | None = None,
) -> None:
    """Write samples as COCO instances, which `CocoInstances` reads back the same.

    Args:
        samples: The samples; their `file_name`s must differ and end in a lossless format's suffix
            for the pixels to stay the same.
        annotations: The json file, written last and whole or not at all.
        images: The folder for the images; it is made if need be.
        categories: Names of the labels; by default each label's number.

    Raises:
        OSError: If a file cannot be written.
    """
    records: list[dict[str, Any]] = []
    instances: list[dict[str, Any]] = []
    labels: set[int] = set(categories or ())
    for sample in samples:
        height, width = sample.masks.size
        path = Path(images) / sample.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as temporary:
            Image.fromarray(sample.image).save(temporary)
        head = {"id": sample.image_id, "file_name": sample.file_name}
        records.append({**sample.info, **head, "height": height, "width": width})
        areas = sample.masks.area if sample.areas is None else sample.areas
        for i, rle in enumerate(sample.masks.to_rle()):
            x1, y1, x2, y2 = sample.masks.boxes[i].tolist()
            instances.append(
                {
                    "id": len(instances) + 1,
                    "image_id": sample.image_id,
                    "category_id": int(sample.labels[i]),
                    "iscrowd": int(sample.crowd[i]),
                    "area": areas[i].item(),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "segmentation": rle,
                }
            )
        labels.update(sample.labels.tolist())
    content = {
        "images": records,
        "annotations": instances,
        "categories": [
            {"id": label, "name": (categories or {}).get(label, str(label))}
            for label in sorted(labels)
        ],
    }
    with written_whole(annotations) as temporary:
        temporary.write_text(json.dumps(content), encoding="utf-8")


def _check_annotation(annotation: Any, sizes: dict[int | str, tuple[int, int]], where: str) -> None:
    check_keys(
        annotation,
        {"image_id": (int, str), "category_id": int, "segmentation": (list, dict)},
        where,
    )
    if not isinstance(annotation.get("id", 0), int | str):
        raise DataError(f"{where}: id is {annotation['id']!r}")
    if abs(annotation["category_id"]) >= 2**63:
        raise DataError(f"{where}: category_id is {annotation['category_id']}")
    if annotation["image_id"] not in sizes:
        raise DataError(f"{where}: there is no image with the id {annotation['image_id']}")
    if annotation.get("iscrowd", 0) not in (0, 1):
        raise DataError(f"{where}: iscrowd is {annotation['iscrowd']!r}, neither 0 nor 1")
    area = annotation.get("area", 0)
    if not is_number(area) or area < 0:
        raise DataError(f"{where}: area is {area!r}")
    if isinstance(annotation["segmentation"], list):
        _check_polygons(annotation["segmentation"], where)


def _check_codes(
    annotations: Sequence[dict[str, Any]],
    size: tuple[int, int],
    name: Callable[[dict[str, Any]], str],
) -> None:
    coded = [a for a in annotations if not isinstance(a["segmentation"], list)]
    try:  # all at once is several times as fast
        Masks.from_rle([a["segmentation"] for a in coded], size)
    except (TypeError, ValueError):
        for annotation in coded:
            check_rle(annotation["segmentation"], size, name(annotation))


def _check_polygons(polygons: list[Any], where: str) -> None:
    if not polygons:
        raise DataError(f"{where}: segmentation is empty")
    for polygon in polygons:
        if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
            raise DataError(f"{where}: a polygon is not a list of at least three x, y pairs")
        for value in polygon:
            if not is_number(value) or abs(value) > _FAR:
                raise DataError(f"{where}: a polygon has the coordinate {value!r}")


def _name(annotation: Any, position: int, path: Path) -> str:
    if isinstance(annotation, dict) and isinstance(annotation.get("id"), int | str):
        return f"{path}: annotation {annotation['id']}"
    return f"{path}: annotations[{position}]"


def _masks_of(segmentations: Sequence[Any], size: tuple[int, int]) -> Masks:
    """The masks of polygons and codes in any order."""
    drawn = [i for i, some in enumerate(segmentations) if isinstance(some, list)]
    coded = [i for i, some in enumerate(segmentations) if not isinstance(some, list)]
    masks = Masks.cat(
        [
            Masks.from_polygons([segmentations[i] for i in drawn], size),
            Masks.from_rle([segmentations[i] for i in coded], size),
        ]
    )
    return masks[np.argsort(drawn + coded)] if drawn and coded else masks
