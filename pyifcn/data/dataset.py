"""What the data sets of image files have in common."""

from __future__ import annotations

import copy
import json
import os
import warnings
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from pyifcn.data.checks import DataError, ImageError
from pyifcn.data.images import read_image
from pyifcn.data.sample import Sample, Truth

if TYPE_CHECKING:
    from typing_extensions import Self

OnError = Literal["refuse", "skip"]


class SkippedWarning(UserWarning):
    """An image was left out of a data set because a file of it is broken."""


class Problems:
    """Raises the first error, or collects them all, as `on_error` says."""

    def __init__(self, on_error: str) -> None:
        if on_error not in ("refuse", "skip"):
            raise ValueError(f"on_error must be 'refuse' or 'skip', got {on_error!r}")
        self.skip = on_error == "skip"
        self.lines: list[str] = []

    def add(self, error: DataError, name: str = "") -> None:
        """Raise `error`, or note that the image called `name` is left out for it."""
        if not self.skip:
            raise error
        self.lines.append(f"{name}: {error}" if name else str(error))


class AnnotatedImages(Sequence[Sample]):
    """Image files, each with the instances that its data set states: what every format gives.

    Images are decoded when a sample is asked for. Slices and `filter` give a data set that shares
    the annotations.

    Attributes:
        path: The file or folder of the annotations.
        images: The folder of the images; None where truths alone can be had.
        records: What the data set states of each image as a whole: its `id`, its `file_name` in
            `images`, and more.
        categories: Category names by id.
        skipped: With `on_error="skip"`, a line for each image that was left out.
    """

    path: Path
    images: Path | None
    records: Sequence[dict[str, Any]]
    categories: dict[int, str]
    skipped: tuple[str, ...] = ()

    @abstractmethod
    def _truth(self, record: dict[str, Any]) -> Truth: ...

    def filter(self, predicate: Callable[[dict[str, Any]], bool]) -> Self:
        """The samples whose image record satisfies `predicate`.

        Args:
            predicate: Called with each of `records`.
        """
        return self._with([record for record in self.records if predicate(record)])

    def truth(self, index: int) -> Truth:
        """The instances of one image, without decoding its pixels.

        Raises:
            ImageError: If a file of masks cannot be read.
            DataError: If it does not hold what its format asks for.
        """
        return self._truth(self.records[index])

    def fingerprint(self) -> str:
        """A digest of `records` and, where `path` is a file, of its bytes.

        It tells one data set from another without reading images, or masks that have files of
        their own.

        Raises:
            OSError: If the file cannot be read.
        """
        digest = blake2b(digest_size=16)
        for record in self.records:
            digest.update(json.dumps(record, sort_keys=True, default=str).encode())
        if self.path.is_file():
            digest.update(self.path.read_bytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.records)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> Sample | Self:
        """A sample, or the data set of a slice.

        Raises:
            ImageError: If the image, or a file of its masks, cannot be read.
            DataError: If the annotations are malformed, or the image has another size than theirs.
        """
        if isinstance(index, slice):
            return self._with(self.records[index])
        return self._sample(self.records[index])

    def __repr__(self) -> str:
        skipped = f", {len(self.skipped)} skipped" if self.skipped else ""
        return f"{type(self).__name__}({str(self.path)!r}, {len(self)} images{skipped})"

    def _with(self, records: Sequence[dict[str, Any]]) -> Self:
        subset = copy.copy(self)
        subset.records = records
        return subset

    def _image_path(self, record: dict[str, Any]) -> Path:
        if self.images is None:
            raise DataError(f"{self.path} was opened without the folder of its images")
        return self.images / record["file_name"]

    def _sample(self, record: dict[str, Any]) -> Sample:
        path = self._image_path(record)
        truth = self._truth(record)
        size = truth.masks.size
        image = read_image(path, size=size)
        if image.shape[:2] != size:
            raise DataError(
                f"{path} is {image.shape[0]} x {image.shape[1]} pixels, "
                f"but {self._source(record)} says {size[0]} x {size[1]}"
            )
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

    def _source(self, record: dict[str, Any]) -> Path:
        """The file that the masks of an image come from."""
        return self.path / record["labels"] if "labels" in record else self.path

    def _settle(self, problems: Problems) -> None:
        """If errors are skipped, leave out the images that cannot be read whole, and warn."""
        if problems.skip:
            with ThreadPoolExecutor() as pool:
                errors = list(pool.map(self._error_of, self.records))
            self.records = [r for r, e in zip(self.records, errors, strict=True) if e is None]
            problems.lines += [error for error in errors if error is not None]
        self.skipped = tuple(problems.lines)
        for line in self.skipped:
            warnings.warn(f"skipped: {line}", SkippedWarning, stacklevel=3)

    def _error_of(self, record: dict[str, Any]) -> str | None:
        try:
            if self.images is None:
                self._truth(record)
            else:
                self._sample(record)
        except (DataError, ImageError, OSError) as error:
            return str(error)
        return None


def as_folder(path: str | os.PathLike[str]) -> Path:
    """`path`, if it is a folder.

    Raises:
        DataError: If it is not.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder" if folder.exists() else f"{folder} does not exist"
        )
    return folder


def files_by_stem(folder: Path, suffixes: Collection[str], problems: Problems) -> dict[str, Path]:
    """A folder's files of some suffixes by their names without these; hidden ones are left out."""
    found: dict[str, Path] = {}
    twice = set()
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            first = found.setdefault(path.stem, path)
            if first is not path:
                problems.add(DataError(f"{path} and {first.name} differ in nothing but the suffix"))
                twice.add(path.stem)
    return {stem: path for stem, path in found.items() if stem not in twice}


def read_split(folder: Path, split: str | None) -> list[str]:
    """The names in one of a folder's lists, `split`.txt; None means the only one.

    Raises:
        DataError: If there is no such list or it cannot be read.
    """
    split = choose_split(split, [path.stem for path in folder.glob("*.txt")], folder)
    path = folder / f"{split}.txt"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None
    return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))


def choose_split(split: str | None, known: Iterable[str], where: Path) -> str:
    """`split`, or the only one that there is.

    Raises:
        DataError: If it is not among `known`, or one must be chosen.
    """
    names = sorted(known)
    if split is None and len(names) == 1:
        return names[0]
    if split is None or split not in names:
        problem = "choose a split" if split is None else f"there is no split {split!r}"
        raise DataError(f"{where}: {problem}; there are: {', '.join(names) or 'none'}")
    return split
