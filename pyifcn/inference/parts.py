"""The result of a run: a folder of Parquet files, each of which holds some images whole."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pyifcn.data import DataError
from pyifcn.evaluation.results import coco_results, write_results
from pyifcn.inference import storage
from pyifcn.inference.blocks import Block, Id, utf8
from pyifcn.masks import Masks

_KEY = b"pyifcn"
_SUFFIX = ".parquet"


class Found(NamedTuple):
    """What was found in an image.

    Attributes:
        image: Its id.
        masks: N masks; None if the image could not be read.
        scores: float32 (N,).
        labels: int64 (N,), categories by the data set's ids; 1 of a network that knows none.
        error: Why it could not be read; None if it could.
    """

    image: Id
    masks: Masks | None
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    error: str | None = None


def unreadable(image: Id, error: str) -> Found:
    """What is said of an image that could not be read."""
    return Found(image, None, np.zeros(0, np.float32), np.zeros(0, np.int64), utf8(error))


@dataclass(frozen=True)
class Tally:
    """How much was done.

    Attributes:
        images: Images, with those that could not be read.
        instances: Instances in them.
        skipped: Images that could not be read.
    """

    images: int = 0
    instances: int = 0
    skipped: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.images + other.images,
            self.instances + other.instances,
            self.skipped + other.skipped,
        )


class Parts:
    """A folder of part files.

    A part's name follows from the settings and the ids of its images, so a block that is done
    twice replaces its part, and the names alone say what is missing.

    Args:
        folder: A path or a URL.
        settings: What the result depends on beside the images.
        numbered: Whether the ids of images are integers rather than text.
    """

    def __init__(self, folder: str, settings: dict[str, Any], numbered: bool) -> None:
        self.folder = storage.absolute(folder)
        self.settings = {**settings, "ids": "integers" if numbered else "text"}
        key = json.dumps(self.settings, sort_keys=True).encode()
        self._prefix = f"part-{hashlib.blake2b(key, digest_size=4).hexdigest()}-"

    def name(self, block: Block) -> str:
        """The name of a block's part."""
        return f"{self._prefix}{block.digest}{_SUFFIX}"

    def has(self, block: Block) -> bool:
        """Whether a block's part is there."""
        return storage.exists(storage.join(self.folder, self.name(block)))

    def missing(self, blocks: Iterable[Block]) -> list[Block]:
        """What remains of blocks: without those, and without those images, that parts hold.

        Raises:
            DataError: If the folder holds parts made with other settings.
        """
        names = set(_part_names(self.folder))
        for name in sorted(names):
            if not name.startswith(self._prefix):
                raise DataError(f"{self._location(name)} was made {self._difference(name)}")
        blocks = list(blocks)
        todo = [block for block in blocks if self.name(block) not in names]
        others = names - {self.name(block) for block in blocks}
        if not (others and todo):
            return todo
        done = {image for name in others for image in self._images(name)}
        return [rest for block in todo if len(rest := block.without(done))]

    def write(self, block: Block, found: Iterable[Found]) -> Tally:
        """Write a block's part, whole or not at all."""
        import pyarrow

        rows: list[dict[str, Any]] = []
        images = skipped = 0
        for result in found:
            rows += _rows(result)
            images += 1
            skipped += result.masks is None
        schema = _schema(self.settings["ids"] == "integers")
        schema = schema.with_metadata({_KEY: json.dumps(self.settings)})
        table = pyarrow.Table.from_pylist(rows, schema)
        content = io.BytesIO()
        storage.parquet().write_table(
            table, content, compression="zstd", use_dictionary=["image", "error"]
        )
        storage.write_whole(self._location(self.name(block)), content.getbuffer())
        return Tally(images, len(rows) - table.column("counts").null_count, skipped)

    def tally(self, block: Block) -> Tally:
        """What a block's part holds."""
        import pyarrow.compute as pc

        table = _read_part(self._location(self.name(block)), ["image", "counts", "error"])
        return Tally(
            pc.count_distinct(table.column("image")).as_py(),
            len(table) - table.column("counts").null_count,
            len(table) - table.column("error").null_count,
        )

    def _images(self, name: str) -> list[Id]:
        return list(
            _read_part(self._location(name), ["image"]).column("image").unique().to_pylist()
        )

    def _difference(self, name: str) -> str:
        """How the settings of a part differ, in words."""
        with storage.opened(self._location(name)) as opened:
            metadata = storage.parquet().read_schema(opened).metadata or {}
        theirs = json.loads(metadata.get(_KEY, b"{}"))
        keys = [key for key in self.settings if theirs.get(key) != self.settings[key]]
        differ = ", ".join(f"{key} {theirs.get(key)}, not {self.settings[key]}" for key in keys)
        return f"with {differ}: choose another folder"

    def _location(self, name: str) -> str:
        return storage.join(self.folder, name)


def read_proposals(folder: str | os.PathLike[str]) -> Iterator[Found]:
    """What `propose_images` wrote, an image after the other, a part in memory at a time.

    `pyarrow.dataset`, pandas and DuckDB read the folder as well: it is a table with a row an
    instance, and one with nulls for an image without any.

    Args:
        folder: A path or a URL.

    Yields:
        An image's id, masks, scores and labels, best first, and the error if it could not be
        read.

    Raises:
        DataError: If the folder holds no parts or one is malformed.
        ImportError: If pyarrow is not installed.
    """
    folder = os.fspath(folder)
    names = _part_names(folder)
    if not names:
        raise DataError(f"{folder} holds no proposals")
    for name in names:
        table = _read_part(storage.join(folder, name))
        if missing := set(_schema(False).names) - set(table.column_names):
            raise DataError(f"{storage.join(folder, name)} lacks the column {min(missing)!r}")
        images: dict[Id, list[dict[str, Any]]] = {}
        for row in table.to_pylist():
            images.setdefault(row["image"], []).append(row)
        for image, of_image in images.items():
            yield _found(image, of_image)


def write_coco_results(
    folder: str | os.PathLike[str], path: str | os.PathLike[str], *, category_id: int | None = None
) -> int:
    """Turn what `propose_images` wrote into COCO's json, whole or not at all.

    Args:
        folder: A path or a URL.
        path: The json file to write.
        category_id: The category of every instance, for what networks that know none have found;
            if None each instance has its own.

    Returns:
        How many instances were written.

    Raises:
        DataError: If the folder holds no parts or one is malformed.
        OSError: If the file cannot be written.
    """
    count = 0

    def records() -> Iterator[dict[str, Any]]:
        nonlocal count
        for found in read_proposals(folder):
            if found.masks is not None:
                count += len(found.masks)
                category = found.labels if category_id is None else category_id
                yield from coco_results(
                    found.masks, found.scores, found.image, category_id=category
                )

    write_results(path, records())
    return count


def _schema(numbered: bool) -> Any:
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("image", pa.int64() if numbered else pa.string(), nullable=False),
            ("height", pa.int32()),
            ("width", pa.int32()),
            ("score", pa.float32()),
            ("category", pa.int64()),
            ("box", pa.list_(pa.float32(), 4)),
            ("counts", pa.string()),
            ("error", pa.string()),
        ]
    )


def _rows(found: Found) -> list[dict[str, Any]]:
    """A row an instance, or one without an instance, so that every image has some."""
    if found.masks is None:
        return [{"image": found.image, "error": found.error}]
    height, width = found.masks.size
    head = {"image": found.image, "height": height, "width": width}
    if not len(found.masks):
        return [head]
    return [
        {
            **head,
            "score": record["score"],
            "category": record["category_id"],
            "box": record["bbox"],
            "counts": record["segmentation"]["counts"],
        }
        for record in coco_results(found.masks, found.scores, found.image, category_id=found.labels)
    ]


def _found(image: Id, rows: list[dict[str, Any]]) -> Found:
    if rows[0]["error"] is not None:
        return unreadable(image, rows[0]["error"])
    size = rows[0]["height"], rows[0]["width"]
    rows = [row for row in rows if row["counts"] is not None]
    codes = [{"size": list(size), "counts": row["counts"]} for row in rows]
    scores = np.array([row["score"] for row in rows], np.float32)
    labels = np.array([row["category"] for row in rows], np.int64)
    return Found(image, Masks.from_rle(codes, size), scores, labels)


def _part_names(folder: str) -> list[str]:
    return [
        name
        for name in storage.names_in(folder)
        if name.startswith("part-") and name.endswith(_SUFFIX)
    ]


def _read_part(location: str, columns: list[str] | None = None) -> Any:
    import pyarrow

    try:
        with storage.opened(location) as opened:
            return storage.parquet().read_table(opened, columns=columns)
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{location} is no part of proposals: {error}") from None
