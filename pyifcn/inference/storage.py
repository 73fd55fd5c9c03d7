"""Files and folders on this machine and in object stores, through pyarrow."""

from __future__ import annotations

import os
import uuid
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote

_OBJECT_STORES = frozenset({"s3", "gcs", "abfs", "mock"})  # the last for tests


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
    """The names of the files in a folder, sorted; none if there is no such folder."""
    filesystem, path = _opened(folder)
    from pyarrow.fs import FileSelector, FileType

    found = filesystem.get_file_info(FileSelector(path, allow_not_found=True))
    return sorted(entry.base_name for entry in found if entry.type == FileType.File)


def exists(location: str) -> bool:
    """Whether there is such a file."""
    filesystem, path = _opened(location)
    from pyarrow.fs import FileType

    return bool(filesystem.get_file_info(path).type == FileType.File)


def opened(location: str) -> Any:
    """A file for `pyarrow.parquet` to read, of which it fetches only what it needs."""
    filesystem, path = _opened(location)
    return filesystem.open_input_file(path)


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
        _rename_whole(Path(path), content)
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
    """Remove what writers of parts that were killed have left in a folder."""
    filesystem, path = _opened(folder)
    if filesystem.type_name == "local":
        for temporary in Path(path).glob(".part-*.tmp"):
            temporary.unlink(missing_ok=True)


def _opened(location: str) -> tuple[Any, str]:
    """The file system of a location, and the path there."""
    if not is_url(location):
        return _filesystem("file:///")[0], str(Path(location).absolute())
    scheme, _, rest = location.partition("://")
    rest, question, query = rest.partition("?")
    bucket, _, key = rest.partition("/")
    filesystem, root = _filesystem(f"{scheme}://{bucket}/{question}{query}")
    if scheme == "file":  # a key of an object store is what it is
        key = unquote(key)
    return filesystem, f"{root.rstrip('/')}/{key.strip('/')}".rstrip("/")


@cache  # one connection for all files of a bucket
def _filesystem(root: str) -> tuple[Any, str]:
    parquet()  # that pyarrow is installed
    from pyarrow.fs import FileSystem

    try:
        return FileSystem.from_uri(root)
    except ValueError as error:
        raise ValueError(f"{root} cannot be opened: {error}") from None
