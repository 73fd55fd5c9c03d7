"""TIFF files that tifffile alone reads, or reads exactly."""

from __future__ import annotations

import importlib.util
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pyifcn.data.checks import ImageError, check_pixels, needed

_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# What tifffile finds odd in a file it says by raising, or its caller does.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


class CodecError(ImageError):
    """tifffile needs another package to decompress a file."""


def is_tiff(file: Path | bytes) -> bool:
    """Whether a file, or the bytes of one, begins as TIFF or BigTIFF."""
    if isinstance(file, bytes):
        return file[:4] in _MARKS
    try:
        with file.open("rb") as opened:
            return opened.read(4) in _MARKS
    except OSError:
        return False


def read_channels(
    file: Path | bytes, name: str, pillow: Exception
) -> tuple[npt.NDArray[np.generic], bool]:
    """The first frame of a file, called `name`, on which Pillow raised an error.

    Returns:
        (C, H, W), C at least 1, and whether the first three are red, green and blue.

    Raises:
        ImageError: If tifffile cannot read it either, or is not installed.
    """
    if importlib.util.find_spec("tifffile") is None:
        raise ImageError(
            f"{name} cannot be decoded: {pillow} "
            '(tifffile reads more kinds: pip install "pyifcn[data]")'
        ) from pillow
    with _first_series(file, name) as series:
        axes = str(series.axes).replace("S", "C", 1)  # samples of a pixel are channels too
        known = {"Y", "X"} <= set(axes) and len(set(axes)) == len(axes)
        if not known or series.dtype.kind not in "buif":
            raise ImageError(f"{name} holds axes {series.axes} of {series.dtype}: it is no image")
        values = series.asarray()
        for axis in sorted(set(axes) - set("CYX")):
            values = values.take(0, axes.index(axis))
            axes = axes.replace(axis, "")
        if "C" not in axes:
            values, axes = values[None], "C" + axes
        channels = np.asarray(values.transpose([axes.index(axis) for axis in "CYX"]))
        return channels, len(channels) >= 3 and series.keyframe.photometric.name == "RGB"


def read_plane(path: Path) -> npt.NDArray[np.generic]:
    """The values of a file that holds a single plane: (H, W).

    Raises:
        ImageError: If it cannot be read whole, or holds several planes.
        CodecError: If tifffile needs another package for it.
        ImportError: If tifffile is not installed.
    """
    needed("tifffile", f"{path}: reading TIFF label images")
    with _first_series(path, str(path)) as series:
        sides = [n for n, axis in zip(series.shape, series.axes, strict=True) if axis in "YX"]
        if len(sides) != 2 or series.size != sides[0] * sides[1]:
            shape = " x ".join(map(str, series.shape))
            raise ImageError(f"{path} holds {shape} values, expected one plane of labels")
        return np.asarray(series.asarray()).reshape(sides)


@contextmanager
def _first_series(file: Path | bytes, name: str) -> Iterator[Any]:
    """The first of tifffile's series, once it is known that the file holds all of it."""
    import tifffile

    try:
        with tifffile.TiffFile(io.BytesIO(file) if isinstance(file, bytes) else file) as opened:
            series = opened.series[0]
            page = series.keyframe
            check_pixels(page.imagelength, page.imagewidth)
            if not series.size:
                raise ValueError("it has no pixels")
            _check_whole(series, len(file) if isinstance(file, bytes) else file.stat().st_size)
            yield series
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name} is too large: {error}") from None
    except Exception as error:  # damaged files raise nearly anything
        kind = CodecError if "imagecodecs" in str(error) else ImageError
        raise kind(f"{name} cannot be decoded: {error}") from error


def _check_whole(series: Any, size: int) -> None:
    """Check that every piece of data lies within the file; tifffile takes missing ones as zeros.

    Raises:
        ValueError: If one does not.
    """
    for page in series.pages:
        if page is None:
            raise ValueError("a page is missing")
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
            if offset <= 0 or count <= 0 or offset + count > size:
                raise ValueError("image file is truncated")
