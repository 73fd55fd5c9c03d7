"""Label images: every kind of file read exactly, pairs found, everything else refused by name."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from pyifcn.data import (
    DataError,
    ImageError,
    LabelImages,
    SkippedWarning,
    read_labels,
)

SIZE = (23, 37)


def labels_of(rng, dtype="uint16", most=300):
    """Blocks of a few values, 0 among them, up to `most`."""
    values = np.unique(np.append(rng.integers(1, most, 6), [0, most])).astype(dtype)
    blocks = rng.choice(values, (6, 8))
    return np.kron(blocks, np.ones((4, 5), dtype))[: SIZE[0], : SIZE[1]].astype(dtype)


def reference_masks(labels):
    values = np.setdiff1d(labels, 0)
    return labels == values[:, None, None], values


@pytest.fixture
def tifffile():
    return pytest.importorskip("tifffile", reason="tifffile is not installed")


@pytest.fixture
def folders(tmp_path, rng):
    """Three pairs, `images/a.png` and `labels/a.npy` and so on, and the label images by name."""
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    drawn = {name: labels_of(rng) for name in "abc"}
    for name, labels in drawn.items():
        Image.fromarray(np.full((*SIZE, 3), ord(name), np.uint8)).save(
            tmp_path / f"images/{name}.png"
        )
        np.save(tmp_path / f"labels/{name}.npy", labels)
    return tmp_path, drawn


@pytest.mark.parametrize(
    ("mode", "dtype", "most"),
    [("L", "uint8", 255), ("I;16", "uint16", 65535), ("P", "uint8", 255), ("1", "bool", 1)],
)
def test_png(tmp_path, rng, mode, dtype, most):
    labels = labels_of(rng, dtype, most) if mode != "1" else labels_of(rng, "uint8", 3) > 1
    image = Image.fromarray(labels)
    if mode == "P":
        image.putpalette(rng.integers(0, 256, 768).tolist())
    image.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as saved:
        assert saved.mode.startswith(mode[0])
    got = read_labels(tmp_path / "a.png")
    assert got.dtype.kind in "iu"
    assert np.array_equal(got, labels)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_png_of_few_bits(tmp_path, rng, bits):
    labels = rng.integers(0, 2**bits, SIZE, dtype=np.uint8)
    image = Image.fromarray(labels)
    image.putpalette(rng.integers(0, 256, 3 * 2**bits).tolist())
    image.save(tmp_path / "a.png", bits=bits)
    assert np.array_equal(read_labels(tmp_path / "a.png"), labels)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "uint32", "int32", "int64"])
@pytest.mark.parametrize(
    "options", [{}, {"compression": "zlib"}, {"bigtiff": True}, {"tile": (16, 16)}]
)
def test_tiff(tifffile, tmp_path, rng, dtype, options):
    most = np.iinfo(dtype).max
    labels = labels_of(rng, dtype, most)
    labels[0, 0] = np.iinfo(dtype).min
    tifffile.imwrite(tmp_path / "a.tif", labels, **options)
    got = read_labels(tmp_path / "a.tif")
    assert got.dtype == labels.dtype
    assert np.array_equal(got, labels)


def test_tiff_of_other_programs(tifffile, tmp_path, rng):
    labels = labels_of(rng)
    for compression in (None, "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        Image.fromarray(labels).save(tmp_path / "a.tiff", compression=compression)
        assert np.array_equal(read_labels(tmp_path / "a.tiff"), labels)
    tifffile.imwrite(tmp_path / "b.tif", labels, imagej=True)
    assert np.array_equal(read_labels(tmp_path / "b.tif"), labels)
    tifffile.imwrite(tmp_path / "c.tif", labels[None, None].astype(np.float32))
    assert np.array_equal(read_labels(tmp_path / "c.tif"), labels)


def test_npy(tmp_path, rng):
    for dtype in ("uint8", "int64", ">u4", "float64"):
        labels = labels_of(rng, dtype, 250)
        for order in "CF":
            np.save(tmp_path / "a.npy", np.asarray(labels, order=order))
            assert np.array_equal(read_labels(tmp_path / "a.npy"), labels)


def npy(values, **options):
    file = io.BytesIO()
    np.save(file, values, **options)
    return file.getvalue()


def png(values):
    file = io.BytesIO()
    Image.fromarray(values).save(file, format="png")
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.png", b"", "cannot be decoded"),
        ("a.tif", b"II*\0", "cannot be decoded"),
        ("a.tif", b"no tiff", "cannot be decoded"),
        ("a.npy", b"\x93NUMPY\x01\x00", "cannot be decoded"),
        ("a.npy", npy(np.array([[{}]], object), allow_pickle=True), "cannot be decoded"),
        ("a.npy", npy(np.zeros((2, 3, 4), int)), r"holds int64 \(2, 3, 4\), expected integers"),
        ("a.npy", npy(np.array([["x"]])), "holds .*, expected integers"),
        ("a.npy", npy(np.array([[0.5, 1]])), "holds numbers that are not whole"),
        ("a.npy", npy(np.array([[np.nan, 1]])), "holds numbers that are not whole"),
        ("a.png", png(np.zeros((3, 4, 3), np.uint8)), "holds pixels of kind RGB, expected one"),
        ("a.png", png(np.zeros((3, 4, 4), np.uint8)), "holds pixels of kind RGBA, expected one"),
    ],
)
def test_refused(tmp_path, name, content, message):
    if name == "a.tif" and content.startswith(b"II"):
        pytest.importorskip("tifffile", reason="tifffile is not installed")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=rf"{name} {message}"):
        read_labels(tmp_path / name)


def test_missing_files(tmp_path):
    with pytest.raises(ImageError, match=r"b.png does not exist"):
        read_labels(tmp_path / "b.png")
    with pytest.raises(ImageError, match="is a folder"):
        read_labels(tmp_path)


def test_stacks_and_colours_in_tiff(tifffile, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, *SIZE), np.uint16))
    with pytest.raises(ImageError, match=r"a.tif holds 5 x 23 x 37 values, expected one plane"):
        read_labels(tmp_path / "a.tif")
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((*SIZE, 3), np.uint8), photometric="rgb")
    with pytest.raises(ImageError, match=r"b.tif holds 23 x 37 x 3 values"):
        read_labels(tmp_path / "b.tif")


@pytest.mark.parametrize("suffix", ["png", "tif", "big.tif", "deflate.tif", "npy"])
def test_truncated_anywhere(tmp_path, rng, suffix):
    if suffix.endswith("tif"):
        tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    labels = rng.integers(0, 60000, (60, 70), dtype=np.uint16)
    path = tmp_path / f"a.{suffix}"
    if suffix == "png":
        Image.fromarray(labels).save(path)
    elif suffix == "npy":
        np.save(path, labels)
    elif suffix == "deflate.tif":
        Image.fromarray(labels).save(path, compression="tiff_adobe_deflate")
    else:
        options = {"bigtiff": True, "tile": (16, 32)} if suffix == "big.tif" else {}
        tifffile.imwrite(path, labels, **options)
    whole = path.read_bytes()
    for end in np.linspace(0, len(whole) - 40, 40).astype(int).tolist():
        path.write_bytes(whole[:end])
        with pytest.raises(ImageError, match=rf"{path.name} "):
            read_labels(path)
    path.write_bytes(whole)
    assert np.array_equal(read_labels(path), labels)


def test_tifffile_is_asked_for(tmp_path, rng, monkeypatch):
    Image.fromarray(labels_of(rng)).save(tmp_path / "a.tif")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(ImportError, match=r'a.tif: reading TIFF .* "pyifcn\[data\]"'):
        read_labels(tmp_path / "a.tif")


def test_samples(folders):
    folder, drawn = folders
    data = LabelImages(folder / "labels", folder / "images")
    assert repr(data) == f"LabelImages({str(folder / 'labels')!r}, 3 images)"
    assert [sample.image_id for sample in data] == ["a", "b", "c"]
    assert data.categories == {1: "object"}
    for sample in data:
        expected, values = reference_masks(drawn[sample.image_id])
        assert np.array_equal(sample.masks.to_dense(), expected)
        assert sample.labels.tolist() == [1] * len(values)
        assert not sample.crowd.any()
        assert (sample.image == ord(sample.image_id)).all()
        assert sample.file_name == f"{sample.image_id}.png"
        assert sample.info["labels"] == f"{sample.image_id}.npy"
    assert [sample.image_id for sample in data[::-2]] == ["c", "a"]
    assert [s.image_id for s in data.filter(lambda record: record["id"] != "b")] == ["a", "c"]


def test_truths_without_images(folders):
    folder, drawn = folders
    data = LabelImages(folder / "labels")
    assert len(data) == 3
    assert np.array_equal(data.truth(1).masks.to_dense(), reference_masks(drawn["b"])[0])
    with pytest.raises(DataError, match="was opened without the folder of its images"):
        data[0]


def test_negative_labels_are_crowds(folders):
    folder, _ = folders
    labels = np.zeros(SIZE, np.int32)
    labels[3:9, 4:12] = 5
    labels[10:, 20:] = -1
    np.save(folder / "labels/a.npy", labels)
    truth = LabelImages(folder / "labels", folder / "images").truth(0)
    assert truth.crowd.tolist() == [True, False]
    assert np.array_equal(truth.masks.to_dense(), [labels == -1, labels == 5])


def test_label_image_of_another_size(folders):
    folder, _ = folders
    np.save(folder / "labels/b.npy", np.zeros((5, 6), np.uint8))
    data = LabelImages(folder / "labels", folder / "images")
    with pytest.raises(DataError, match=r"b.png is 23 x 37 pixels, but .*b.npy says 5 x 6"):
        data[1]
    with pytest.warns(SkippedWarning, match=r"b.npy says 5 x 6"):
        data = LabelImages(folder / "labels", folder / "images", on_error="skip")
    assert [sample.image_id for sample in data] == ["a", "c"]
    assert len(data.skipped) == 1
    assert "2 images, 1 skipped" in repr(data)


def test_endings_of_programs(folders, rng):
    folder, drawn = folders
    for name, ending in zip("abc", ("_masks", "_cp_masks", "_label"), strict=True):
        (folder / f"labels/{name}.npy").rename(folder / f"labels/{name}{ending}.npy")
    data = LabelImages(folder / "labels", folder / "images")
    assert [record["id"] for record in data.records] == ["a", "b", "c"]
    together = folder / "together"
    together.mkdir()
    for name, labels in drawn.items():
        Image.fromarray(labels.astype(np.uint8)).save(together / f"{name}.png")
        Image.fromarray(labels).save(together / f"{name}_masks.png")
    data = LabelImages(together, together)
    assert [record["file_name"] for record in data.records] == ["a.png", "b.png", "c.png"]
    assert np.array_equal(data.truth(2).masks.to_dense(), reference_masks(drawn["c"])[0])


def test_unpaired_files_are_named(folders):
    folder, _ = folders
    (folder / "labels/b.npy").unlink()
    with pytest.raises(DataError, match=r"images: b.png has no label image in .*labels"):
        LabelImages(folder / "labels", folder / "images")
    for name in "klmnopq":
        np.save(folder / f"labels/{name}.npy", np.zeros(SIZE, np.uint8))
    (folder / "images/b.png").unlink()
    message = r"k.npy, l.npy, m.npy, n.npy, o.npy and 2 more have no image in .*images"
    with pytest.raises(DataError, match=message):
        LabelImages(folder / "labels", folder / "images")
    with pytest.warns(SkippedWarning):
        data = LabelImages(folder / "labels", folder / "images", on_error="skip")
    assert [record["id"] for record in data.records] == ["a", "c"]
    assert len(data.skipped) == 7
    assert "q.npy has no image" in data.skipped[-1]


def test_folders_that_hold_nothing(folders):
    folder, _ = folders
    (folder / "empty").mkdir()
    with pytest.raises(DataError, match="nowhere does not exist"):
        LabelImages(folder / "nowhere", folder / "images")
    with pytest.raises(DataError, match=r"a.npy is not a folder"):
        LabelImages(folder / "labels/a.npy", folder / "images")
    with pytest.raises(DataError, match="empty has no label images"):
        LabelImages(folder / "empty")
    with pytest.raises(DataError, match=r"a.png, b.png, c.png have no label image"):
        LabelImages(folder / "empty", folder / "images")


def test_two_of_one_name(folders):
    folder, drawn = folders
    Image.fromarray(drawn["a"]).save(folder / "labels/a.png")
    with pytest.raises(DataError, match=r"a.png and a.npy differ in nothing but the suffix"):
        LabelImages(folder / "labels", folder / "images")
    (folder / "labels/a.png").rename(folder / "labels/a_mask.png")
    with pytest.raises(DataError, match=r"a.png has two label images: a.npy and a_mask.png"):
        LabelImages(folder / "labels", folder / "images")
    Image.new("RGB", SIZE[::-1]).save(folder / "images/b.jpg")
    with pytest.warns(SkippedWarning):
        data = LabelImages(folder / "labels", folder / "images", on_error="skip")
    assert [sample.image_id for sample in data] == ["c"]
    assert len(data.skipped) == 3
    assert "b.png and b.jpg differ" in data.skipped[0]


def test_skipped_are_never_half_loaded(folders):
    folder, _ = folders
    for path in (folder / "images/a.png", folder / "labels/c.npy"):
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ImageError, match=r"a.png cannot be decoded"):
        list(LabelImages(folder / "labels", folder / "images"))
    with pytest.warns(SkippedWarning) as warned:
        data = LabelImages(folder / "labels", folder / "images", on_error="skip")
    assert [sample.image_id for sample in data] == ["b"]
    assert ["a.png" in data.skipped[0], "c.npy" in data.skipped[1]] == [True, True]
    assert [str(w.message) for w in warned] == [f"skipped: {line}" for line in data.skipped]


def test_bad_option(folders):
    with pytest.raises(ValueError, match="on_error must be 'refuse' or 'skip', got 'ignore'"):
        LabelImages(folders[0] / "labels", on_error="ignore")
