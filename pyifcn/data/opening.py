"""One way to open every format of annotations."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyifcn.data.checks import DataError, read_json
from pyifcn.data.cityscapes import CityscapesInstances
from pyifcn.data.coco import CocoInstances
from pyifcn.data.coco_file import CocoFile
from pyifcn.data.dataset import AnnotatedImages, OnError
from pyifcn.data.label_images import LabelImages
from pyifcn.data.labels import SUFFIXES
from pyifcn.data.lvis import LvisInstances
from pyifcn.data.panoptic import CocoPanoptic
from pyifcn.data.voc import SbdInstances, VocInstances

_FILES: dict[str, type[CocoFile]] = {
    "coco": CocoInstances,
    "coco-panoptic": CocoPanoptic,
    "lvis": LvisInstances,
}
_SPLIT: dict[str, Callable[..., AnnotatedImages]] = {
    "voc": VocInstances,
    "sbd": SbdInstances,
    "cityscapes": CityscapesInstances,
}
FORMATS = (*_FILES, *_SPLIT, "labels")
"""What `open_dataset` can open."""


def open_dataset(
    annotations: str | os.PathLike[str],
    images: str | os.PathLike[str] | None = None,
    *,
    format: str | None = None,  # noqa: A002
    split: str | None = None,
    on_error: OnError = "refuse",
) -> AnnotatedImages:
    """Open a data set of images with instance masks.

    Args:
        annotations: The json file of COCO's instances or panoptic format, or LVIS'; the folder
            of PASCAL VOC, SBD or Cityscapes; or a folder of label images.
        images: The folder of the images; not needed of VOC, SBD and Cityscapes, whose layout has
            one. None otherwise means truths alone.
        format: One of `FORMATS`; None looks at the file or folder.
        split: Which list of VOC, SBD or Cityscapes; None means the only one.
        on_error: "refuse" raises at what is wrong. "skip" reads every file once and leaves out,
            with a `SkippedWarning`, images of which a file is missing or broken.

    Returns:
        `CocoInstances`, `CocoPanoptic`, `LvisInstances`, `VocInstances`, `SbdInstances`,
        `CityscapesInstances` or `LabelImages`.

    Raises:
        DataError: If the annotations are missing, malformed or in no known format.
        ImportError: If the format needs a library that is not installed.
        ValueError: If an option is none of these, or `split` is given for a format without.

    Example:
        >>> import tempfile
        >>> from pyifcn.data import SyntheticNuclei, write_coco
        >>> folder = Path(tempfile.mkdtemp())
        >>> write_coco(SyntheticNuclei(5), folder / "nuclei.json", folder)
        >>> type(open_dataset(folder / "nuclei.json", folder)).__name__
        'CocoInstances'
    """
    path = Path(annotations)
    if format is not None and format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    content: Any = None
    if path.is_dir():
        format = format or _format_of_folder(path, images is not None)  # noqa: A001
    elif format in (None, *_FILES):
        content = read_json(path)
        format = format or _format_of(content)  # noqa: A001
    if split is not None and format not in _SPLIT:
        raise ValueError(f"split is {split!r}, but {path} has the format {format}, without splits")
    if format in _FILES:
        if path.is_dir():
            raise DataError(f"{path} is a folder, not a json file")
        return _FILES[format]._of(content, path, images, on_error)
    if format in _SPLIT:
        return _SPLIT[format](path, images, split, on_error=on_error)
    return LabelImages(path, images, on_error=on_error)


def _format_of(content: Any) -> str:
    """Which of the json formats it is; COCO's instances, which says what is wrong, if none."""
    if _some(content, "annotations", "segments_info"):
        return "coco-panoptic"
    if _some(content, "images", "not_exhaustive_category_ids", "neg_category_ids"):
        return "lvis"
    return "coco"


def _some(content: Any, name: str, *keys: str) -> bool:
    """Whether the first entry of a list has one of some keys."""
    entries = content.get(name) if isinstance(content, dict) else None
    first = entries[0] if isinstance(entries, list) and entries else None
    return isinstance(first, dict) and any(key in first for key in keys)


def _format_of_folder(folder: Path, with_images: bool) -> str:
    if (folder / "SegmentationObject").is_dir():
        return "voc"
    if (folder / "inst").is_dir():
        return "sbd"
    if (folder / "gtFine").is_dir():
        return "cityscapes"
    if with_images and any(path.suffix.lower() in SUFFIXES for path in folder.iterdir()):
        return "labels"
    raise DataError(
        f"{folder} looks like none of the known formats; give one of: {', '.join(FORMATS)}"
    )
