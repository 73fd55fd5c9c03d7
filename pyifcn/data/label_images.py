"""Images beside label images, as microscopy keeps them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from pyifcn.data import images as image_files
from pyifcn.data import labels as label_files
from pyifcn.data.checks import DataError
from pyifcn.data.dataset import AnnotatedImages, OnError, Problems, as_folder, files_by_stem
from pyifcn.data.labels import read_labels
from pyifcn.data.sample import Truth
from pyifcn.masks import Masks

_ENDINGS = ("_cp_masks", "_masks", "_mask", "_labels", "_label", "_seg")


class LabelImages(AnnotatedImages):
    """A folder of images and one of label images of the same names.

    The label image of `cell1.jpg` is `cell1.tif`, `.tiff`, `.png` or `.npy`, or has one of the
    endings that programs add to the name: `cell1_masks.png`, `_cp_masks`, `_mask`, `_labels`,
    `_label`, `_seg`. With these both may lie in one folder. Every value of a label image but 0 is
    an instance, of category 1; a negative one is a crowd, which is neither learned nor counted.
    `read_labels` says what the files may hold.

    Args:
        annotations: The folder of the label images.
        images: The folder of the images; None for truths alone.
        on_error: "refuse" raises at what is wrong. "skip" reads every file once and leaves out,
            with a warning, pairs of which one is missing, cannot be decoded or has another size.

    Attributes:
        records: For each image its `id`, which is the name without suffix, `file_name` and
            `labels`, the label image's name.
        skipped: A line for each image left out.

    Raises:
        DataError: If a folder is missing or holds no pairs or, unless errors are skipped, an
            image or a label image has no partner.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from pyifcn.data import SyntheticNuclei
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "images").mkdir(), (folder / "labels").mkdir()
        (None, None)
        >>> for i, sample in enumerate(SyntheticNuclei(2)):
        ...     Image.fromarray(sample.image).save(folder / f"images/{i}.png")
        ...     np.save(folder / f"labels/{i}.npy", sample.masks.to_labels())
        >>> data = LabelImages(folder / "labels", folder / "images")
        >>> data[1].masks == SyntheticNuclei(2)[1].masks
        True
    """

    def __init__(
        self,
        annotations: str | os.PathLike[str],
        images: str | os.PathLike[str] | None = None,
        *,
        on_error: OnError = "refuse",
    ) -> None:
        problems = Problems(on_error)
        self.path = as_folder(annotations)
        self.images = None if images is None else as_folder(images)
        self.categories = {1: "object"}
        labels = files_by_stem(self.path, label_files.SUFFIXES, problems)
        if self.images is None:
            pairs = [(path, path) for path in labels.values()]
        else:
            pairs = self._paired(labels, self.images, problems)
        if not pairs:
            there = "" if images is None else f" for the images in {images}"
            raise DataError(f"{self.path} has no label images{there}")
        self.records = [
            {"id": image.stem, "file_name": image.name, "labels": label.name}
            for image, label in pairs
        ]
        self._settle(problems)

    def _paired(
        self, labels: dict[str, Path], folder: Path, problems: Problems
    ) -> list[tuple[Path, Path]]:
        images = files_by_stem(folder, image_files.SUFFIXES, problems)
        if folder.resolve() == self.path.resolve():
            labels = {
                stem: path for stem, path in labels.items() if _without_ending(stem) in images
            }
            images = {stem: path for stem, path in images.items() if stem not in labels}
        owners: dict[str, Path] = {}
        twice = set()
        lonely = []
        for stem, path in labels.items():
            owner = stem if stem in images else _without_ending(stem)
            if owner not in images:
                lonely.append(path)
            elif owner in owners:
                two = f"{owners[owner].name} and {path.name}"
                problems.add(DataError(f"{images[owner]} has two label images: {two}"))
                twice.add(owner)
            else:
                owners[owner] = path
        missing = [path for stem, path in images.items() if stem not in owners]
        _report(missing, f"label image in {self.path}", problems)
        _report(lonely, f"image in {folder}", problems)
        stems = [stem for stem in images if stem in owners and stem not in twice]
        return [(images[stem], owners[stem]) for stem in stems]

    def _truth(self, record: dict[str, Any]) -> Truth:
        masks, values = Masks.from_labels(read_labels(self.path / record["labels"]))
        return Truth(
            masks=masks,
            labels=np.ones(len(masks), dtype=np.int64),
            crowd=values < 0,
            image_id=record["id"],
            file_name=record["file_name"],
        )


def _without_ending(stem: str) -> str:
    return next((stem.removesuffix(end) for end in _ENDINGS if stem.endswith(end)), "")


def _report(paths: list[Path], partner: str, problems: Problems) -> None:
    """Refuse them together, or leave out one after the other."""
    if paths and not problems.skip:
        names = ", ".join(path.name for path in paths[:5])
        more = f" and {len(paths) - 5} more" if len(paths) > 5 else ""
        have = "has" if len(paths) == 1 else "have"
        problems.add(DataError(f"{paths[0].parent}: {names}{more} {have} no {partner}"))
    for path in paths:
        problems.add(DataError(f"{path} has no {partner}"))
