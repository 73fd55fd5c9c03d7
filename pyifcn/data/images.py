"""Reading image files."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from pyifcn.data import tiff
from pyifcn.data.checks import ImageError, check_pixels

_SAMPLES_PER_PIXEL = 277  # TIFF's tag

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


def read_image(
    path: str | os.PathLike[str], *, size: tuple[int, int] | None = None
) -> npt.NDArray[np.uint8]:
    """Read an image file as 8-bit RGB, as a viewer would show it.

    The EXIF rotation is applied, unless the pixels as they are stored have the `size` and the
    turned ones do not; transparent pixels lie on white; of several frames the first is read. Grey
    images of 16 or 32 bits hold instrument counts with an arbitrary range: their smallest value
    becomes 0 and their largest 255. TIFF files that Pillow cannot read, or not all channels of,
    are read by tifffile, where that is installed; each of their first three channels is stretched
    likewise and shown in red, green and blue.

    Args:
        path: A file in any format that Pillow reads.
        size: The (height, width) that annotations were made for, if there are any.

    Returns:
        uint8 (H, W, 3).

    Raises:
        ImageError: If the file is missing, not an image, damaged or truncated, or has more pixels
            than `PIL.Image.MAX_IMAGE_PIXELS`. The message names the path.

    Example:
        >>> read_image("nowhere.png")
        Traceback (most recent call last):
        ...
        pyifcn.data.checks.ImageError: nowhere.png does not exist
    """
    path = checked_file(path)
    return _decoded(path, str(path), size)


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
        pyifcn.data.checks.ImageError: row 3 is not an image in a known format
    """
    return _decoded(content, name)


def rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    """The pixels of an image that Pillow has opened, as `read_image` gives those of a file."""
    return _as_rgb(_turned(image, None))


def checked_file(path: str | os.PathLike[str]) -> Path:
    """`path`, if it is a file.

    Raises:
        ImageError: If it is not.
    """
    path = Path(path)
    if not path.exists():
        raise ImageError(f"{path} does not exist")
    if path.is_dir():
        raise ImageError(f"{path} is a folder, not an image file")
    return path


def _decoded(
    file: Path | bytes, name: str, size: tuple[int, int] | None = None
) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
            check_pixels(image.height, image.width)
            if _loses_channels(image):
                raise UnidentifiedImageError(f"{name} has channels that Pillow does not read")
            return _as_rgb(_turned(image, size))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"{name} is too large: {error}") from None
    except Exception as error:  # decoders raise nearly anything on damaged data
        if tiff.is_tiff(file):
            return _as_composite(*tiff.read_channels(file, name, error))
        if isinstance(error, UnidentifiedImageError):
            raise ImageError(f"{name} is not an image in a known format") from None
        raise ImageError(f"{name} cannot be decoded: {error}") from error


def _turned(image: Image.Image, size: tuple[int, int] | None) -> Image.Image:
    stored = image.height, image.width
    upright = ImageOps.exif_transpose(image)
    return image if stored == size != (upright.height, upright.width) else upright


def _loses_channels(image: Image.Image) -> bool:
    """Whether Pillow takes the first of several channels of a TIFF file for a grey image."""
    samples = getattr(image, "tag_v2", {}).get(_SAMPLES_PER_PIXEL, 1)
    return len(image.getbands()) == 1 < samples


def _as_rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode.startswith(("I", "F")):
        return np.repeat(_stretched(np.asarray(image))[..., None], 3, axis=2)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.array(image.convert("RGB"))


def _as_composite(channels: npt.NDArray[np.generic], coloured: bool) -> npt.NDArray[np.uint8]:
    """RGB of channels (C, H, W): grey of one, else the first three, those missing dark."""
    if channels.dtype != np.uint8:
        parts = [channels[:3]] if coloured else list(channels[:3])
        channels = np.concatenate(
            [_stretched(part).reshape(-1, *channels.shape[1:]) for part in parts]
        )
    rgb = np.zeros((*channels.shape[1:], 3), np.uint8)
    shown = 3 if len(channels) == 1 else len(channels[:3])
    rgb[..., :shown] = channels[:3].transpose(1, 2, 0)
    return rgb


def _stretched(values: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    grey = values.astype(np.float64)
    finite = np.isfinite(grey)
    low = grey.min(where=finite, initial=np.inf)
    high = grey.max(where=finite, initial=-np.inf)
    scale = 255 / (high - low) if high > low else 0.0
    grey = np.where(finite, grey - low, 0.0) * scale
    return np.rint(grey).astype(np.uint8)
