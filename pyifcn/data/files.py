"""Files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file under a temporary name beside it and rename it when the block ends well.

    A reader, or a run that is killed, finds the old file or the whole new one, never a part.

    Args:
        path: The file to write; its folder must exist.

    Yields:
        The temporary path, with the same suffix, for the block to write.

    Raises:
        OSError: As `replaced_file`; and if the file cannot be written, which it names.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with written_whole(folder / "a.txt") as temporary:
        ...     _ = temporary.write_text("whole")
        >>> (folder / "a.txt").read_text(), len(list(folder.iterdir()))
        ('whole', 1)
    """
    path = Path(path)
    target = replaced_file(path)
    temporary = target.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        with named(path):
            yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def replaced_file(path: str | os.PathLike[str]) -> Path:
    """The file that is replaced when `path` is written: where a symbolic link leads.

    Raises:
        OSError: If something other than a file is there, such as a pipe or a device.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise OSError(f"{path} exists and is not a regular file")
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextlib.contextmanager
def named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Have an error of the system that names no file, such as that of a full disk, name this."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = os.fspath(path)
        raise
