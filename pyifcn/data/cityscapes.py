"""Images annotated as in Cityscapes."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from pyifcn.data.checks import DataError
from pyifcn.data.dataset import AnnotatedImages, OnError, Problems, as_folder, choose_split
from pyifcn.data.labels import read_labels
from pyifcn.data.sample import Truth
from pyifcn.masks import Masks

_THINGS = dict(
    enumerate(
        [
            "person",
            "rider",
            "car",
            "truck",
            "bus",
            "caravan",
            "trailer",
            "train",
            "motorcycle",
            "bicycle",
        ],
        start=24,
    )
)
_NOT_JUDGED = (29, 30)  # caravan and trailer, which Cityscapes' evaluation ignores
_MASKS, _IMAGE = "_gtFine_instanceIds.png", "_leftImg8bit.png"


class CityscapesInstances(AnnotatedImages):
    """The images of a Cityscapes split, with the masks of their things.

    The folder holds `leftImg8bit/{split}/{city}/*_leftImg8bit.png` and
    `gtFine/{split}/{city}/*_gtFine_instanceIds.png`. A pixel of these is 1000 times its class
    plus the number of the instance, or the class alone: then it is stuff, which is left out, or a
    group of things, which is a crowd. So are caravans and trailers, which are annotated but not
    judged.

    Args:
        annotations: The folder.
        images: The folder of the images' splits; by default `leftImg8bit` in it.
        split: `train`, `val` or `test`; None means the only one.
        on_error: "refuse" raises at what is wrong. "skip" reads every file once and leaves out,
            with a warning, images of which a file is missing, cannot be decoded or has another
            size.

    Attributes:
        records: For each image its `id`, which is its name without suffix, `file_name`, `labels`,
            where its instances are, and `city`.
        categories: The ten classes of things by Cityscapes' `id`, 24 to 33.
        skipped: A line for each image left out.

    Raises:
        DataError: If a folder or the split is missing or, unless errors are skipped, an image.
    """

    def __init__(
        self,
        annotations: str | os.PathLike[str],
        images: str | os.PathLike[str] | None = None,
        split: str | None = None,
        *,
        on_error: OnError = "refuse",
    ) -> None:
        problems = Problems(on_error)
        self.path = as_folder(annotations)
        self.images = as_folder(self.path / "leftImg8bit" if images is None else images)
        self.categories = dict(_THINGS)
        folder = as_folder(self.path / "gtFine")
        splits = [path.name for path in folder.iterdir() if path.is_dir()]
        split = choose_split(split, splits, folder)
        self.records = []
        for path in sorted((folder / split).glob(f"*/*{_MASKS}")):
            stem = path.name.removesuffix(_MASKS) + _IMAGE.removesuffix(".png")
            image = self.images / split / path.parent.name / f"{stem}.png"
            if not image.exists():
                problems.add(DataError(f"{image} does not exist"))
                continue
            self.records.append(
                {
                    "id": stem,
                    "file_name": image.relative_to(self.images).as_posix(),
                    "labels": path.relative_to(self.path).as_posix(),
                    "city": path.parent.name,
                }
            )
        if not self.records and not problems.lines:
            raise DataError(f"{folder / split} has no *{_MASKS} in folders of cities")
        self._settle(problems)

    def _truth(self, record: dict[str, Any]) -> Truth:
        path = self.path / record["labels"]
        masks, values = Masks.from_labels(read_labels(path))
        ids = values.astype(np.int64)
        labels = np.where(ids < 1000, ids, ids // 1000)
        things = np.isin(labels, list(_THINGS))
        for value in ids[(ids >= 1000) & ~things].tolist():
            raise DataError(f"{path}: {value} is no instance of a class that has them")
        alone = ids >= 1000
        return Truth(
            masks=masks[things],
            labels=labels[things],
            crowd=(~alone | np.isin(labels, _NOT_JUDGED))[things],
            image_id=record["id"],
            file_name=record["file_name"],
        )
