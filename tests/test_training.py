"""Training: windows and loss against slow references, learning, and going on after a kill."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs PyTorch")
import torch

import pyifcn
from pyifcn.data import CocoInstances, Sample, SyntheticNuclei, write_coco
from pyifcn.masks import Masks
from pyifcn.models import InstanceFCN, ResidualPyramid, load, save
from pyifcn.training import Config, network, preset, train, trainer
from pyifcn.training.checkpoint import write_checkpoint
from pyifcn.training.copy_paste import View, copy_paste
from pyifcn.training.loss import negatives, window_loss
from pyifcn.training.objective import objective
from pyifcn.training.trainer import learning_rate
from pyifcn.training.view import layers_of, make_scene, make_view
from pyifcn.training.views import Views
from pyifcn.training.windows import (
    AMBIGUOUS,
    NEGATIVE,
    POSITIVE,
    Windows,
    assign,
    instances,
    sample_windows,
)


def reference_state(boxes, size, stride, window, config):
    """What the window centred at each feature is, one feature and one instance at a time."""
    state = np.zeros(size, int)
    owner = np.zeros(size, int)
    for y in range(size[0]):
        for x in range(size[1]):
            nearest = np.inf
            for index, (x1, y1, x2, y2) in enumerate(boxes):
                side = max(x2 - x1, y2 - y1) / (stride * window)
                if not config.negative_side[0] <= side <= config.negative_side[1]:
                    continue
                dy = abs((y + 0.5) * stride - (y1 + y2) / 2) / stride
                dx = abs((x + 0.5) * stride - (x1 + x2) / 2) / stride
                distance = max(dy, dx)
                if distance >= min(nearest, config.negative_offset):
                    continue
                nearest = distance
                owner[y, x] = index
                fits = config.positive_side[0] <= side <= config.positive_side[1]
                close = distance <= config.positive_offset
                state[y, x] = POSITIVE if fits and close else AMBIGUOUS
    return state, owner


def reference_loss(score_maps, objectness, windows, truths, config, size=7):
    """Loss of positive windows (image, y, x) with their truths; None for a negative window."""
    grid = round(score_maps.shape[1] ** 0.5)
    score_term, mask_terms = [], []
    for (b, y, x), truth in zip(windows, truths, strict=True):
        score_term.append(logistic(objectness[b, y, x], float(truth is not None)))
        if truth is None:
            continue
        for i in range(size):
            for j in range(size):
                row, column = y - size // 2 + i, x - size // 2 + j
                logit = -np.inf
                if 0 <= row < score_maps.shape[2] and 0 <= column < score_maps.shape[3]:
                    cell = (2 * i + 1) * grid // (2 * size) * grid
                    cell += (2 * j + 1) * grid // (2 * size)
                    logit = score_maps[b, cell, row, column]
                mask_terms.append(logistic(logit, truth[i, j]))
    return np.mean(score_term) + config.mask_weight * np.mean(mask_terms)


def logistic(logit, target):
    return np.logaddexp(0, logit) - (target * logit if target else 0)


def disc(size: tuple[int, int], y: float, x: float, radius: float) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (rows + 0.5 - y) ** 2 + (columns + 0.5 - x) ** 2 < radius**2


def tiny(width: int = 16) -> InstanceFCN:
    torch.manual_seed(0)
    backbone = ResidualPyramid(2, widths=(8, 16), blocks=(1, 1), channels=16)
    return InstanceFCN(backbone, width=width, preprocess="percentile")


SMALL = preset(
    "nuclei", steps=12, batch=2, crop=64, windows=32, save_every=4, workers=2, precision="float32"
)

LONGER = replace(SMALL, steps=40)


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def reference_layers(dense: np.ndarray, labels: list[int]) -> np.ndarray:
    """Mask by mask into the first layer that is free there."""
    layers = [np.zeros(dense.shape[1:], np.int32)]
    for mask, label in zip(dense, labels, strict=True):
        free = [layer for layer in layers if not layer[mask].any()]
        if not free:
            layers.append(np.zeros_like(layers[0]))
        (free or layers[-1:])[0][mask] = label
    return np.stack(layers)


@pytest.mark.parametrize("count", [0, 1, 2, 30, 600])
@pytest.mark.parametrize("side", [1, 3, 12])
def test_layers_keep_overlapping_masks_apart(rng, count, side):
    size = (70, 130)
    dense = np.zeros((count, *size), bool)
    for mask in dense:
        y, x = rng.integers(0, (58, 118))
        mask[y : y + side, x : x + side] = rng.random((side, side)) < 0.9
    labels = np.where(rng.random(count) < 0.2, -1, np.arange(1, count + 1)).tolist()
    layers = layers_of(Masks.from_dense(dense), labels)
    assert layers.dtype == np.int32
    assert layers.flags.writeable
    assert np.array_equal(layers, reference_layers(dense, labels))


def test_instances_are_found_with_boxes_and_areas(rng):
    layers = rng.choice(6, (2, 13, 17), p=(0.9, 0.02, 0.02, 0.02, 0.02, 0.02)).astype(np.int32)
    layers[0][layers[0] > 2] = 0
    layers[1][(layers[1] > 0) & (layers[1] < 3)] = -1
    labels, depth, boxes, areas = instances(layers)
    assert labels.tolist() == sorted(set(layers[layers > 0].tolist()))
    for label, layer, box, area in zip(labels, depth, boxes, areas, strict=True):
        y, x = np.nonzero(layers[layer] == label)
        assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        assert area == len(y)


@pytest.mark.parametrize("stride", [2, 8])
@pytest.mark.parametrize("count", [0, 1, 12])
def test_windows_are_what_the_reference_says(rng, stride, count):
    config = preset("nuclei")
    corners = rng.integers(0, 14 * stride, (count, 2))
    sides = rng.integers(stride, 9 * stride, (count, 2))
    boxes = np.concatenate([corners, corners + sides], 1).astype(np.float32)
    state, owner = assign(boxes, (17, 19), stride, 7, config)
    expected, owners = reference_state(boxes, (17, 19), stride, 7, config)
    assert (state == expected).all()
    assert (owner == owners)[state != NEGATIVE].all()


def test_sampled_windows_show_their_instances(rng):
    size, stride, window = (60, 70), 2, 7
    dense = np.stack([disc(size, 21, 20, 4.5), disc(size, 40, 50, 5), disc(size, 45, 57, 4)])
    layers = layers_of(Masks.from_dense(dense), [1, 2, 3])
    config = preset("nuclei", windows=40)
    sampled = sample_windows(layers, stride, window, config, rng)
    assert 0 < sampled.positive.sum() <= 20
    assert 0 < (~sampled.positive).sum() <= 5
    for (y, x), truth, area in zip(sampled.centres, sampled.truth, sampled.areas, strict=True):
        candidates = []
        for mask in dense:
            padded = np.pad(mask, 20)[20 - 6 :, 20 - 6 :]
            crop = padded[y * 2 : y * 2 + 14, x * 2 : x * 2 + 14].reshape(7, 2, 7, 2)
            candidates.append(crop.mean((1, 3)))
        index = int(np.argmin([np.abs(truth - c).sum() for c in candidates]))
        np.testing.assert_allclose(truth, candidates[index])
        assert area == dense[index].sum() / 4


def test_crowds_are_no_negatives(rng):
    layers = np.zeros((1, 40, 40), np.int32)
    layers[0, 10:20, 10:30] = -1
    sampled = sample_windows(layers, 2, 7, Config(), rng)
    assert not len(sampled.centres)
    assert (sampled.chance == 0).sum() == 5 * 10


@pytest.mark.parametrize("mask_weight", [1.0, 2.5])
def test_loss_is_the_papers(rng, mask_weight):
    config = Config(windows=9, mask_weight=mask_weight)
    score_maps = rng.normal(size=(2, 9, 11, 12))
    objectness = rng.normal(size=(2, 11, 12))
    views = []
    for _ in range(2):
        centres = np.stack([rng.choice(11, 4), rng.choice(12, 4)], 1)
        truth = rng.choice([0, 0.25, 1], (4, 7, 7)).astype(np.float32)
        truth[:, [0, -1]] = truth[:, :, [0, -1]] = 0
        negative = rng.random((11, 12)) < 0.5
        chance = (rng.random((11, 12), np.float32) + 0.5) * negative
        views.append(Windows(centres, np.ones(4, bool), truth, truth.sum((1, 2)), chance))
    for view in views:  # truths have nothing outside the image
        for (y, x), truth in zip(view.centres, view.truth, strict=True):
            rows, columns = y - 3 + np.arange(7), x - 3 + np.arange(7)
            truth[(rows < 0) | (rows > 10)] = 0
            truth[:, (columns < 0) | (columns > 11)] = 0
    drawn = negatives(torch.tensor(objectness), views, config).tolist()
    assert len(drawn) == 2 * (9 - 4)
    assert all(views[b].chance[y, x] > 0 for b, y, x in drawn)
    windows = [(b, *centre) for b in range(2) for centre in views[b].centres.tolist()] + drawn
    truths = [*views[0].truth, *views[1].truth, *[None] * len(drawn)]
    parts = window_loss(
        torch.tensor(score_maps),
        torch.tensor(objectness),
        views,
        config,
        masks_at=lambda maps, windows, pad_value: pyifcn.assemble(
            maps, windows, 7, pad_value=pad_value
        ),
    )
    expected = reference_loss(score_maps, objectness, windows, truths, config)
    assert parts["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_hardest_negatives_have_the_highest_objectness(rng):
    objectness = torch.tensor(rng.normal(size=(1, 9, 9)))
    empty = np.zeros((0, 7, 7), np.float32)
    chance = rng.random((9, 9), np.float32) * (rng.random((9, 9)) < 0.6)
    view = Windows(np.zeros((0, 2), int), np.zeros(0, bool), empty, np.zeros(0), chance)
    config = Config(windows=10, hardest=0.5)
    rows = negatives(objectness, [view], config)
    allowed = np.where(chance > 0, objectness[0].numpy(), -np.inf)
    assert set(objectness[tuple(rows[:5].T)].tolist()) == set(np.sort(allowed.ravel())[-5:])
    assert len({tuple(row) for row in rows.tolist()}) == 10


def test_gradients_reach_every_weight():
    model = tiny()
    sample = SyntheticNuclei(1, size=(64, 64))[0]
    rng = np.random.default_rng(0)
    config = replace(SMALL, mask_negatives=True)
    planes, layers = make_view(make_scene(sample, model.preprocess), config, 42, rng)
    windows = sample_windows(layers, 2, 21, config, rng)
    parts = window_loss(*model.score(planes[None]), [windows], config, masks_at=model.masks_at)
    parts["loss"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_the_large_residual_backbone_is_used_as_the_small_one():
    small, large = network("nuclei"), network("nuclei", "residual_large")
    assert (large.settings, large.stride) == (small.settings, small.stride)
    assert type(large.preprocess) is type(small.preprocess)
    sizes = [sum(p.numel() for p in model.parameters()) for model in (small, large)]
    assert 2 * sizes[0] < sizes[1] < 3 * sizes[0]
    assert network("paper", "residual_large").settings != large.settings
    with pytest.raises(ValueError, match="residual_large has no published weights"):
        network("nuclei", "residual_large", pretrained="a.npz")


@pytest.mark.parametrize("name", ["nuclei", "paper", "photos"])
def test_views_keep_image_and_labels_aligned(name):
    """Where every instance is bright and the rest dark, so must its warped labels be."""
    mask = disc((90, 120), 40, 50, 22) | disc((90, 120), 50, 65, 20)
    image = np.repeat(np.where(mask, 255, 0).astype(np.uint8)[:, :, None], 3, 2)
    sample = Sample(image, Masks.from_dense(mask[None]), np.ones(1, int), np.zeros(1, bool))
    scene = make_scene(sample, tiny().preprocess)
    for seed in range(8):
        config = preset(name, intensity=0.0, crop=96, short_sides=(50, 90, 150))
        planes, layers = make_view(scene, config, 42, np.random.default_rng(seed))
        bright, labelled = planes[0] > 0.5, torch.from_numpy(layers[0] > 0)
        assert planes.shape[1:] == layers.shape[1:]
        assert (bright != labelled).float().mean() < 0.05
        assert labelled.any()


def test_crops_are_not_drawn_around_instances_without_pixels():
    dense = np.stack([np.zeros((60, 70), bool), disc((60, 70), 30, 40, 8)])
    image = np.zeros((60, 70, 3), np.uint8)
    sample = Sample(image, Masks.from_dense(dense), np.array([4, 5]), np.zeros(2, bool))
    scene = make_scene(sample, tiny().preprocess)
    assert scene.boxes.tolist() == sample.masks.boxes[1:].tolist()
    assert scene.labels.tolist() == [4, 5]
    for seed in range(8):
        _, layers = make_view(scene, SMALL, 42, np.random.default_rng(seed))
        assert 2 in layers


@pytest.mark.parametrize("sizes", [((7, 9), (7, 9)), ((5, 20), (9, 4)), ((1, 1), (3, 3))])
@pytest.mark.parametrize("depths", [(1, 1), (3, 1), (1, 2)])
def test_pasted_instances_hide_what_was_there(rng, sizes, depths):
    def some(size, depth, count):
        layers = rng.integers(-1, count + 1, (depth, *size), np.int32)
        planes = torch.from_numpy(rng.random((2, *size), np.float32))
        return View(planes, layers, rng.integers(1, 9, count))

    for _ in range(10):
        source, target = some(sizes[0], depths[0], 3), some(sizes[1], depths[1], 4)
        kept = target.planes.clone(), target.layers.copy()
        got = copy_paste(source, target, rng)
        assert torch.equal(target.planes, kept[0])
        assert np.array_equal(target.layers, kept[1])
        assert got.labels.tolist() == [*target.labels, *source.labels]
        pasted = set(got.layers[got.layers > 4].tolist())
        for y, x in np.ndindex(sizes[1]):
            inside = y < sizes[0][0] and x < sizes[0][1]
            there = source.layers[:, y, x].tolist() if inside else []
            above = [value + 4 for value in there if value > 0 and value + 4 in pasted]
            below = [] if above else [value for value in target.layers[:, y, x] if value]
            shown = source if above else target
            assert [value for value in got.layers[:, y, x] if value] == above + below
            assert torch.equal(got.planes[:, y, x], shown.planes[:, y, x])


def test_views_with_copies_are_drawn_anew_each_step():
    data = SyntheticNuclei(2, size=(64, 64))
    model = tiny()
    shown = {}
    for part in (0.0, 1.0):
        config = preset("nuclei", crop=48, copy_paste=part)
        views = Views(model, objective(model, config), data, config)
        shown[part] = [views.view(step, 0)[0] for step in (1, 1, 2)]
        assert torch.equal(shown[part][0], shown[part][1])
        assert not torch.equal(shown[part][0], shown[part][2])
    assert not torch.equal(shown[0.0][0], shown[1.0][0])
    unchanged = (shown[0.0][0] == shown[1.0][0]).float().mean()
    assert unchanged > 0.1  # the same view beneath


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match="flip must be one of"):
        preset("nuclei", flip="diagonal")
    with pytest.raises(ValueError, match="preset must be one of"):
        preset("cells")
    with pytest.raises(ValueError, match="steps must be positive, got 0"):
        Config(steps=0)
    with pytest.raises(ValueError, match=r"hardest must be in 0\.\.1, got 2"):
        Config(hardest=2)
    for name, value, kind in [
        ("steps", "3", "a number"),
        ("rotate", None, "a number"),
        ("cache", "no", "True or False"),
        ("flip", 1, "text"),
        ("short_sides", 600, "a tuple of numbers"),
        ("crop_fill", ("0.2", "0.4"), "a tuple of numbers"),
    ]:
        with pytest.raises(TypeError, match=rf"^{name} must be {kind}, got "):
            preset("nuclei", **{name: value})
    assert preset("nuclei", steps=np.int64(3), crop_fill=[0.25, 0.5]).steps == 3


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *((name, -1, "must be a number from 0 on, got -1") for name in ("clip", "warmup")),
        ("weight_decay", -0.1, "must be a number from 0 on, got -0.1"),
        ("positive_offset", float("nan"), "must be a number from 0 on, got nan"),
        ("mask_weight", float("inf"), "must be a number from 0 on, got inf"),
        *((name, 1.5, r"must be in 0\.\.1, got 1.5") for name in ("average", "intensity")),
        ("momentum", -0.1, r"must be in 0\.\.1, got -0.1"),
        *(("learning_rate", v, f"must be a positive number, got {v}") for v in (0, float("nan"))),
        ("seed", -1, r"must be in 0\.\.2\^64 - 1, got -1"),
        ("crop_scale", (1.0, float("inf")), "must be a range of positive numbers, got 1.0, inf"),
        ("short_sides", (float("nan"),), r"must be positive numbers, got \(nan,\)"),
        ("crop", float("nan"), "must be positive, got nan"),
    ],
)
def test_options_out_of_range_are_refused(name, value, message):
    with pytest.raises(ValueError, match=f"^{name} {message}$"):
        Config(**{name: value})


def test_crops_smaller_than_a_window_are_refused(tmp_path):
    config = replace(SMALL, crop=41)
    with pytest.raises(ValueError, match="crop must be at least the 42 pixels of a window, got 41"):
        train(tiny(), SyntheticNuclei(1, size=(64, 64)), config, tmp_path)


@pytest.mark.parametrize("kind", ["nothing", "a crowd", "no pixels"])
def test_data_without_instances_are_refused(tmp_path, kind):
    dense = np.zeros((0 if kind == "nothing" else 1, 64, 64), bool)
    dense[:, 20:30, 20:30] = kind == "a crowd"
    crowd = np.full(len(dense), kind == "a crowd")
    image = np.zeros((64, 64, 3), np.uint8)
    labels = np.ones(len(dense), int)
    sample = Sample(image, Masks.from_dense(dense), labels, crowd, file_name="a.png")
    write_coco([sample], tmp_path / "a.json", tmp_path)
    config = replace(SMALL, steps=1)
    for data in ([sample] * 2, CocoInstances(tmp_path / "a.json", tmp_path)):
        message = f"data must have instances other than crowds, got {len(data)} images"
        with pytest.raises(ValueError, match=message):
            train(tiny(), data, config, tmp_path / "run")
    data = [sample, SyntheticNuclei(1, size=(64, 64))[0]]
    train(tiny(), data, config, tmp_path / "run", progress=False)


def test_learning_rates():
    assert learning_rate(0, Config()) == 1e-3
    assert learning_rate(32_000, Config()) == pytest.approx(1e-4)
    nuclei = preset("nuclei", steps=1000, warmup=10)
    assert learning_rate(0, nuclei) < learning_rate(9, nuclei) > learning_rate(999, nuclei)


def test_a_small_network_learns_an_image(tmp_path):
    data = SyntheticNuclei(1, size=(64, 64))
    config = replace(SMALL, steps=100, batch=4, rotate=0.0, elastic=0.0, warmup=5, intensity=0.0)
    train(tiny(32), data, config, tmp_path, progress=False)
    rows = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    assert len(rows) == 100
    first, last = (np.mean([float(row["mask"]) for row in part]) for part in (rows[:4], rows[-8:]))
    assert last < 0.5 * first
    assert np.mean([float(row["quality"]) for row in rows[-8:]]) > 0.6


def test_a_killed_run_goes_on_as_if_it_had_not_been(tmp_path, one_thread):
    script = f"""
import torch
torch.set_num_threads(1)
from pyifcn.data import SyntheticNuclei
from test_training import LONGER, tiny
from pyifcn.training import train
train(tiny(), SyntheticNuclei(2, size=(64, 64)), LONGER, {str(tmp_path / "killed")!r})
"""
    log = tmp_path / "killed" / "log.csv"
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if log.exists() and log.read_bytes().count(b"\n") > 6:
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.002)
    assert process.wait() == -signal.SIGKILL
    data = SyntheticNuclei(2, size=(64, 64))
    resumed = train(tiny(), data, LONGER, tmp_path / "killed", progress=False)
    whole = train(tiny(), data, LONGER, tmp_path / "whole", progress=False)
    assert log.read_text() == (tmp_path / "whole" / "log.csv").read_text()
    for (name, a), b in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    again = load(tmp_path / "killed" / "weights.safetensors")
    assert torch.equal(again.objectness[2].weight, whole.objectness[2].weight)


def test_checkpoints_of_other_runs_are_refused(tmp_path):
    data = SyntheticNuclei(1, size=(64, 64))
    config = replace(SMALL, steps=1)
    train(tiny(), data, config, tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"is of a run with seed = 0, not 1"):
        train(tiny(), data, replace(config, seed=1), tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"is of a run with the number of images = 1, not 2"):
        train(tiny(), SyntheticNuclei(2, size=(64, 64)), config, tmp_path, progress=False)
    with pytest.raises(ValueError, match="data must not be empty"):
        train(tiny(), [], config, tmp_path)
    with pytest.raises(TypeError, match=r"data must be samples, such as .* got 'one\.json'"):
        train(tiny(), "one.json", config, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        None,
        {"model": None},
        {"step": None},
        {"step": "1"},
        {"optimizer": {}},
        {"optimizer": {"state": {}, "param_groups": 3}},
        {"counts": "steps"},
    ],
)
def test_other_files_are_not_checkpoints(tmp_path, changes):
    path = tmp_path / "checkpoint.pt"
    data = SyntheticNuclei(1, size=(64, 64))
    config = replace(SMALL, steps=1)
    train(tiny(), data, config, tmp_path, progress=False)
    if changes is None:
        path.write_bytes(b"no")
    else:
        torch.save({**torch.load(path), **changes}, path)
    with pytest.raises(ValueError, match=r"checkpoint\.pt is not a checkpoint$"):
        train(tiny(), data, config, tmp_path, progress=False)


def test_a_run_does_not_go_on_with_other_annotations(tmp_path):
    config = replace(SMALL, steps=1)
    path = tmp_path / "a.json"
    write_coco(SyntheticNuclei(2, size=(64, 64)), path, tmp_path)
    for _ in range(2):
        train(tiny(), CocoInstances(path, tmp_path), config, tmp_path / "run", progress=False)
    content = json.loads(path.read_text())
    del content["annotations"][0]
    path.write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match=r"checkpoint\.pt is of a run on other data; give the same"
    ):
        train(tiny(), CocoInstances(path, tmp_path), config, tmp_path / "run", progress=False)


def test_weights_that_a_full_disk_kept_away_are_written_when_a_run_goes_on(tmp_path, monkeypatch):
    data = SyntheticNuclei(1, size=(64, 64))
    config = replace(SMALL, steps=2, save_every=1)
    path = tmp_path / "weights.safetensors"
    written = []

    def full(model, path):
        if written:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        written.append(path)
        save(model, path)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "save", full)
        with pytest.raises(OSError, match="No space left on device"):
            train(tiny(), data, config, tmp_path, progress=False)
    for _ in range(2):
        model = train(tiny(), data, config, tmp_path, progress=False)
        got = load(path).state_dict()
        assert all(torch.equal(got[name], value) for name, value in model.state_dict().items())
        path.unlink()


def test_a_checkpoint_that_does_not_fit_the_disk_is_an_error_of_the_system(tmp_path):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=r"checkpoint\.pt"):
            write_checkpoint(tmp_path / "checkpoint.pt", {}, 1, {"model": tiny().state_dict()})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())


def test_slow_bfloat16_is_told(tmp_path, monkeypatch):
    data = SyntheticNuclei(1, size=(64, 64))
    config = replace(SMALL, steps=1, precision="bfloat16")
    for lacks in (True, False):
        monkeypatch.setattr(trainer, "_lacks_bfloat16", lambda lacks=lacks: lacks)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            train(tiny(), data, config, tmp_path / str(lacks), progress=False)
        told = [str(warning.message) for warning in caught]
        assert sum("give --precision float32" in text for text in told) == lacks


@pytest.mark.parametrize("machine", ["x86_64", "AMD64", "arm64"])
@pytest.mark.parametrize("avx512", [True, False])
@pytest.mark.parametrize("amx", [True, False])
def test_processors_without_bfloat16(monkeypatch, machine, avx512, amx):
    monkeypatch.setattr(trainer.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert trainer._lacks_bfloat16() == (machine != "arm64" and not avx512 and not amx)
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert not trainer._lacks_bfloat16()


def test_a_run_without_its_tensorboard_leaves_no_log(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    data = SyntheticNuclei(1, size=(64, 64))
    with pytest.raises(ImportError, match="TensorBoard is not installed"):
        train(tiny(), data, SMALL, tmp_path, tensorboard=True)
    assert not list(tmp_path.iterdir())


def test_tensorboard_and_bfloat16(tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    monkeypatch.setattr(trainer, "_lacks_bfloat16", lambda: False)  # of which it would warn
    config = replace(SMALL, steps=1, precision="bfloat16")
    train(tiny(), SyntheticNuclei(1, size=(64, 64)), config, tmp_path, tensorboard=True)
    assert list(tmp_path.glob("events*"))
