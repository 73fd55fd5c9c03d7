"""PASCAL VOC, SBD and Cityscapes: small folders as their archives make them."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from pyifcn.data import (
    CityscapesInstances,
    DataError,
    ImageError,
    SbdInstances,
    SkippedWarning,
    VocInstances,
)
from pyifcn.data.mat import read_struct

SIZE = (24, 32)


def save_palette(values, path):
    image = Image.fromarray(values.astype(np.uint8))
    image.putpalette(np.random.default_rng(1).integers(0, 256, 768).tolist())
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def save_image(path, size=SIZE):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], "green").save(path)


def drawn():
    """VOC's two label images: objects 1 and 2 of classes 15 and 8, outlined by 255."""
    objects, classes = np.zeros((2, *SIZE), np.uint8)
    for number, (label, part) in enumerate([(15, np.s_[2:12, 3:12]), (8, np.s_[10:22, 11:30])], 1):
        objects[part], classes[part] = 255, 255
        inner = tuple(slice(s.start + 1, s.stop - 1) for s in part)
        objects[inner], classes[inner] = number, label
    return objects, classes


@pytest.fixture
def voc(tmp_path):
    folder = tmp_path / "VOC2012"
    objects, classes = drawn()
    for name in ("2007_000032", "2008_000001"):
        save_image(folder / f"JPEGImages/{name}.jpg")
        save_palette(objects, folder / f"SegmentationObject/{name}.png")
        save_palette(classes, folder / f"SegmentationClass/{name}.png")
    lists = folder / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2008_000001\n2007_000032\n\n")
    (lists / "val.txt").write_text("2007_000032\n")
    return folder


def test_voc(voc):
    data = VocInstances(voc, split="train")
    assert repr(data) == f"VocInstances({str(voc)!r}, 2 images)"
    assert [sample.image_id for sample in data] == ["2008_000001", "2007_000032"]
    assert data.categories[1] == "aeroplane"
    assert data.categories[20] == "tvmonitor"
    sample = data[0]
    objects, _ = drawn()
    assert np.array_equal(sample.masks.to_dense(), [objects == i for i in (1, 2, 255)])
    assert sample.labels.tolist() == [15, 8, 255]
    assert [data.categories[i] for i in sample.labels] == ["person", "cat", "void"]
    assert sample.crowd.tolist() == [False, False, True]
    assert sample.image.shape == (*SIZE, 3)
    assert sample.file_name == "2008_000001.jpg"
    assert len(VocInstances(voc, split="val")) == 1
    (voc / "JPEGImages").rename(voc / "elsewhere")
    assert len(VocInstances(voc, voc / "elsewhere", split="val")[0].masks) == 3


def test_fingerprints_of_folders_are_those_of_names(voc):
    data = VocInstances(voc, split="val")
    assert data.fingerprint() == VocInstances(voc, split="val").fingerprint()
    assert data.fingerprint() != data[:0].fingerprint()


def test_voc_takes_the_class_of_most_pixels(voc):
    _, classes = drawn()
    classes[3, 4], classes[4, 4:8] = 3, 255
    save_palette(classes, voc / "SegmentationClass/2007_000032.png")
    assert VocInstances(voc, split="val").truth(0).labels.tolist() == [15, 8, 255]
    save_palette(np.where(classes == 8, 255, classes), voc / "SegmentationClass/2007_000032.png")
    with pytest.raises(DataError, match=r"2007_000032.png: object 2 has no class in .*Class"):
        VocInstances(voc, split="val").truth(0)
    save_palette(np.where(classes == 8, 50, classes), voc / "SegmentationClass/2007_000032.png")
    with pytest.raises(DataError, match=r"2007_000032.png has the class 50, which VOC has not"):
        VocInstances(voc, split="val").truth(0)


def test_voc_splits(voc):
    with pytest.raises(DataError, match="Segmentation: choose a split; there are: train, val"):
        VocInstances(voc)
    with pytest.raises(DataError, match="there is no split 'test'; there are: train, val"):
        VocInstances(voc, split="test")
    (voc / "ImageSets/Segmentation/val.txt").unlink()
    assert len(VocInstances(voc)) == 2
    (voc / "ImageSets/Segmentation/train.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"train.txt cannot be read"):
        VocInstances(voc)


def test_voc_files_that_are_wrong(voc):
    path = voc / "SegmentationObject/2007_000032.png"
    objects, classes = drawn()
    data = VocInstances(voc, split="val")
    Image.fromarray(np.repeat(objects[..., None], 3, axis=2)).save(path)
    with pytest.raises(ImageError, match=r"2007_000032.png holds pixels of kind RGB"):
        data.truth(0)
    Image.fromarray(objects.astype(np.uint16) * 9).save(path)
    with pytest.raises(DataError, match="holds 2295, more than VOC's 255"):
        data.truth(0)
    save_palette(objects[1:], path)
    with pytest.raises(DataError, match=r"SegmentationObject.*SegmentationClass.* differ in size"):
        data.truth(0)
    save_palette(classes[1:], voc / "SegmentationClass/2007_000032.png")
    with pytest.raises(DataError, match=r"jpg is 24 x 32 pixels, but .*Object.*png says 23 x 32"):
        data[0]
    path.unlink()
    with pytest.raises(DataError, match=r"SegmentationObject.2007_000032.png does not exist"):
        VocInstances(voc, split="val")


def test_voc_skips_by_name(voc):
    (voc / "ImageSets/Segmentation/all.txt").write_text("2007_000032\n2008_000001\nx\ny\n")
    save_image(voc / "JPEGImages/y.jpg")
    path = voc / "SegmentationClass/2008_000001.png"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.warns(SkippedWarning):
        data = VocInstances(voc, split="all", on_error="skip")
    assert [sample.image_id for sample in data] == ["2007_000032"]
    for line, name in zip(data.skipped, ("x", "y", "2008_000001.png"), strict=True):
        assert name in line
    with pytest.raises(DataError, match=r"x.jpg does not exist"):
        VocInstances(voc, split="all")


@pytest.fixture
def sbd(tmp_path):
    io = pytest.importorskip("scipy.io", reason="SciPy is not installed")
    folder = tmp_path / "dataset"
    (folder / "inst").mkdir(parents=True)
    segmentation = np.where(drawn()[0] == 255, 0, drawn()[0])
    for name in ("2008_000002", "2008_000003"):
        save_image(folder / f"img/{name}.jpg")
        save_mat(io, folder / f"inst/{name}.mat", segmentation, [[15], [8]])
    (folder / "train.txt").write_text("2008_000002\n2008_000003")
    return folder


def save_mat(io, path, segmentation, categories):
    """As MATLAB saves the struct, with the boundaries that come beside."""
    boundaries = np.empty((len(categories), 1), object)
    boundaries[:, 0] = [np.zeros(SIZE, bool)] * len(categories)
    found = {
        "Segmentation": segmentation,
        "Categories": np.array(categories, np.uint8).reshape(-1, 1),
        "Boundaries": boundaries,
    }
    io.savemat(path, {"GTinst": found}, do_compression=True)


def test_sbd(sbd):
    data = SbdInstances(sbd)
    assert [sample.image_id for sample in data] == ["2008_000002", "2008_000003"]
    sample = data[1]
    assert np.array_equal(sample.masks.to_dense(), [drawn()[0] == i for i in (1, 2)])
    assert sample.labels.tolist() == [15, 8]
    assert not sample.crowd.any()
    assert data.categories[15] == "person"
    assert sample.image.shape == (*SIZE, 3)


def test_sbd_files_that_are_wrong(sbd):
    from scipy import io

    path = sbd / "inst/2008_000002.mat"
    whole = path.read_bytes()
    data = SbdInstances(sbd)
    before = data.truth(0).masks
    for end in range(0, len(whole) - 8, 7):
        path.write_bytes(whole[:end])
        with pytest.raises(DataError, match=r"2008_000002.mat (cannot be read|has no struct)"):
            data.truth(0)
    path.write_bytes(whole)
    assert data.truth(0).masks == before
    for content, message in [
        ({"GTcls": 1}, "has no struct GTinst"),
        ({"GTinst": 1}, "has no struct GTinst"),
        ({"GTinst": {"Segmentation": drawn()[0]}}, "is not SBD's: GTinst has no matrix Categories"),
        ({"GTinst": {"Segmentation": 0.5}}, "is not SBD's: GTinst has no matrix Segmentation"),
    ]:
        io.savemat(path, content)
        with pytest.raises(DataError, match=rf"2008_000002.mat {message}"):
            data.truth(0)
    save_mat(io, path, drawn()[0], [[15], [8]])
    with pytest.raises(DataError, match="Segmentation has 255, of 2 categories"):
        data.truth(0)
    save_mat(io, path, drawn()[0] % 255, [[15], [21]])
    with pytest.raises(DataError, match="there is no category 21"):
        data.truth(0)
    with pytest.warns(SkippedWarning, match=r"2008_000002.mat: there is no category 21"):
        data = SbdInstances(sbd, on_error="skip")
    assert [sample.image_id for sample in data] == ["2008_000003"]
    path.unlink()
    with pytest.raises(DataError, match=r"inst.2008_000002.mat does not exist"):
        SbdInstances(sbd)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i4", "u4", "i8", "f4", "f8"])
def test_mat_equals_scipy(tmp_path, rng, compressed, dtype):
    io = pytest.importorskip("scipy.io", reason="SciPy is not installed")
    path = tmp_path / "a.mat"
    for shape in [(5, 7), (1, 1), (0, 0), (0, 3), (3, 1), (2, 3, 4)]:
        fields = {
            "x": rng.integers(0, 100, shape).astype(dtype),
            "text": "some words",
            "cells": np.array([[1, "two"]], object),
            "a_name_of_many_letters": rng.random((1, 2)),
        }
        io.savemat(path, {"before": 3, "it": fields, "after": "x"}, do_compression=compressed)
        got = read_struct(path, "it")
        expected = io.loadmat(path)["it"][0, 0]
        assert sorted(got) == ["a_name_of_many_letters", "x"]
        for name in got:
            assert got[name].dtype == expected[name].dtype
            assert np.array_equal(got[name], expected[name])
    for name in ("before", "nothing"):
        with pytest.raises(DataError, match=f"a.mat has no struct {name}"):
            read_struct(path, name)


def test_mat_of_other_machines(tmp_path):
    """Big-endian, numbers narrower than their class, and small elements, byte by byte."""

    def element(kind, data):
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    def small(kind, data):
        return struct.pack(">HH", len(data), kind) + data.ljust(4, b"\0")

    def head(kind, sides, name=b""):
        flags = element(6, struct.pack(">II", kind, 0))
        return flags + element(5, struct.pack(">ii", *sides)) + small(1, name)

    x = element(14, head(6, (2, 1)) + small(2, b"\x07\xc8"))
    y = element(14, head(11, (1, 3)) + element(4, struct.pack(">HHH", 1, 2, 60000)))
    names = small(5, struct.pack(">i", 4)) + element(1, b"x\0\0\0y\0\0\0")
    content = element(14, head(2, (1, 1), b"it") + names + x + y)
    (tmp_path / "a.mat").write_bytes(bytes(124) + b"\x01\x00MI" + content)
    got = read_struct(tmp_path / "a.mat", "it")
    assert got["x"].tolist() == [[7], [200]]
    assert got["x"].dtype == np.float64
    assert got["y"].tolist() == [[1, 2, 60000]]


def test_damaged_mat_is_read_or_refused(tmp_path, rng):
    """Bytes turned at random end in numbers or in `DataError`, never in anything else."""
    io = pytest.importorskip("scipy.io", reason="SciPy is not installed")
    path = tmp_path / "a.mat"
    refused = 0
    for compressed in (False, True):
        io.savemat(path, {"GTinst": {"x": drawn()[0]}}, do_compression=compressed)
        whole = path.read_bytes()
        for _ in range(1500):
            content = bytearray(whole)
            for at in rng.integers(126, min(len(whole), 420), 2).tolist():
                content[at] = rng.integers(256)
            path.write_bytes(content)
            try:
                read_struct(path, "GTinst")
            except DataError:
                refused += 1
    assert refused > 1000


@pytest.fixture
def cityscapes(tmp_path):
    ids = np.full(SIZE, 7, np.uint16)  # road
    ids[:5] = 23  # sky
    ids[5:9, 2:8] = 24000
    ids[7:15, 10:14] = 24012
    ids[10:20, 15:22] = 26001
    ids[20:, 3:9] = 24  # people
    ids[20:22, 20:30] = 33  # bicycles
    ids[2:6, 25:31] = 29000  # a caravan
    for city, name in (("aachen", "aachen_000000_000019"), ("bochum", "bochum_000000_000313")):
        save_image(tmp_path / f"leftImg8bit/train/{city}/{name}_leftImg8bit.png")
        path = tmp_path / f"gtFine/train/{city}/{name}_gtFine_instanceIds.png"
        path.parent.mkdir(parents=True)
        Image.fromarray(ids).save(path)
        save_palette(ids % 256, path.with_name(f"{name}_gtFine_labelIds.png"))
    return tmp_path, ids


def test_cityscapes(cityscapes):
    folder, ids = cityscapes
    data = CityscapesInstances(folder)
    stem = "bochum_000000_000313_leftImg8bit"
    assert [record["city"] for record in data.records] == ["aachen", "bochum"]
    sample = data[1]
    assert (sample.image_id, sample.file_name) == (stem, f"train/bochum/{stem}.png")
    values = (24, 33, 24000, 24012, 26001, 29000)
    assert np.array_equal(sample.masks.to_dense(), [ids == value for value in values])
    assert sample.labels.tolist() == [24, 33, 24, 24, 26, 29]
    assert sample.crowd.tolist() == [True, True, False, False, False, True]
    assert [data.categories[i] for i in (24, 26, 33)] == ["person", "car", "bicycle"]
    assert len(data.filter(lambda record: record["city"] == "aachen")) == 1


def test_cityscapes_files_that_are_wrong(cityscapes):
    folder, ids = cityscapes
    path = folder / "gtFine/train/aachen/aachen_000000_000019_gtFine_instanceIds.png"
    data = CityscapesInstances(folder, split="train")
    Image.fromarray(np.where(ids == 7, np.uint16(7003), ids)).save(path)
    with pytest.raises(DataError, match=r"instanceIds.png: 7003 is no instance of a class"):
        data[0]
    Image.fromarray(ids[:, :-1]).save(path)
    with pytest.raises(DataError, match=r"is 24 x 32 pixels, but .*instanceIds.png says 24 x 31"):
        data[0]
    with pytest.warns(SkippedWarning, match="instanceIds.png says 24 x 31"):
        assert len(CityscapesInstances(folder, on_error="skip")) == 1
    Image.fromarray(ids).save(path)
    (folder / "leftImg8bit/train/bochum/bochum_000000_000313_leftImg8bit.png").unlink()
    with pytest.raises(DataError, match=r"bochum_000000_000313_leftImg8bit.png does not exist"):
        CityscapesInstances(folder)
    with pytest.warns(SkippedWarning, match="bochum_000000_000313"):
        assert len(CityscapesInstances(folder, on_error="skip")) == 1


def test_cityscapes_folders_that_are_wrong(cityscapes):
    folder, _ = cityscapes
    with pytest.raises(DataError, match="gtFine: there is no split 'val'; there are: train"):
        CityscapesInstances(folder, split="val")
    (folder / "gtFine/val").mkdir()
    with pytest.raises(DataError, match="gtFine: choose a split; there are: train, val"):
        CityscapesInstances(folder)
    with pytest.raises(DataError, match=r"gtFine.val has no .*instanceIds.png"):
        CityscapesInstances(folder, split="val")
    (folder / "gtFine").rename(folder / "gtCoarse")
    with pytest.raises(DataError, match="gtFine does not exist"):
        CityscapesInstances(folder)
