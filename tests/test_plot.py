"""Pictures: sizes, that masks show where they are, and that neighbours can be told apart."""

import numpy as np
import pytest
from PIL import Image

from pyifcn.masks import Masks
from pyifcn.plot import heat, overlay, panels, score_map_figure


def squares(*corners, side=10, size=(40, 60)):
    dense = np.zeros((len(corners), *size), bool)
    for mask, (y, x) in zip(dense, corners, strict=True):
        mask[y : y + side, x : x + side] = True
    return Masks.from_dense(dense)


def test_overlay_colours_the_masks_and_nothing_else():
    image = np.full((40, 60, 3), 100, np.uint8)
    picture = overlay(image, squares((5, 10)), scale=1)
    changed = (picture != 100).any(-1)
    assert changed[5:15, 10:20].all()
    changed[4:16, 9:21] = False
    assert not changed.any()
    inner, outline = picture[10, 15].astype(int), picture[5, 15].astype(int)
    assert abs(outline - 100).sum() > abs(inner - 100).sum() > 0


def test_overlay_tells_neighbours_apart():
    image = np.full((40, 60, 3), 128, np.uint8)
    corners = [(y, x) for y in (0, 10, 20, 30) for x in (0, 10, 20, 30, 40, 50)]
    picture = overlay(image, squares(*corners), scale=1).astype(int)
    centres = picture[5::10, 5::10]
    for axis in (0, 1):
        assert (abs(np.diff(centres, axis=axis)).sum(-1) > 20).all()


def test_overlay_sizes():
    image = np.zeros((40, 60, 3), np.uint8)
    none = squares((5, 10))[:0]
    assert overlay(image, none).shape == (160, 240, 3)
    assert overlay(image, none, scale=3).shape == (120, 180, 3)
    assert overlay(np.zeros((40, 1388, 3), np.uint8), Masks.from_rle([], (40, 1388))).shape == (
        40,
        1388,
        3,
    )


def test_overlay_survives_empty_and_full_masks():
    dense = np.zeros((3, 40, 60), bool)
    dense[1] = True
    dense[2, 39, 59] = True
    assert overlay(np.zeros((40, 60, 3), np.uint8), Masks.from_dense(dense)).any()


def test_overlay_refuses_what_does_not_fit():
    with pytest.raises(TypeError, match=r"image must be uint8 \(H, W, 3\), got uint8 \(40, 60\)"):
        overlay(np.zeros((40, 60), np.uint8), squares((5, 10)))
    with pytest.raises(ValueError, match=r"masks are of size \(40, 60\), the image of \(40, 61\)"):
        overlay(np.zeros((40, 61, 3), np.uint8), squares((5, 10)))
    image = np.zeros((40, 60, 3), np.uint8)
    with pytest.raises(TypeError, match=r"image must be a uint8 array \(H, W, 3\), got Image"):
        overlay(Image.fromarray(image), squares((5, 10)))
    with pytest.raises(TypeError, match=r"masks must be Masks, .* makes, got ndarray"):
        overlay(image, np.zeros((1, 40, 60), bool))


@pytest.mark.parametrize(("grid", "size"), [(5, 21), (3, 9), (7, 22)])
@pytest.mark.parametrize("window", [(10, 20), (0, 0)])
def test_score_map_figure(rng, grid, size, window):
    image = rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)
    score_maps = rng.normal(0, 60, (grid * grid, 30, 45)).astype(np.float32)
    picture = score_map_figure(image, score_maps, window, scale=2.0, size=size)
    assert picture.dtype == np.uint8
    assert picture.shape == (1260, 2360, 3)
    none = score_map_figure(image, score_maps, window, scale=2.0, size=size, mask_threshold=1e6)
    assert (picture != none).any()


def test_panels_stand_side_by_side_and_go_on_below():
    red, blue = (np.full((10, 20, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    picture = panels([[("a", red), ("b", blue), ("c", red)], [("d", blue)]], columns=2, side=100)
    assert picture.shape == (20 + 3 * 116, 20 + 2 * 120, 3)
    for line, place, colour in ((0, 0, red), (0, 1, blue), (1, 0, red), (2, 0, blue)):
        y, x = 20 + 46 + line * 116, 20 + place * 120
        assert (picture[y : y + 50, x : x + 100] == colour[0, 0]).all()
    assert panels([]).shape == (20, 20, 3)
    assert panels([[]]).shape == (20, 20, 3)
    for name in ("columns", "side"):
        with pytest.raises(ValueError, match=f"{name} must be positive, got 0"):
            panels([[("a", red)]], **{name: 0})
    assert panels([[("a", red)] * 4], columns=3, side=100).shape == (20 + 2 * 116, 20 + 2 * 120, 3)


def test_heat_rises_from_dark_to_light():
    colours = heat(np.linspace(0, 1, 9)).astype(int).sum(-1)
    assert (np.diff(colours) > 0).all()
    assert heat(np.array([-1, 2])).tolist() == heat(np.array([0, 1])).tolist()
