"""Files and folders on this machine and in object stores, through pyarrow."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

from pyifcn.data.files import named

_OBJECT_STORES = frozenset({"s3", "gcs", "abfs", "mock"})  # the last for tests
_ABANDONED = 3600.0  # seconds after which no writer is still at work on a file


def parquet() -> ModuleType:
    """`pyarrow.parquet`.

    Raises:
        ImportError: If pyarrow is not installed; the message says what installs it.
    """
    try:
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pyarrow":
            raise
        raise ImportError(
            'Parquet needs pyarrow; install it with: pip install "pyifcn[parquet]"'
        ) from None
    return pyarrow.parquet


def is_url(location: str) -> bool:
    """Whether it is a URL, s3://bucket/folder for example, rather than a path.

    Example:
        >>> is_url("s3://bucket/images"), is_url("images/cell.png")
        (True, False)
    """
    return "://" in location


def absolute(location: str) -> str:
    """What means the same in a process that runs elsewhere on this machine."""
    return location if is_url(location) else str(Path(location).absolute())


def resolved(location: str) -> str:
    """What is the same for each spelling of a location."""
    return location.rstrip("/") if is_url(location) else os.path.realpath(location)


def merged(locations: Iterable[str]) -> list[str]:
    """Locations of files, the first spelling of each.

    A link is a file of its own: it has another name, or lies in another folder.
    """
    resolve = cache(resolved)  # once a folder, not once a file
    first: dict[str, str] = {}
    for location in locations:
        folder, name = os.path.split(location)
        key = location if is_url(location) else f"{resolve(folder)}/{name}"
        first.setdefault(key, location)
    return list(first.values())


def join(folder: str, name: str) -> str:
    """The location of `name` inside `folder`; what a URL asks after a question mark stays last.

    Example:
        >>> join("s3://bucket/images/?region=eu-west-1", "cell.png")
        's3://bucket/images/cell.png?region=eu-west-1'
    """
    if not is_url(folder):
        return str(Path(folder) / name)
    url, question, query = folder.partition("?")
    return f"{url.rstrip('/')}/{name}{question}{query}"


def plain(location: str) -> str:
    """The location without what a URL asks after a question mark.

    Example:
        >>> plain("s3://bucket/cell.png?region=eu-west-1")
        's3://bucket/cell.png'
    """
    return location.partition("?")[0] if is_url(location) else location


def is_folder(location: str) -> bool:
    """Whether it is a folder that exists; in object stores, one that holds something."""
    filesystem, path = _opened(location)
    from pyarrow.fs import FileType

    return bool(filesystem.get_file_info(path).type == FileType.Directory)


def names_in(folder: str) -> list[str]:
    """The names in a folder, whatever they stand for, sorted; none if there is no such folder."""
    filesystem, path = _opened(folder)
    if filesystem.type_name == "local":  # pyarrow leaves out links that lead nowhere
        with suppress(FileNotFoundError):
            return sorted(entry.name for entry in Path(os.fsdecode(path)).iterdir())
        return []
    from pyarrow.fs import FileSelector

    found = filesystem.get_file_info(FileSelector(os.fsdecode(path), allow_not_found=True))
    return sorted(entry.base_name for entry in found)


def exists(location: str) -> bool:
    """Whether there is such a file."""
    filesystem, path = _opened(location)
    from pyarrow.fs import FileType

    return bool(filesystem.get_file_info(path).type == FileType.File)


@contextmanager
def opened(location: str) -> Iterator[Any]:
    """A file for `pyarrow.parquet` to read, of which it fetches only what it needs.

    Raises:
        OSError: If there is none, or it is damaged, which is found out as it is read.
    """
    filesystem, path = _opened(location)
    try:
        with filesystem.open_input_file(path) as file:
            yield file
    except OSError as error:
        if error.errno is not None:
            raise
        raise OSError(f"{location} cannot be read: {error}") from error  # which names no file


def read_bytes(location: str) -> bytes:
    """All of a file.

    Raises:
        FileNotFoundError: If there is none.
        OSError: If it cannot be read.
    """
    filesystem, path = _opened(location)
    with filesystem.open_input_stream(path) as stream:
        return bytes(stream.read())


def write_whole(location: str, content: Any) -> None:
    """Write a file such that a reader finds all of it or, whatever happens meanwhile, no part.

    Here it is renamed when it has reached the disk. Object stores show an object when its upload
    has ended, which a process that is killed, or a write that fails, does not get to.

    Args:
        location: Of the file; its folder is made if it is missing.
        content: What supports the buffer protocol.
    """
    filesystem, path = _opened(location)
    if filesystem.type_name == "local":
        with named(location):
            _rename_whole(Path(os.fsdecode(path)), content)
    elif filesystem.type_name in _OBJECT_STORES:
        stream = filesystem.open_output_stream(path)
        stream.write(content)
        stream.close()
    else:
        raise ValueError(f"{location}: results go to a folder of this machine, s3, gs or abfs")


def _rename_whole(target: Path, content: Any) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".part-{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(folder: str) -> None:
    """Remove what writers of parts that were killed have left in a folder.

    A file that was written to within the hour may be that of another run, here or elsewhere.
    """
    filesystem, path = _opened(folder)
    if filesystem.type_name == "local":
        for temporary in Path(os.fsdecode(path)).glob(".part-*.tmp"):
            with suppress(FileNotFoundError):  # another run has renamed or removed it
                if time.time() - temporary.stat().st_mtime > _ABANDONED:
                    temporary.unlink()


def _opened(location: str) -> tuple[Any, bytes]:
    """The file system of a location, and the path there, which need not be UTF-8."""
    if not is_url(location):
        return _filesystem("file:///")[0], os.fsencode(Path(location).absolute())
    scheme, _, rest = location.partition("://")
    rest, question, query = rest.partition("?")
    bucket, _, key = rest.partition("/")
    filesystem, root = _filesystem(f"{scheme}://{bucket}/{question}{query}")
    if scheme == "file":  # a key of an object store is what it is
        key = unquote(key)
    return filesystem, os.fsencode(f"{root.rstrip('/')}/{key.strip('/')}".rstrip("/"))


@cache  # one connection for all files of a bucket
def _filesystem(root: str) -> tuple[Any, str]:
    parquet()  # that pyarrow is installed
    from pyarrow.fs import FileSystem

    try:
        return FileSystem.from_uri(root)
    except ValueError as error:
        raise ValueError(f"{root} cannot be opened: {error}") from None
