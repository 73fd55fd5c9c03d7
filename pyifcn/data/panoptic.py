"""Images annotated in COCO's panoptic format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from pyifcn.data.checks import DataError, check_keys, is_number
from pyifcn.data.coco_file import CocoFile
from pyifcn.data.dataset import OnError, Problems
from pyifcn.data.labels import read_ids
from pyifcn.data.sample import Truth
from pyifcn.masks import Masks


class CocoPanoptic(CocoFile):
    """The images of a COCO panoptic file, each with the masks of its things.

    Every pixel of an annotation's PNG names its segment, red + 256 green + 65536 blue. Segments
    of stuff (categories with `isthing` 0) are left out; a group (`iscrowd` 1) is a crowd.

    Args:
        annotations: The json file.
        images: The folder that the images' `file_name`s are relative to; None for truths alone.
        segments: The folder of the PNGs; by default the one beside the json with its name, as
            COCO packs them.
        on_error: "refuse" raises at what is wrong. "skip" reads every image and PNG once and
            leaves out, with a warning, images with one that cannot be decoded or does not fit.

    Attributes:
        categories: The names of things by id.

    Raises:
        DataError: If the file is not COCO's panoptic format or, unless errors are skipped, an
            entry of it is malformed; the message names the file and the entry.
    """

    _format = "COCO panoptic"
    _segments: Path | None = None

    def __init__(
        self,
        annotations: str | os.PathLike[str],
        images: str | os.PathLike[str] | None = None,
        segments: str | os.PathLike[str] | None = None,
        *,
        on_error: OnError = "refuse",
    ) -> None:
        self._segments = None if segments is None else Path(segments)
        super().__init__(annotations, images, on_error=on_error)

    @property
    def segments(self) -> Path:
        """The folder of the PNGs."""
        return self._segments or self.path.with_name(self.path.name.partition(".json")[0])

    def _read_categories(self, categories: Any) -> None:
        super()._read_categories(categories)
        self._known = set(self.categories)
        for category in categories:
            if category.get("isthing", 1) not in (0, 1):
                raise DataError(
                    f"{self.path}: category {category['id']}: isthing is {category['isthing']!r}"
                )
            if not category.get("isthing", 1):
                self.categories.pop(category["id"], None)

    def _read_annotations(self, annotations: list[Any], problems: Problems) -> set[int | str]:
        names = {record["id"]: record["file_name"] for record in self.records}
        self._annotations: dict[int | str, dict[str, Any]] = {}
        broken: set[int | str] = set()
        for position, annotation in enumerate(annotations):
            where = f"{self.path}: annotations[{position}]"
            image_id: int | str = ""
            try:
                check_keys(annotation, {"image_id": (int, str)}, where)
                image_id = annotation["image_id"]
                if image_id not in names:
                    raise DataError(f"{where}: there is no image with the id {image_id}")
                if image_id in self._annotations:
                    raise DataError(f"{where}: the image {image_id} has another one")
                self._check_annotation(annotation, where)
            except DataError as error:
                problems.add(error, names.get(image_id, ""))
                if image_id in names:
                    broken.add(image_id)
                continue
            self._annotations[image_id] = annotation
        for image_id, name in names.items():
            if image_id not in self._annotations and image_id not in broken:
                problems.add(DataError(f"{self.path}: image {image_id} has no annotation"), name)
                broken.add(image_id)
        return broken

    def _check_annotation(self, annotation: dict[str, Any], where: str) -> None:
        check_keys(annotation, {"file_name": str, "segments_info": list}, where)
        seen = set()
        for i, segment in enumerate(annotation["segments_info"]):
            place = f"{where}: segments_info[{i}]"
            check_keys(segment, {"id": int, "category_id": int}, place)
            if not 0 < segment["id"] < 2**24 or segment["id"] in seen:
                raise DataError(
                    f"{place}: id is {segment['id']}, which occurs twice or is no colour"
                )
            seen.add(segment["id"])
            if segment["category_id"] not in self._known:
                raise DataError(f"{place}: there is no category {segment['category_id']}")
            if segment.get("iscrowd", 0) not in (0, 1):
                raise DataError(f"{place}: iscrowd is {segment['iscrowd']!r}, neither 0 nor 1")
            if not is_number(segment.get("area", 0)) or segment.get("area", 0) < 0:
                raise DataError(f"{place}: area is {segment['area']!r}")

    def _truth(self, record: dict[str, Any]) -> Truth:
        annotation = self._annotations[record["id"]]
        path = self.segments / annotation["file_name"]
        ids = read_ids(path)
        size = record["height"], record["width"]
        if ids.shape != size:
            raise DataError(
                f"{path} is {ids.shape[0]} x {ids.shape[1]} pixels, "
                f"but {self.path} says {size[0]} x {size[1]}"
            )
        masks, values = Masks.from_labels(ids)
        place = {value: i for i, value in enumerate(values.tolist())}
        segments = annotation["segments_info"]
        for value in sorted(place.keys() ^ {segment["id"] for segment in segments}):
            problem = "is not in its segments_info" if value in place else "has no pixels"
            raise DataError(f"{path}: segment {value} {problem}")
        things = [segment for segment in segments if segment["category_id"] in self.categories]
        masks = masks[np.array([place[thing["id"]] for thing in things], np.int64)]
        areas = [thing.get("area", a) for thing, a in zip(things, masks.area.tolist(), strict=True)]
        return Truth(
            masks=masks,
            labels=np.array([thing["category_id"] for thing in things], dtype=np.int64),
            crowd=np.array([thing.get("iscrowd", 0) for thing in things], dtype=bool),
            areas=np.array(areas, dtype=np.float64),
            image_id=record["id"],
            file_name=record["file_name"],
        )
