"""The images of a run, in blocks: each becomes one file of the result."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from pyifcn.data import DataError, ImageError, decode_image, read_image
from pyifcn.data.images import SUFFIXES
from pyifcn.inference import storage

Id: TypeAlias = str | int
Load: TypeAlias = Callable[[], npt.NDArray[np.uint8]]

_TABLE = ".parquet"
_BATCH = 32  # rows of encoded images that are in memory at once
_TEXT = frozenset({"string", "large_string", "string_view"})
_BYTES = frozenset({"binary", "large_binary", "binary_view"})
_TAKEABLE = {"string_view": "large_string", "binary_view": "large_binary"}
_MIXED = "some ids are text and others integers"


class Block(ABC):
    """Some images of a run, which one worker does and one part file holds.

    Attributes:
        digest: A name that follows from the ids of its images alone.
        numbered: Whether the ids are integers rather than text.
    """

    digest: str
    numbered: bool

    @abstractmethod
    def ids(self) -> Sequence[Id]:
        """The ids of its images, in order."""

    @abstractmethod
    def images(self) -> Iterator[tuple[Id, Load]]:
        """Each image's id and what reads it, or raises ``ImageError``."""

    @abstractmethod
    def without(self, done: set[Id]) -> Block:
        """The block without some images."""

    @abstractmethod
    def __len__(self) -> int: ...


class Files(Block):
    """Image files.

    Args:
        names: Their ids.
        locations: Their paths, absolute, or URLs.
    """

    def __init__(self, names: Sequence[Id], locations: Sequence[str]) -> None:
        self.names = tuple(names)
        self.locations = tuple(locations)
        self.digest = _digest(names)
        self.numbered = _numbered(names)

    def ids(self) -> Sequence[Id]:
        """The ids of its images, in order."""
        return self.names

    def images(self) -> Iterator[tuple[Id, Load]]:
        """Each image's id and what reads it."""
        for name, location in zip(self.names, self.locations, strict=True):
            yield name, partial(_read, location)

    def without(self, done: set[Id]) -> Files:
        """The block without some images."""
        kept = [i for i, name in enumerate(self.names) if name not in done]
        return Files([self.names[i] for i in kept], [self.locations[i] for i in kept])

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class Rows(Block):
    """Rows of a Parquet file, by number; it is read where the block is done.

    Attributes:
        table: The file.
        columns: The column of ids and the column of images, which may be the same.
        paths: Whether that column holds paths rather than encoded images.
        rows: Numbers of rows, rising.
        digest: Of their ids.
        numbered: Whether the ids are integers rather than text.
        folder: What paths are relative to.
    """

    table: str
    columns: tuple[str, str]
    paths: bool
    rows: Sequence[int]
    digest: str
    numbered: bool
    folder: str

    def ids(self) -> Sequence[Id]:
        """The ids of its images, in order."""
        return [row[0] for row in self._read(self.columns[:1])]

    def images(self) -> Iterator[tuple[Id, Load]]:
        """Each image's id and what reads it."""
        for name, image in self._read(self.columns):
            where = f"{self.table}: image {name}"
            content = image["bytes"] if isinstance(image, dict) else image
            if content is None:
                yield name, partial(_missing, where)
            elif not self.paths:
                yield name, partial(decode_image, content, where)
            else:
                location = content if storage.is_url(content) else Path(self.folder, content)
                yield name, partial(_read, str(location))

    def without(self, done: set[Id]) -> Rows:
        """The block without some images."""
        ids = self.ids()
        kept = [i for i, name in enumerate(ids) if name not in done]
        rows = tuple(self.rows[i] for i in kept)
        return replace(self, rows=rows, digest=_digest(ids[i] for i in kept))

    def __len__(self) -> int:
        return len(self.rows)

    def _read(self, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """The values of columns in the block's rows, from the row groups that have some."""
        wanted = np.asarray(self.rows)
        with storage.opened(self.table) as opened:
            file = storage.parquet().ParquetFile(opened)
            metadata = file.metadata
            counts = [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)]
            ends = np.cumsum(counts)
            groups = np.unique(np.searchsorted(ends, wanted, side="right"))
            places = np.concatenate([np.arange(ends[g] - counts[g], ends[g]) for g in groups])
            start = 0
            for batch in file.iter_batches(_BATCH, groups.tolist(), list(dict.fromkeys(columns))):
                here = places[start : start + len(batch)]
                start += len(batch)
                kept = np.flatnonzero(np.isin(here, wanted))
                values = (_takeable(batch.column(name)).take(kept).to_pylist() for name in columns)
                yield from zip(*values, strict=True)
                if start and here[-1] >= wanted[-1]:
                    return


def plan(given: Iterable[str], size: int, ids: Mapping[str, Id] | None = None) -> list[Block]:
    """Divides images into blocks, the same for the same images.

    A file that is given twice, however its path is spelled, is done once. A path that is not
    UTF-8, as Parquet's text is, becomes an id with escapes for the bytes that are not.

    Args:
        given: Image files, Parquet files and folders of either; paths or URLs.
        size: At most so many images a block.
        ids: Ids of image files by location; the location as given is the id if None.

    Returns:
        The blocks. Of a Parquet file only the ids are read.

    Raises:
        ValueError: If there is no such file, no image, a Parquet file has no such columns, or two
            images have one id, or ids of different types, or an id is too large.
        OSError: If a Parquet file is damaged.
    """
    locations = [location for argument in given for location in _files(argument)]
    images = storage.merged(p for p in locations if not _is_table(p))
    tables = storage.merged(filter(_is_table, locations))
    blocks: list[Block] = []
    for start in range(0, len(images), size):
        chunk = images[start : start + size]
        names = [utf8(storage.plain(path)) if ids is None else ids[path] for path in chunk]
        blocks.append(Files(names, list(map(storage.absolute, chunk))))
    seen = [_hashes(name for block in blocks for name in block.ids())]
    for table in tables:
        found, hashes = _rows(table, size)
        blocks += found
        seen.append(hashes)
    if len({block.numbered for block in blocks}) == 2:
        raise DataError(_MIXED)
    _check_distinct(np.concatenate(seen), blocks)
    return blocks


def _is_table(location: str) -> bool:
    return storage.plain(location).lower().endswith(_TABLE)


def _files(given: str) -> list[str]:
    """The images and tables that an argument stands for."""
    if storage.is_folder(given):
        kinds = (*SUFFIXES, _TABLE)
        names = [name for name in storage.names_in(given) if name.lower().endswith(kinds)]
        shown = [name for name in names if not name.startswith(".")]
        if not shown:
            raise ValueError(f"no images in {given}{_hint(given)}")
        return [storage.join(given, name) for name in shown]
    if not storage.exists(given):
        raise ValueError(f"{given} does not exist")
    return [given]


def _hint(folder: str) -> str:
    inner = (storage.is_folder(storage.join(folder, name)) for name in storage.names_in(folder))
    return ": folders in it are not searched" if any(inner) else ""


def _rows(table: str, size: int) -> tuple[list[Rows], npt.NDArray[np.int64]]:
    """The blocks of a Parquet file, and the hashes of its ids."""
    import pyarrow

    try:
        with storage.opened(table) as opened:
            file = storage.parquet().ParquetFile(opened)
            columns, paths = _columns(file.schema_arrow, table)
            names = file.read([columns[0]]).column(0)
    except pyarrow.ArrowInvalid as error:
        raise DataError(f"{table} is not a Parquet file: {error}") from None
    if names.null_count:
        raise DataError(f"{table}: {columns[0]} is missing in {names.null_count} rows")
    listed = names.to_pylist()
    folder = storage.absolute(".")
    location = storage.absolute(table)
    numbered = _numbered(listed)
    blocks = []
    for start in range(0, len(listed), size):
        chunk = listed[start : start + size]
        rows = range(start, start + len(chunk))
        blocks.append(Rows(location, columns, paths, rows, _digest(chunk), numbered, folder))
    return blocks, _hashes(listed)


def _columns(schema: Any, table: str) -> tuple[tuple[str, str], bool]:
    """The columns of ids and of images, and whether the latter are paths."""
    from pyarrow import types

    kinds = {field.name: field.type for field in schema}
    for name, kind in kinds.items():
        if types.is_dictionary(kind):  # pandas' categories
            kinds[name] = kind.value_type

    def text(name: str) -> bool:
        return str(kinds.get(name)) in _TEXT

    def encoded(name: str) -> bool:
        kind = kinds.get(name)
        if kind is not None and types.is_struct(kind):  # as Hugging Face's datasets have it
            kind = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else None
        return str(kind) in _BYTES

    bytes_column = next(filter(encoded, ("bytes", "image")), None)
    path = "path" if text("path") else None
    images = bytes_column or path
    if images is None:
        raise DataError(
            f"{table} has neither a column 'path' of text nor 'bytes' or 'image' of bytes, but "
            f"{', '.join(kinds) or 'nothing'}"
        )
    ids = next((n for n in ("id", "image_id") if n in kinds), path)
    if ids is None:
        raise DataError(f"{table} has no column 'id' that names its images")
    if not (text(ids) or types.is_integer(kinds[ids])):
        raise DataError(f"{table}: {ids} must be text or integers, but is {kinds[ids]}")
    return (ids, images), bytes_column is None


def _takeable(column: Any) -> Any:
    """The column in a layout that pyarrow can take rows of."""
    return column.cast(_TAKEABLE.get(str(column.type), column.type))


def utf8(text: str) -> str:
    """Text that Parquet can hold: of what is not UTF-8, such as some file names, the escapes."""
    return text.encode(errors="backslashreplace").decode()


def _numbered(ids: Sequence[Id]) -> bool:
    """Whether ids are integers rather than text."""
    numbers = [name for name in ids if not isinstance(name, str)]
    if 0 < len(numbers) < len(ids):
        raise DataError(_MIXED)
    for number in numbers:
        if not -(2**63) <= number < 2**63:
            raise DataError(f"the id {number} does not fit into a signed integer of 64 bits")
    return bool(numbers)


def _digest(ids: Iterable[Id]) -> str:
    joined = "\0".join(map(repr, ids))
    return hashlib.blake2b(joined.encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()


def _hashes(ids: Iterable[Id]) -> npt.NDArray[np.int64]:
    """Eight bytes an image, of which a machine holds a thousand million."""
    return np.fromiter(map(hash, ids), np.int64)


def _check_distinct(hashes: npt.NDArray[np.int64], blocks: Iterable[Block]) -> None:
    hashes.sort()
    doubtful = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    if not doubtful:
        return
    seen: set[Id] = set()
    for block in blocks:
        for name in block.ids():
            if hash(name) in doubtful:
                if name in seen:
                    raise DataError(f"two images have the id {name!r}")
                seen.add(name)


def _read(location: str) -> npt.NDArray[np.uint8]:
    if not storage.is_url(location):
        return read_image(location)
    try:
        content = storage.read_bytes(location)
    except FileNotFoundError:
        raise ImageError(f"{location} does not exist") from None
    except OSError:
        if not storage.is_folder(location):
            raise
        raise ImageError(f"{location} is a folder, not an image file") from None
    return decode_image(content, location)


def _missing(where: str) -> npt.NDArray[np.uint8]:
    raise ImageError(f"{where} is missing")
