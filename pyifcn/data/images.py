"""Reading image files."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError


class ImageError(ValueError):
    """A file is missing, is no image, or cannot be decoded whole."""


def read_image(path: str | os.PathLike[str]) -> npt.NDArray[np.uint8]:
    """Read an image file as 8-bit RGB, as a viewer would show it.

    The EXIF rotation is applied; transparent pixels lie on white; of several frames the first is
    read. Grey images of 16 or 32 bits hold instrument counts with an arbitrary range: their
    smallest value becomes 0 and their largest 255.

    Args:
        path: A file in any format that Pillow reads.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ImageError: If the file is missing, not an image, damaged or truncated, or has more pixels
            than `PIL.Image.MAX_IMAGE_PIXELS`. The message names the path.

    Example:
        >>> read_image("nowhere.png")
        Traceback (most recent call last):
        ...
        pyifcn.data.images.ImageError: nowhere.png does not exist
    """
    path = Path(path)
    if not path.exists():
        raise ImageError(f"{path} does not exist")
    if path.is_dir():
        raise ImageError(f"{path} is a folder, not an image file")
    return _decoded(path, str(path))


def decode_image(content: bytes, name: str) -> npt.NDArray[np.uint8]:
    """Read an image from the bytes of its file, as `read_image` does.

    Args:
        content: A whole file in any format that Pillow reads.
        name: What errors call it.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ImageError: As `read_image`; the message begins with the name.

    Example:
        >>> decode_image(b"no picture", "row 3")
        Traceback (most recent call last):
        ...
        pyifcn.data.images.ImageError: row 3 is not an image in a known format
    """
    return _decoded(io.BytesIO(content), name)


def _decoded(file: Path | IO[bytes], name: str) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(file) as image:
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise Image.DecompressionBombError(
                    f"{image.width} x {image.height} pixels, more than "
                    f"PIL.Image.MAX_IMAGE_PIXELS = {limit}"
                )
            return _as_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise ImageError(f"{name} is not an image in a known format") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} is too large: {error}") from None
    except Exception as error:  # decoders raise nearly anything on damaged data
        raise ImageError(f"{name} cannot be decoded: {error}") from error


def _as_rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode.startswith(("I", "F")):
        return _stretched(np.asarray(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def _stretched(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    grey = values.astype(np.float64)
    finite = np.isfinite(grey)
    low = grey.min(where=finite, initial=np.inf)
    high = grey.max(where=finite, initial=-np.inf)
    scale = 255 / (high - low) if high > low else 0.0
    grey = np.where(finite, grey - low, 0.0) * scale
    return np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)
