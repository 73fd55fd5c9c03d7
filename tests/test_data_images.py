"""`read_image` on every kind of file that it promises to read or to refuse."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from pyifcn.data import ImageError, decode_image, read_image

RGB = np.random.default_rng(0).integers(0, 256, (12, 17, 3), dtype=np.uint8)
GREY = RGB[..., 0]


def as_rgb(grey):
    return np.repeat(grey[..., None], 3, axis=2)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "ppm"])
def test_rgb(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RGB).save(path)
    got = read_image(path)
    assert got.dtype == np.uint8
    assert got.flags.writeable
    assert got.flags.c_contiguous
    assert np.array_equal(got, RGB)
    assert np.array_equal(read_image(str(path)), RGB)


def test_grey(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), as_rgb(GREY))


def test_bilevel(tmp_path):
    Image.fromarray(GREY > 100).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), as_rgb(255 * (GREY > 100)))


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_stretched(tmp_path, suffix):
    counts = np.linspace(300, 4000, 12 * 17).reshape(12, 17).astype(np.uint16)
    Image.fromarray(counts).save(tmp_path / f"a.{suffix}")
    expected = np.rint((counts - 300.0) * 255 / 3700).astype(np.uint8)
    assert np.array_equal(read_image(tmp_path / f"a.{suffix}"), as_rgb(expected))


def test_constant_16_bits_are_black(tmp_path):
    Image.fromarray(np.full((3, 4), 700, np.uint16)).save(tmp_path / "a.png")
    assert not read_image(tmp_path / "a.png").any()


def test_float_with_nan(tmp_path):
    values = np.array([[np.nan, -1.0], [0.0, 1.0]], np.float32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert read_image(tmp_path / "a.tif")[..., 0].tolist() == [[0, 0], [128, 255]]


def test_palette(tmp_path):
    colours = np.array([[255, 0, 0], [0, 255, 0], [1, 2, 3]], np.uint8)
    index = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    image = Image.fromarray(index, mode=None).convert("P")
    image.putdata(index.ravel().tolist())
    image.putpalette(colours.ravel().tolist())
    image.save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), colours[index])


def test_transparent_pixels_lie_on_white(tmp_path):
    alpha = np.zeros((12, 17, 1), np.uint8)
    alpha[:, 5:] = 255
    Image.fromarray(np.concatenate([RGB, alpha], axis=2)).save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png"), np.where(alpha > 0, RGB, 255))


def test_transparent_palette(tmp_path):
    image = Image.new("P", (4, 3), 0)
    image.putpalette([9, 9, 9, 200, 100, 50])
    image.putpixel((2, 1), 1)
    image.save(tmp_path / "a.gif", transparency=0)
    got = read_image(tmp_path / "a.gif")
    assert got[1, 2].tolist() == [200, 100, 50]
    assert got[0, 0].tolist() == [255, 255, 255]


def test_cmyk(tmp_path):
    Image.new("CMYK", (5, 4), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert np.array_equal(read_image(tmp_path / "a.tif"), np.full((4, 5, 3), [255, 0, 0]))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(tmp_path, orientation):
    stored = {
        1: RGB,
        2: RGB[:, ::-1],
        3: RGB[::-1, ::-1],
        4: RGB[::-1],
        5: RGB.transpose(1, 0, 2),
        6: np.rot90(RGB, 1),
        7: RGB[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(RGB, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), RGB)


@pytest.mark.parametrize("orientation", [3, 5, 6, 7, 8])
def test_exif_rotation_agrees_with_annotations(tmp_path, orientation):
    """Annotators saw the turned image or the stored one; which, only the size can tell."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    turned = read_image(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", size=turned.shape[:2]), turned)
    assert np.array_equal(read_image(tmp_path / "a.png", size=(99, 99)), turned)
    stored = read_image(tmp_path / "a.png", size=(12, 17))
    assert np.array_equal(stored, turned if orientation == 3 else RGB)


def stretched(plane):
    plane = plane.astype(float)
    return np.rint((plane - plane.min()) * 255 / np.ptp(plane)).astype(np.uint8)


def test_tiff_that_pillow_cannot_read(tmp_path, rng):
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    planes = rng.integers(100, 5000, (5, 12, 17), dtype=np.uint16)
    path = tmp_path / "a.tif"
    grey = {"photometric": "minisblack"}
    for options in (
        {"planarconfig": "separate"},
        {"planarconfig": "separate", "compression": "zlib", "predictor": True},
        {"planarconfig": "separate", "bigtiff": True, "byteorder": ">"},
    ):
        for count in (2, 3, 5):
            tifffile.imwrite(path, planes[:count], **grey, **options)
            got = read_image(path)
            assert got.flags.c_contiguous
            assert np.array_equal(decode_image(path.read_bytes(), "a"), got)
            for i in range(3):
                expected = stretched(planes[i]) if i < count else np.zeros((12, 17))
                assert np.array_equal(got[..., i], expected), (options, count)
    pixels = np.ascontiguousarray(planes.transpose(1, 2, 0))
    tifffile.imwrite(path, pixels, **grey, planarconfig="contig")
    assert np.array_equal(read_image(path)[..., 2], stretched(planes[2]))
    tifffile.imwrite(path, pixels[..., :3].astype(np.float32), photometric="rgb")
    assert np.array_equal(read_image(path), stretched(pixels[..., :3]))
    tifffile.imwrite(path, RGB[..., :2], **grey, planarconfig="contig")
    assert np.array_equal(read_image(path), np.pad(RGB[..., :2], ((0, 0), (0, 0), (0, 1))))
    tifffile.imwrite(path, planes[0].astype(float))
    assert np.array_equal(read_image(path), as_rgb(stretched(planes[0])))
    tifffile.imwrite(path, planes[:2].astype(float), metadata={"axes": "CYX"})
    assert np.array_equal(read_image(path)[..., 1], stretched(planes[1]))
    tifffile.imwrite(
        path, planes[:4].reshape(2, 2, 12, 17).astype(float), metadata={"axes": "ZCYX"}
    )
    assert np.array_equal(read_image(path)[..., 1], stretched(planes[1]))


def test_truncated_tiff_that_pillow_cannot_read(tmp_path, rng):
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    path = tmp_path / "a.tif"
    planes = rng.integers(100, 5000, (2, 50, 60), dtype=np.uint16)
    for compression in (None, "zlib"):
        tifffile.imwrite(path, planes, planarconfig="separate", compression=compression)
        whole = path.read_bytes()
        for share in (0.01, 0.3, 0.6, 0.95):
            path.write_bytes(whole[: int(share * len(whole))])
            with pytest.raises(ImageError, match=r"a.tif "):
                read_image(path)
            with pytest.raises(ImageError, match=r"^row 7 "):
                decode_image(path.read_bytes(), "row 7")


def test_tifffile_is_named_where_it_would_help(tmp_path, monkeypatch):
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 6)))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(
        ImageError, match=r'a.tif cannot be decoded: .*pip install "pyifcn\[data\]"'
    ):
        read_image(tmp_path / "a.tif")


def test_first_of_several_frames(tmp_path):
    frames = [Image.fromarray(np.full((4, 5), value, np.uint8)) for value in (10, 20)]
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    assert (read_image(tmp_path / "a.tif") == 10).all()


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_truncated(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.tile(RGB, (20, 20, 1))).save(path)
    whole = path.read_bytes()
    for share in (0.3, 0.6, 0.95):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ImageError, match=f"a.{suffix} "):
            read_image(path)


def test_damaged(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a.png cannot be decoded"):
        read_image(path)


def test_refusals(tmp_path):
    with pytest.raises(ImageError, match=r"nothing.png does not exist"):
        read_image(tmp_path / "nothing.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_image(tmp_path)
    for name, content in [("empty.png", b""), ("text.png", b"not an image at all\n" * 99)]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=f"{name} is not an image in a known format"):
            read_image(tmp_path / name)


@pytest.mark.parametrize("limit", [150, 60])
def test_too_many_pixels(tmp_path, monkeypatch, limit):
    """Pillow warns above the limit and raises above twice the limit; both are refused."""
    Image.fromarray(RGB).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ImageError, match=r"a.png is too large"):
        read_image(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert np.array_equal(read_image(tmp_path / "a.png"), RGB)
