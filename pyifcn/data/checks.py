"""Checks of what others wrote."""

from __future__ import annotations

import gzip
import importlib
import json
import zlib
from pathlib import Path
from typing import Any

from PIL import Image

from pyifcn.masks import Masks


class DataError(ValueError):
    """Annotations or results are not what their format asks for."""


class ImageError(ValueError):
    """A file is missing, is no image, or cannot be decoded whole."""


def needed(module: str, what: str) -> Any:
    """A module of a package that the extra `data` installs.

    Raises:
        ImportError: If it is not installed; the message says what needs it.
    """
    name = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != name:
            raise
        raise ImportError(
            f'{what} needs {name}; install it with: pip install "pyifcn[data]"'
        ) from None


def check_pixels(height: int, width: int) -> None:
    """Check that an image has not too many pixels to be decoded.

    Raises:
        Image.DecompressionBombError: If it has more than `PIL.Image.MAX_IMAGE_PIXELS`.
    """
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        raise Image.DecompressionBombError(
            f"{width} x {height} pixels, more than PIL.Image.MAX_IMAGE_PIXELS = {limit}"
        )


def read_json(path: Path) -> Any:
    """The content of a json file, which may be compressed to `.gz`.

    Raises:
        DataError: If it cannot be read or is not json.
    """
    try:
        content = path.read_bytes()
        return json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not json: {error}") from None


def check_rle(rle: Any, size: tuple[int, int] | None, where: str) -> None:
    """Check that `rle` is one of COCO's run-length codes.

    Args:
        rle: What should be a dict of `size` and `counts`.
        size: The (height, width) that it should have; None for any.
        where: What begins the message of an error.

    Raises:
        DataError: If it is not.
    """
    if not isinstance(rle, dict) or "counts" not in rle or "size" not in rle:
        raise DataError(f"{where}: segmentation is neither polygons nor a run-length code")
    if size is not None and rle["size"] != list(size):
        raise DataError(f"{where}: segmentation has size {rle['size']}, its image {list(size)}")
    try:
        Masks.from_rle([rle])
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: {str(error).replace('rles[0]', 'segmentation')}") from None


def check_keys(record: Any, kinds: dict[str, type | tuple[type, ...]], where: str) -> None:
    """Check that `record` is an object whose `kinds` keys hold values of those types.

    Raises:
        DataError: If it is not; the message begins with `where`.
    """
    if not isinstance(record, dict):
        raise DataError(f"{where} is {kind_of(record)}, not an object")
    for key, kind in kinds.items():
        if key not in record:
            raise DataError(f"{where} has no '{key}'")
        if not isinstance(record[key], kind) or isinstance(record[key], bool):
            raise DataError(f"{where}: {key} is {kind_of(record[key])}")


def is_number(value: Any) -> bool:
    """Whether `value` is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def kind_of(value: Any) -> str:
    """What to call `value` in an error."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return repr(value)[:40]
