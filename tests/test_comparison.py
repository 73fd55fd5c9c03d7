"""Comparing heads: what is trained, that it goes on, and what it leaves."""

import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the networks need PyTorch")
from PIL import Image

from pyifcn import comparison
from pyifcn.comparison import Entry
from pyifcn.comparison.entries import entries
from pyifcn.comparison.measure import measure
from pyifcn.comparison.table import table
from pyifcn.data import CocoInstances, SyntheticShapes, write_coco
from pyifcn.models import DeepMask, InstanceFCN, ResidualPyramid, TestSettings
from pyifcn.training import network, preset

TRAIN = SyntheticShapes(3, size=(64, 64), shapes=(3, 5))
VAL = SyntheticShapes(2, size=(64, 64), seed=1, shapes=(3, 5))
TINY = {"steps": 2, "batch": 1, "crop": 64, "windows": 16, "warmup": 1, "workers": 1}
FIGURES = ("AR@10", "AR@100", "AR@1000", "quality", "head parameters", "head GFLOP", "seconds")


def test_entries_are_heads_on_views():
    every = entries()
    assert len(every) == 14
    assert [entry.name for entry in entries(["k3", "fcn", "k3"], ["image"])] == [
        "k3-image",
        "fcn-image",
    ]
    assert Entry("k7", "crop").title == "InstanceFCN, k = 7"
    assert (Entry("k7", "crop").grid, Entry("deepmask", "crop").network) == (7, "deep_mask")
    for heads, views, message in (
        (["k2"], ["crop"], "heads must be among"),
        ([], ["crop"], "heads must name at least one"),
        (["k3"], ["window"], "views must be among"),
    ):
        with pytest.raises(ValueError, match=message):
            entries(heads, views)


def test_crops_and_whole_images_have_one_budget():
    base = preset("shapes")
    crop, image = (Entry("k5", view).config("shapes", TRAIN, {}) for view in ("crop", "image"))
    assert replace(crop, short_sides=base.short_sides) == base
    assert image.view == "image"
    assert image.short_sides == (24, 32, 48, 64, 96, 128)
    assert image.steps == crop.steps
    pixels = np.mean(np.square(image.short_sides)) * image.batch
    assert pixels == pytest.approx(crop.batch * crop.crop**2, rel=0.05)
    assert image.batch * image.windows == pytest.approx(crop.batch * crop.windows, rel=0.05)
    wide = Entry("k5", "image").config("shapes", SyntheticShapes(2, size=(64, 128)), {})
    assert wide.short_sides == image.short_sides
    assert wide.batch == pytest.approx(image.batch / 2, abs=0.5)
    assert Entry("fcis", "crop").config("shapes", TRAIN, {}).mask_weight == 10
    assert Entry("fcis", "crop").config("shapes", TRAIN, {"mask_weight": 3.0}).mask_weight == 3


def test_a_comparison_leaves_a_table_and_a_page_and_is_not_done_twice(tmp_path):
    said = []

    def run(**options):
        return comparison.compare(
            TRAIN,
            VAL,
            tmp_path,
            heads=["fcn", "deepmask", "k5", "fcis"],
            echo=said.append,
            **options,
        )

    rows = run(views=["crop"], changes=TINY)
    assert [row["head"] for row in rows] == ["fcn", "deepmask", "k5", "fcis"]
    assert json.loads((tmp_path / "table.json").read_text()) == rows
    for row in rows:
        assert all(row[name] >= 0 for name in FIGURES)
        assert ("mAP@0.7" in row) == (row["head"] in ("fcn", "fcis"))
    assert "mAP@0.5 without voting" in rows[3]
    text = (tmp_path / "table.md").read_text()
    assert text == table(rows)
    assert text.count("\n") == 2 + 4 + 1
    page = (tmp_path / "page.md").read_text()
    assert text in page
    names = {path.name for path in (tmp_path / "pictures").iterdir()}
    assert names == {"fcn.png", "instance_fcn.png", "heads.png", "masks.png"}
    for name in names:
        assert f"(pictures/{name})" in page
        assert np.asarray(Image.open(tmp_path / "pictures" / name)).std() > 10

    written = (tmp_path / "k5-crop" / "weights.safetensors").stat().st_mtime_ns
    (tmp_path / "deepmask-crop" / "measured.json").unlink()
    again = run(views=["crop"], changes=TINY)
    assert (tmp_path / "k5-crop" / "weights.safetensors").stat().st_mtime_ns == written
    timeless = [{k: v for k, v in row.items() if k != "seconds"} for row in (*rows, *again)]
    assert timeless[:4] == timeless[4:]
    with pytest.raises(ValueError, match="is of a run with steps = 2, not 3"):
        run(views=["crop"], changes={**TINY, "steps": 3})
    assert len(said) == 10


def test_a_comparison_does_not_go_on_with_something_else(tmp_path):
    names = ("train", "val")
    for name, data in zip(names, (TRAIN, VAL), strict=True):
        write_coco(data, tmp_path / f"{name}.json", tmp_path)

    def run(**options):
        train, val = (CocoInstances(tmp_path / f"{name}.json", tmp_path) for name in names)
        given = {"views": ["crop"], "changes": TINY, "echo": str, **options}
        return comparison.compare(train, val, tmp_path / "out", heads=["fcn"], **given)

    def change(name):
        content = json.loads((tmp_path / f"{name}.json").read_text())
        del content["annotations"][0]
        (tmp_path / f"{name}.json").write_text(json.dumps(content))

    with pytest.raises(ValueError, match="backbone must be"):
        run(backbone="resnet")
    rows = run()
    weights = tmp_path / "weights.npz"
    weights.write_bytes(b"")
    for options, name in (
        ({"backbone": "squeezenet"}, "backbone"),
        ({"pretrained": weights}, "pretrained"),
        ({"categories": {1: "a", 2: "b", 3: "c", 4: "d"}}, "categories"),
    ):
        with pytest.raises(ValueError, match=rf"fcn-crop has a comparison with another {name};"):
            run(**options)
    measured = tmp_path / "out" / "fcn-crop" / "measured.json"
    before = measured.read_text()
    assert run() == rows
    assert measured.read_text() == before
    change("val")
    run()
    assert measured.read_text() != before
    change("train")
    with pytest.raises(ValueError, match="fcn-crop has a comparison with another train_data;"):
        run()


def test_no_data_is_refused(tmp_path):
    with pytest.raises(ValueError, match="val_data must not be empty"):
        comparison.compare(TRAIN, VAL[:0], tmp_path)


def test_heads_cost_what_they_are_made_of():
    trunk = ResidualPyramid(widths=(8, 8), blocks=(1, 1), channels=8)
    settings = TestSettings(scales=(1.0,), peaks=True, max_proposals=5)
    instance = measure(InstanceFCN(trunk, 3, width=4, settings=settings).eval(), VAL, 2)
    assert instance["head parameters"] == 8 * 4 + 4 + 9 * 4 * 9 + 9
    objectness = 9 * 8 * 4 + 4
    pixels = 128 * 128
    assert instance["head GFLOP"] == pytest.approx(
        2 * pixels * (8 * 4 + 9 * 4 * 9 + objectness) / 1e9
    )
    deep = measure(DeepMask(trunk, 7, 21, width=4, settings=settings).eval(), VAL, 2)
    assert deep["head parameters"] == 8 * 4 + 4 + (49 * 4 * 4 + 4) + (4 * 441 + 441)
    assert deep["head GFLOP"] == pytest.approx(
        2 * pixels * (8 * 4 + 49 * 4 * 4 + 4 * 441 + objectness) / 1e9
    )
    assert deep["trunk GFLOP"] == instance["trunk GFLOP"]


def test_photographs_are_compared_at_the_papers_scales():
    for name, crop in (("paper", 224), ("photos", 256)):
        config = Entry("k5", "crop").config(name, TRAIN, {"steps": 7})
        assert (config.crop, config.steps) == (crop, 7)
        assert config.short_sides == preset("paper").short_sides
    assert network("paper", head="fcis", categories={1: "a"}).stride == 16
