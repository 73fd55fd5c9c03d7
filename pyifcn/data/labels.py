"""Reading label images: files whose pixels name the instance that they belong to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from pyifcn.data import tiff
from pyifcn.data.checks import ImageError, check_pixels
from pyifcn.data.images import checked_file

SUFFIXES = frozenset({".npy", ".png", ".tif", ".tiff"})

_WHOLE = ("1", "L", "P", "I", "F")  # Pillow's modes that keep a pixel's number


def read_labels(path: str | os.PathLike[str]) -> npt.NDArray[np.integer[Any]]:
    """Read a label image exactly, as it is stored: no EXIF rotation, a palette's indices.

    Args:
        path: PNG of 1 to 16 bits, grey or with a palette; TIFF of one plane, any number of bits,
            by tifffile; NumPy's `.npy`. Floating-point numbers must be whole.

    Returns:
        (H, W), integers of the file's own width.

    Raises:
        ImageError: If the file is missing, damaged or truncated, or holds something else. The
            message names the path.
        ImportError: If tifffile is not installed.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "cells.npy"
        >>> np.save(path, np.array([[0, 1], [70000, 1]]))
        >>> read_labels(path).tolist()
        [[0, 1], [70000, 1]]
    """
    path = checked_file(path)
    if path.suffix.lower() == ".npy":
        return _whole(_read_npy(path), path)
    if not tiff.is_tiff(path):
        return _whole(_read_with_pillow(path, _WHOLE), path)
    try:
        return _whole(tiff.read_plane(path), path)
    except tiff.CodecError as error:
        try:
            return _whole(_read_with_pillow(path, ("1", "L", "I;16", "I;16B")), path)
        except ImageError:
            raise error from None


def read_ids(path: str | os.PathLike[str]) -> npt.NDArray[np.uint32]:
    """Read COCO's panoptic segments: red + 256 green + 65536 blue of every pixel.

    Raises:
        ImageError: If the file is missing, damaged or truncated, or not in RGB.
    """
    rgb = _read_with_pillow(checked_file(path), ("RGB",)).astype(np.uint32)
    ids: npt.NDArray[np.uint32] = rgb[..., 0] + (rgb[..., 1] << 8) + (rgb[..., 2] << 16)
    return ids


def _read_with_pillow(path: Path, modes: tuple[str, ...]) -> npt.NDArray[Any]:
    try:
        with Image.open(path) as image:
            check_pixels(image.height, image.width)
            frames = getattr(image, "n_frames", 1)
            if frames > 1 or not any(image.mode in (m, m + ";16", m + ";16B") for m in modes):
                what = f"{frames} frames" if frames > 1 else f"pixels of kind {image.mode}"
                expected = "RGB" if modes == ("RGB",) else "one number a pixel"
                raise ImageError(f"{path} holds {what}, expected {expected}")
            return np.array(image)
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{path} is too large: {error}") from None
    except Exception as error:  # decoders raise nearly anything on damaged data
        raise ImageError(f"{path} cannot be decoded: {error}") from error


def _read_npy(path: Path) -> npt.NDArray[Any]:
    try:
        values = np.load(path, allow_pickle=False)
    except Exception as error:  # a damaged header raises nearly anything
        raise ImageError(f"{path} cannot be decoded: {error}") from error
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in "biuf":
        held = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else "an archive"
        raise ImageError(f"{path} holds {held}, expected integers (H, W)")
    return values


def _whole(values: npt.NDArray[Any], path: Path) -> npt.NDArray[np.integer[Any]]:
    """Labels as integers.

    Raises:
        ImageError: If one is no whole number.
    """
    if values.dtype.kind == "b":
        return values.astype(np.uint8)
    if values.dtype.kind in "iu":
        return values
    if values.dtype.kind != "f" or not (np.abs(values) < 2**53).all() or (values % 1).any():
        raise ImageError(f"{path} holds numbers that are not whole, expected labels")
    return values.astype(np.int64)
