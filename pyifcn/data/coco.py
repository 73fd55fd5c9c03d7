"""Images annotated in COCO's instances format."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from PIL import Image

from pyifcn.data.checks import DataError, check_keys, check_rle, is_number, kind_of, read_json
from pyifcn.data.files import written_whole
from pyifcn.data.images import read_image
from pyifcn.data.sample import Sample, Truth
from pyifcn.masks import Masks

_FAR = 2**20  # pixels; a polygon's corner further out than this is an error, not a shape


class CocoInstances(Sequence[Sample]):
    """The images of a COCO instances file, each with its masks.

    The whole json is checked as it is read, so that an error shows at once; images are decoded
    and polygons drawn when a sample is asked for. Samples come in the order of the file's
    `images`. Slices and `filter` give a data set that shares the annotations.

    Args:
        annotations: The json file.
        images: The folder that the `file_name`s are relative to.

    Attributes:
        records: The image records of the json, one for each sample.
        categories: Category names by id.

    Raises:
        DataError: If the file is not COCO's instances format or anything in it is malformed; the
            message names the file and the annotation's id.

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

    records: Sequence[dict[str, Any]]
    categories: dict[int, str]

    def __init__(self, annotations: str | os.PathLike[str], images: str | os.PathLike[str]) -> None:
        self.path = Path(annotations)
        self.images = Path(images)
        content = read_json(self.path)
        if not isinstance(content, dict):
            raise DataError(f"{self.path} is not COCO instances: it holds {kind_of(content)}")
        for key in ("images", "annotations"):
            if not isinstance(content.get(key), list):
                raise DataError(f"{self.path} is not COCO instances: it has no list '{key}'")
        self.categories = _read_categories(content.get("categories", []), self.path)
        self.records = content["images"]
        self._annotations: dict[int | str, list[dict[str, Any]]] = {}
        for position, record in enumerate(self.records):
            _check_image(record, f"{self.path}: images[{position}]")
            if record["id"] in self._annotations:
                raise DataError(f"{self.path}: two images have the id {record['id']}")
            self._annotations[record["id"]] = []
        sizes = {record["id"]: (record["height"], record["width"]) for record in self.records}
        seen = set()
        for position, annotation in enumerate(content["annotations"]):
            where = _name(annotation, position, self.path)
            _check_annotation(annotation, sizes, where)
            name = annotation.get("id", f"at {position}")
            if name in seen:
                raise DataError(f"{where}: the id occurs twice")
            seen.add(name)
            self._annotations[annotation["image_id"]].append(annotation)

    def filter(self, predicate: Callable[[dict[str, Any]], bool]) -> CocoInstances:
        """The samples whose image record satisfies `predicate`.

        Args:
            predicate: Called with each image's record as it stands in the json.
        """
        return self._with([record for record in self.records if predicate(record)])

    def truth(self, index: int) -> Truth:
        """The instances of one image, without decoding its pixels."""
        record = self.records[index]
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

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> CocoInstances: ...
    def __getitem__(self, index: int | slice) -> Sample | CocoInstances:
        """A sample, or the data set of a slice.

        Raises:
            ImageError: If the image cannot be read.
            DataError: If the image has another size than its record says.
        """
        if isinstance(index, slice):
            return self._with(self.records[index])
        record = self.records[index]
        path = self.images / record["file_name"]
        image = read_image(path)
        if image.shape[:2] != (record["height"], record["width"]):
            raise DataError(
                f"{path} is {image.shape[0]} x {image.shape[1]} pixels, "
                f"but {self.path} says {record['height']} x {record['width']}"
            )
        truth = self.truth(index)
        return Sample(
            image=image,
            masks=truth.masks,
            labels=truth.labels,
            crowd=truth.crowd,
            image_id=truth.image_id,
            file_name=truth.file_name,
            areas=truth.areas,
            info=record,
        )

    def __repr__(self) -> str:
        return f"CocoInstances({str(self.path)!r}, {len(self)} images)"

    def _with(self, records: Sequence[dict[str, Any]]) -> CocoInstances:
        subset = copy.copy(self)
        subset.records = records
        return subset


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


def _read_categories(categories: Any, path: Path) -> dict[int, str]:
    if not isinstance(categories, list):
        raise DataError(f"{path} is not COCO instances: 'categories' is no list")
    names = {}
    for position, category in enumerate(categories):
        where = f"{path}: categories[{position}]"
        check_keys(category, {"id": int}, where)
        names[category["id"]] = str(category.get("name", category["id"]))
    return names


def _check_image(record: Any, where: str) -> None:
    check_keys(record, {"id": (int, str), "file_name": str, "height": int, "width": int}, where)
    if min(record["height"], record["width"]) <= 0 or record["height"] * record["width"] >= 2**31:
        raise DataError(f"{where} has the size {record['height']} x {record['width']}")


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
    else:
        check_rle(annotation["segmentation"], sizes[annotation["image_id"]], where)


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
