"""What COCO's json formats have in common."""

from __future__ import annotations

import os
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyifcn.data.checks import DataError, check_keys, kind_of, read_json
from pyifcn.data.dataset import AnnotatedImages, OnError, Problems

if TYPE_CHECKING:
    from typing_extensions import Self


class CocoFile(AnnotatedImages):
    """Images that a json file describes by its lists `images`, `annotations` and `categories`."""

    _format: str

    def __init__(
        self,
        annotations: str | os.PathLike[str],
        images: str | os.PathLike[str] | None = None,
        *,
        on_error: OnError = "refuse",
    ) -> None:
        self._load(read_json(Path(annotations)), annotations, images, Problems(on_error))

    @classmethod
    def _of(
        cls,
        content: Any,
        annotations: str | os.PathLike[str],
        images: str | os.PathLike[str] | None,
        on_error: OnError,
    ) -> Self:
        """The data set of a json file whose content has been read."""
        data = object.__new__(cls)
        data._load(content, annotations, images, Problems(on_error))
        return data

    @abstractmethod
    def _read_annotations(self, annotations: list[Any], problems: Problems) -> set[int | str]:
        """Share out the annotations; the ids of images that have one that is wrong."""

    def _load(
        self,
        content: Any,
        annotations: str | os.PathLike[str],
        images: str | os.PathLike[str] | None,
        problems: Problems,
    ) -> None:
        self.path = Path(annotations)
        self.images = None if images is None else Path(images)
        if not isinstance(content, dict):
            raise DataError(f"{self.path} is not {self._format}: it holds {kind_of(content)}")
        for key in ("images", "annotations"):
            if not isinstance(content.get(key), list):
                raise DataError(f"{self.path} is not {self._format}: it has no list '{key}'")
        self._read_categories(content.get("categories", []))
        self.records = self._read_images(content["images"], problems)
        broken = self._read_annotations(content["annotations"], problems)
        if broken:
            self.records = [record for record in self.records if record["id"] not in broken]
        self._settle(problems)

    def _read_categories(self, categories: Any) -> None:
        if not isinstance(categories, list):
            raise DataError(f"{self.path} is not {self._format}: 'categories' is no list")
        self.categories = {}
        for position, category in enumerate(categories):
            where = f"{self.path}: categories[{position}]"
            check_keys(category, {"id": int}, where)
            if abs(category["id"]) >= 2**63:
                raise DataError(f"{where}: id is {category['id']}")
            self.categories[category["id"]] = str(category.get("name", category["id"]))

    def _read_images(self, records: list[Any], problems: Problems) -> list[dict[str, Any]]:
        """The image records that are right."""
        known = set()
        right = []
        for position, record in enumerate(records):
            try:
                record = self._checked_image(record, f"{self.path}: images[{position}]")
                if record["id"] in known:
                    raise DataError(f"{self.path}: two images have the id {record['id']}")
            except DataError as error:
                problems.add(error)
                continue
            known.add(record["id"])
            right.append(record)
        return right

    def _checked_image(self, record: Any, where: str) -> dict[str, Any]:
        """An image's record, if it is right."""
        check_keys(record, {"id": (int, str), "file_name": str, "height": int, "width": int}, where)
        height, width = record["height"], record["width"]
        if min(height, width) <= 0 or height * width >= 2**31:
            raise DataError(f"{where} has the size {height} x {width}")
        checked: dict[str, Any] = record
        return checked
