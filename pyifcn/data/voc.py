"""Images annotated as in PASCAL VOC, and in the Semantic Boundaries Dataset (SBD)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyifcn.data.checks import DataError
from pyifcn.data.dataset import (
    AnnotatedImages,
    OnError,
    Problems,
    as_folder,
    read_split,
)
from pyifcn.data.images import SUFFIXES, checked_file
from pyifcn.data.labels import read_labels
from pyifcn.data.mat import read_struct
from pyifcn.data.sample import Truth
from pyifcn.masks import Masks

_VOID = 255
_NAMES = [
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
]


class _Listed(AnnotatedImages):
    """Images whose names stand in a list, with a file of masks for each."""

    _suffix: str  # of the files of masks

    def _list(
        self, lists: Path, split: str | None, images: Path, masks: str, on_error: OnError
    ) -> None:
        """Find the files of the names in `split`.txt of a folder; `masks` is a folder in `path`."""
        problems = Problems(on_error)
        self.images = images
        stems = read_split(as_folder(lists), split)
        files = {path.name for path in as_folder(images).iterdir()}
        there = {path.name for path in as_folder(self.path / masks).iterdir()}
        self.records = []
        for stem in stems:
            labels = stem + self._suffix
            names = [stem + suffix for suffix in (".jpg", *sorted(SUFFIXES))]
            found = [name for name in names if name in files]
            if found and labels in there:
                labels = f"{masks}/{labels}"
                self.records.append({"id": stem, "file_name": found[0], "labels": labels})
            else:
                missing = self.path / masks / labels if found else images / names[0]
                problems.add(DataError(f"{missing} does not exist"), stem)
        self._settle(problems)


class VocInstances(_Listed):
    """The images of a PASCAL VOC split that have segmented objects.

    The folder, such as `VOCdevkit/VOC2012`, holds `JPEGImages`, `SegmentationObject`,
    `SegmentationClass` and `ImageSets/Segmentation/{split}.txt`. An object's category is the class
    that most of its pixels have. The pixels of value 255, outlines and what was not annotated, are
    together one crowd of category 255, "void": neither an object nor background.

    Args:
        annotations: The folder.
        images: The folder of the images; by default `JPEGImages` in it.
        split: `train`, `val`, `trainval` or another list; None means the only one.
        on_error: "refuse" raises at what is wrong. "skip" reads every file once and leaves out,
            with a warning, images of which a file is missing, cannot be decoded or has another
            size.

    Attributes:
        records: For each image its `id`, which is its name without suffix, `file_name` and
            `labels`, where its objects are.
        categories: VOC's 20 classes and void, by number.
        skipped: A line for each image left out.

    Raises:
        DataError: If a folder or the split is missing or, unless errors are skipped, a file.
    """

    _suffix = ".png"

    def __init__(
        self,
        annotations: str | os.PathLike[str],
        images: str | os.PathLike[str] | None = None,
        split: str | None = None,
        *,
        on_error: OnError = "refuse",
    ) -> None:
        self.path = as_folder(annotations)
        self.categories = {**dict(enumerate(_NAMES, 1)), _VOID: "void"}
        folder = self.path / "JPEGImages" if images is None else Path(images)
        lists = self.path / "ImageSets" / "Segmentation"
        self._list(lists, split, folder, "SegmentationObject", on_error)

    def _truth(self, record: dict[str, Any]) -> Truth:
        path = self.path / record["labels"]
        other = self.path / "SegmentationClass" / path.name
        objects, classes = _read_bytes(path), _read_bytes(other)
        if objects.shape != classes.shape:
            raise DataError(f"{path} and {other} differ in size")
        masks, values = Masks.from_labels(objects)
        pairs = objects.astype(np.intp) * 256 + classes
        counts = np.bincount(pairs.ravel(), minlength=65536).reshape(256, 256)[values]
        counts[:, [0, _VOID]] = 0
        crowd = values == _VOID
        labels = np.where(crowd, _VOID, counts.argmax(1))
        for value in values[labels == 0].tolist():
            raise DataError(f"{path}: object {value} has no class in {other}")
        for label in labels[~np.isin(labels, list(self.categories))].tolist():
            raise DataError(f"{other} has the class {label}, which VOC has not")
        return Truth(
            masks=masks,
            labels=labels.astype(np.int64),
            crowd=crowd,
            image_id=record["id"],
            file_name=record["file_name"],
        )


class SbdInstances(_Listed):
    """The images of an SBD split, with the masks of their objects.

    The folder, `dataset` of the release, holds `img`, `inst` (a `.mat` file for each image) and
    `{split}.txt`.

    Args:
        annotations: The folder.
        images: The folder of the images; by default `img` in it.
        split: `train`, `val` or another list; None means the only one.
        on_error: As of `VocInstances`.

    Attributes:
        records: As of `VocInstances`.
        categories: VOC's 20 classes by number.
        skipped: A line for each image left out.

    Raises:
        DataError: As of `VocInstances`.
    """

    _suffix = ".mat"

    def __init__(
        self,
        annotations: str | os.PathLike[str],
        images: str | os.PathLike[str] | None = None,
        split: str | None = None,
        *,
        on_error: OnError = "refuse",
    ) -> None:
        self.path = as_folder(annotations)
        self.categories = dict(enumerate(_NAMES, 1))
        folder = self.path / "img" if images is None else Path(images)
        self._list(self.path, split, folder, "inst", on_error)

    def _truth(self, record: dict[str, Any]) -> Truth:
        path = self.path / record["labels"]
        objects, categories = _read_mat(path)
        masks, values = Masks.from_labels(objects)
        if len(values) and not 1 <= values.min() <= values.max() <= len(categories):
            raise DataError(
                f"{path}: Segmentation has {values.max()}, of {len(categories)} categories"
            )
        labels = categories[values.astype(np.intp) - 1]
        for label in labels[~np.isin(labels, list(self.categories))].tolist():
            raise DataError(f"{path}: there is no category {label}")
        return Truth(
            masks=masks,
            labels=labels,
            crowd=np.zeros(len(masks), dtype=bool),
            image_id=record["id"],
            file_name=record["file_name"],
        )


def _read_bytes(path: Path) -> npt.NDArray[np.uint8]:
    values = read_labels(path)
    if values.min(initial=0) < 0 or values.max(initial=0) > 255:
        raise DataError(f"{path} holds {values.max()}, more than VOC's 255")
    return values.astype(np.uint8)


def _read_mat(path: Path) -> tuple[npt.NDArray[np.integer[Any]], npt.NDArray[np.int64]]:
    """`GTinst.Segmentation` (H, W) and `GTinst.Categories` (N,)."""
    found = read_struct(checked_file(path), "GTinst")
    for name, kinds in (("Segmentation", "iu"), ("Categories", "iuf")):
        if name not in found or found[name].ndim != 2 or found[name].dtype.kind not in kinds:
            raise DataError(f"{path} is not SBD's: GTinst has no matrix {name}")
    with np.errstate(invalid="ignore"):
        return found["Segmentation"], found["Categories"].ravel().astype(np.int64)
