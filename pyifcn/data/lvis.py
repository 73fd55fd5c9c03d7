"""Images annotated in LVIS' format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pyifcn.data.checks import DataError, check_keys, kind_of
from pyifcn.data.coco import CocoInstances


class LvisInstances(CocoInstances):
    """The images of an LVIS file (v1 or v0.5), each with its masks.

    The format is COCO's, but LVIS v1 names an image by its `coco_url`, whose last two parts, such
    as `train2017/000000391895.jpg`, become the `file_name`. The image may lie in the folder under
    that name, or without the first part.

    A sample's `info` holds what is known of the rest: `neg_category_ids`, categories that are
    not in the image, and `not_exhaustive_category_ids`, those of which instances may be missing.
    Nothing is a crowd.

    Args:
        annotations: The json file.
        images: The folder of COCO's images; None for truths alone.
        on_error: As of `CocoInstances`.

    Raises:
        DataError: As of `CocoInstances`.
    """

    _format = "LVIS"

    def _checked_image(self, record: Any, where: str) -> dict[str, Any]:
        if isinstance(record, dict) and "file_name" not in record:
            check_keys(record, {"coco_url": str}, where)
            record = {**record, "file_name": "/".join(record["coco_url"].split("/")[-2:])}
        for key in ("neg_category_ids", "not_exhaustive_category_ids"):
            if isinstance(record, dict) and not isinstance(record.get(key, []), list):
                raise DataError(f"{where}: {key} is {kind_of(record[key])}, no list")
        return super()._checked_image(record, where)

    def _image_path(self, record: dict[str, Any]) -> Path:
        path = super()._image_path(record)
        flat = path.parents[record["file_name"].count("/")] / path.name
        return flat if not path.exists() and flat.exists() else path
