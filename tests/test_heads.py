"""FCN, DeepMask and FCIS on one trunk: against slow references, in files, and learning."""

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the networks need PyTorch")
import torch
from safetensors import safe_open
from torch import nn

import pyifcn
from pyifcn.data import Sample, SyntheticShapes
from pyifcn.masks import Masks
from pyifcn.models import (
    FCIS,
    FCN,
    DeepMask,
    InstanceFCN,
    ResidualPyramid,
    TestSettings,
    WindowNetwork,
    load,
    save,
)
from pyifcn.models.boxes import anchors, best_match, decode, encode, iou
from pyifcn.models.components import components
from pyifcn.training import Config, network, preset, processes, train, trainer
from pyifcn.training.objective import class_of, objective
from pyifcn.training.regions import Regions, region_loss, regions
from pyifcn.training.rois import _truth, objects
from pyifcn.training.view import layers_of

SETTINGS = TestSettings(scales=(0.5, 1.0), short_sides=(), peaks=True, score_threshold=0.1)
NAMES = {3: "disc", 7: "box"}
HEADS = {
    "instance_fcn": lambda trunk: InstanceFCN(trunk, width=8, settings=SETTINGS),
    "deep_mask": lambda trunk: DeepMask(trunk, width=8, settings=SETTINGS),
    "fcn": lambda trunk: FCN(trunk, NAMES, width=8, settings=SETTINGS),
    "fcis": lambda trunk: FCIS(trunk, NAMES, width=8, settings=SETTINGS),
}
SMALL = preset("shapes", steps=3, batch=2, crop=64, windows=32, save_every=1, warmup=1)


def made(head):
    torch.manual_seed(0)
    model = HEADS[head](ResidualPyramid(widths=(8, 8, 8), blocks=(1, 1, 1), channels=8))
    for module in model.modules():  # statistics as after training, so that activations vary
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.05, 0.2)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return model.eval()


@pytest.fixture(params=sorted(HEADS))
def head(request):
    return request.param


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (70, 83, 3), dtype=np.uint8)


def test_maps_have_the_features_size_and_gradients_reach_the_trunk(head):
    model = made(head)
    outputs = model(torch.rand(2, 3, 45, 52))
    assert all(output.shape[0] == 2 for output in outputs)
    assert all(output.shape[-2:] == (23, 26) for output in outputs)
    sum(output.square().mean() for output in outputs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.backbone.parameters())


@pytest.mark.parametrize("size", [(70, 83), (1, 1), (3, 40)])
def test_predictions_fit_the_image(head, image, size):
    model = made(head)
    for threshold in (0.0, 1.1):
        found = model.predict(image[: size[0], : size[1]], score_threshold=threshold)
        assert found.masks.size == size
        assert len(found.masks) == len(found.scores) == len(found.labels)
        assert found.labels.dtype == torch.int64
        assert (found.scores.diff() <= 0).all()
        assert set(found.labels.tolist()) <= ({1} if isinstance(model, WindowNetwork) else {3, 7})
    assert len(found.masks) == 0
    masks, scores = model.segment(image[: size[0], : size[1]], score_threshold=0, max_proposals=2)
    assert len(masks) == len(scores) <= 2


def test_an_image_too_small_for_every_scale_is_refused(head, image):
    with pytest.raises(ValueError, match=r"scales leave nothing of an image of 2 x 2: \[0.1\]"):
        made(head).predict(image[:2, :2], scales=[0.1])


def test_bad_images_are_refused(head, image):
    model = made(head)
    with pytest.raises(TypeError, match=r"image must be uint8 \(H, W, 3\), got float64"):
        model.predict(image / 255)
    with pytest.raises(ValueError, match="image must not be empty"):
        model.predict(image[:0])
    with pytest.raises(ValueError, match="scales must be positive, got 0"):
        model.predict(image, scales=[0])


def test_files_hold_the_whole_network(head, image, tmp_path):
    model = made(head)
    save(model, tmp_path / "a.safetensors")
    again = load(tmp_path / "a.safetensors")
    assert type(again) is type(model)
    assert [getattr(again, name) for name in again.options] == [
        getattr(model, name) for name in model.options
    ]
    first, second = (m.predict(image, score_threshold=0) for m in (model, again))
    assert first.masks == second.masks
    assert torch.equal(first.labels, second.labels)


def test_files_of_before_there_were_heads_are_read(tmp_path):
    path = tmp_path / "a.safetensors"
    save(made("instance_fcn"), path)
    with safe_open(path, "pt") as file:
        described = json.loads(file.metadata()["pyifcn"])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert described.pop("network") == "instance_fcn"
    from safetensors.torch import save_file

    save_file(state, path, {"pyifcn": json.dumps(described)})
    assert isinstance(load(path), InstanceFCN)
    save_file(state, path, {"pyifcn": json.dumps({**described, "network": "mask_rcnn"})})
    with pytest.raises(ValueError, match="describes no network that can be built: 'mask_rcnn'"):
        load(path)


def test_bad_architectures_are_refused():
    trunk = ResidualPyramid()
    with pytest.raises(ValueError, match="window must be a multiple of cells, got 20 and 7"):
        DeepMask(trunk, window=20)
    with pytest.raises(ValueError, match="window must be a multiple of grid, got 20 and 7"):
        FCIS(trunk, NAMES, window=20)
    with pytest.raises(ValueError, match="categories must name at least one category"):
        FCN(trunk, {})
    for head in HEADS.values():
        with pytest.raises(TypeError, match="stride and channels, which Conv2d lacks: wrap it in"):
            head(nn.Conv2d(3, 8, 3))
    with pytest.raises(ValueError, match="width must be positive, got 0"):
        FCN(trunk, NAMES, width=0)
    with pytest.raises(ValueError, match="head must be one of"):
        network("shapes", head="yolo")
    with pytest.raises(ValueError, match="categories must name at least one category"):
        network("shapes", head="fcis")


def in_place(dense):
    """Outputs (h, w, m, m) of the windows around each pixel as score maps with m x m cells."""
    height, width, side, _ = dense.shape
    maps = torch.full((1, side * side, height, width), -torch.inf)
    for y in range(height):
        for x in range(width):
            for u in range(side):
                for v in range(side):
                    row, column = y - side // 2 + u, x - side // 2 + v
                    if 0 <= row < height and 0 <= column < width:
                        maps[0, u * side + v, row, column] = dense[y, x, u, v]
    return maps


@pytest.mark.parametrize("peaks", [True, False])
def test_deepmask_proposes_as_score_maps_with_a_cell_for_each_pixel_would(monkeypatch, peaks):
    """Its outputs moved to the pixels they speak of are maps for `propose`, with K = window."""
    torch.manual_seed(1)
    monkeypatch.setattr("pyifcn.models.deep_mask._CHUNK", 17)
    model = made("deep_mask")
    model = DeepMask(model.backbone, 3, 9, width=8, settings=replace(SETTINGS, peaks=peaks)).eval()
    image = torch.rand(3, 33, 40)
    features, objectness, strides = model.pyramid(image)
    maps = []
    for level in features:
        height, width = level.shape[-2:]
        rows = torch.cartesian_prod(torch.arange(1), torch.arange(height), torch.arange(width))
        with torch.no_grad():
            dense = model.masks_at(level, rows, -torch.inf)
        maps.append(in_place(dense.view(height, width, 9, 9)))
    for most in (5, 1000):
        (expected,) = pyifcn.propose(
            maps, objectness, strides=strides, image_size=(33, 40), size=9, max_proposals=most
        )
        found = model.propose(image, max_proposals=most)
        assert torch.equal(found.windows, expected.windows)
        assert torch.equal(found.boxes, expected.boxes)
        assert found.masks == expected.masks
        torch.testing.assert_close(found.logits, expected.logits)
        torch.testing.assert_close(found.scores, expected.scores)


def test_deepmask_sees_its_window_and_nothing_else():
    model = DeepMask(ResidualPyramid(channels=4), 3, 9, width=4).eval()
    maps = torch.rand(2, 4, 30, 31)
    window = torch.tensor([[1, 12, 15]])
    before = model.masks_at(maps, window, 0.0)
    inside = maps.clone()
    inside[1, :, 8, 11] += 1
    maps[1, :, 7], maps[1, :, 17:], maps[1, :, :, :11], maps[1, :, :, 20:] = 5.0, 5.0, 5.0, 5.0
    assert torch.equal(model.masks_at(maps, window, 0.0), before)
    assert not torch.equal(model.masks_at(inside, window, 0.0), before)
    corner = model.masks_at(maps, torch.tensor([[0, 0, 30]]), -7.0)[0]
    assert (corner[:4] == -7).all()
    assert (corner[:, 5:] == -7).all()
    assert (corner[4:, :5] != -7).all()


def reference_components(image):
    numbers = np.zeros(image.shape, int)
    for start in zip(*np.nonzero(image), strict=True):
        if numbers[start]:
            continue
        numbers[start] = numbers.max() + 1
        todo = [start]
        while todo:
            y, x = todo.pop()
            for at in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= at[0] < image.shape[0] and 0 <= at[1] < image.shape[1]
                if inside and not numbers[at] and image[at] == image[start]:
                    numbers[at] = numbers[start]
                    todo.append(at)
    return numbers


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (17, 23), (40, 40), (0, 5), (5, 0)])
@pytest.mark.parametrize("labels", [2, 4])
def test_components_are_the_references(rng, size, labels):
    for _ in range(8):
        image = rng.integers(0, labels, size)
        assert np.array_equal(components(image), reference_components(image))


def test_components_of_spirals_are_one():
    image = np.zeros((41, 41), int)
    for ring in range(0, 20, 2):
        image[ring, ring : 41 - ring] = image[40 - ring, ring : 41 - ring] = 1
        image[ring + 1 : 40 - ring, 40 - ring] = image[ring + 2 : 40 - ring, ring] = 1
        image[ring + 2, ring + 1] = image[ring + 2, ring + 2] = 1
    assert np.array_equal(components(image), reference_components(image))


def test_fcn_cannot_tell_touching_objects_apart(monkeypatch):
    model = made("fcn")
    shown = torch.zeros(3, 6, 8)
    shown[0] = 0.4
    shown[1, 1:5, 1:3] = 0.6  # two objects of one category that touch ...
    shown[1, 1:5, 3:5] = 0.8
    shown[2, 1:5, 5:7] = 0.9  # ... and one of another
    monkeypatch.setattr(model, "_planes", lambda image, scales: iter(shown))
    found = model.predict(np.zeros((6, 8, 3), np.uint8), score_threshold=0.5)
    assert found.labels.tolist() == [7, 3]
    assert found.masks.boxes.tolist() == [[5, 1, 7, 5], [1, 1, 5, 5]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])


def test_fcn_probabilities_stand_where_the_features_do():
    model = made("fcn")
    image = torch.rand(3, 31, 46)
    (logits,) = model(image[None])
    expected = nn.functional.interpolate(logits.softmax(1), scale_factor=2, mode="bilinear")[
        0, :, :31, :46
    ]
    torch.testing.assert_close(model.probabilities(image, scales=[1.0]), expected)
    several = model.probabilities(image)
    torch.testing.assert_close(several.sum(0), torch.ones(31, 46))


def reference_regions(layers, classes, count, stride):
    height, width = (-(-side // stride) for side in layers.shape[1:])
    shares = np.zeros((count, height, width))
    for y in range(layers.shape[1]):
        for x in range(layers.shape[2]):
            if (layers[:, y, x] < 0).any():
                continue
            shown = [classes[v - 1] for v in layers[:, y, x] if v > 0]
            shares[shown[0] if shown else 0, y // stride, x // stride] += 1 / stride**2
    return shares


@pytest.mark.parametrize("size", [(8, 12), (7, 9)])
def test_regions_are_the_references(rng, size):
    layers = rng.integers(-1, 5, (2, *size)).astype(np.int32)
    classes = np.array([1, 2, 2, 1])
    expected = reference_regions(layers, classes, 3, 4)
    np.testing.assert_allclose(regions(layers, classes, 3, 4).shares, expected, atol=1e-6)


def test_region_loss_is_the_mean_cross_entropy_of_pixels(rng):
    logits = torch.tensor(rng.normal(size=(2, 3, 4, 5)))
    views = []
    total, right = [], []
    for b, (height, width) in enumerate([(4, 5), (2, 3)]):
        classes = rng.integers(0, 3, (height, width))
        views.append(Regions(np.eye(3, dtype=np.float32)[classes].transpose(2, 0, 1)))
        for y, x in np.ndindex(height, width):
            column = logits[b, :, y, x].numpy()
            total.append(np.log(np.exp(column).sum()) - column[classes[y, x]])
            right.append(column.argmax() == classes[y, x])
    parts = region_loss(logits, views)
    assert parts["loss"].item() == pytest.approx(np.mean(total), rel=1e-5)
    assert parts["accuracy"].item() == pytest.approx(np.mean(right))
    empty = region_loss(logits, [Regions(np.zeros((3, 4, 5), np.float32))] * 2)
    assert empty["loss"].item() == 0


def test_labels_become_classes():
    assert class_of(np.array([7, 3, 3]), [3, 7]).tolist() == [2, 1, 1]
    assert class_of(np.zeros(0, int), [3, 7]).tolist() == []
    with pytest.raises(ValueError, match="label 8 is none of the network's categories"):
        class_of(np.array([3, 8]), [3, 7])


def test_boxes_and_their_differences(rng):
    corners = torch.tensor(rng.uniform(0, 40, (9, 2)), dtype=torch.float32)
    boxes = torch.cat([corners, corners + torch.tensor(rng.uniform(1, 30, (9, 2)))], 1).float()
    origins = boxes.flip(0)
    torch.testing.assert_close(decode(encode(boxes, origins), origins, (100, 100)), boxes)
    assert decode(torch.full((1, 4), 1e6), origins[:1], (50, 60)).tolist() == [[60, 50, 60, 50]]
    for box in boxes:
        for other in boxes:
            x1, y1 = torch.maximum(box[:2], other[:2]).tolist()
            x2, y2 = torch.minimum(box[2:], other[2:]).tolist()
            common = max(x2 - x1, 0) * max(y2 - y1, 0)
            both = float((box[2:] - box[:2]).prod() + (other[2:] - other[:2]).prod())
            assert iou(box[None], other).item() == pytest.approx(common / (both - common), abs=1e-6)


def test_matches_are_the_best(rng):
    corners = torch.tensor(rng.integers(0, 20, (30, 2))).float()
    boxes = torch.cat([corners, corners + 10], 1)
    truth = boxes[[3, 17]] + 2
    highest, owner, closest = best_match(boxes, truth)
    table = torch.stack([iou(boxes, box) for box in truth], 1)
    torch.testing.assert_close(highest, table.max(1).values)
    assert torch.equal(table.gather(1, owner[:, None])[:, 0], highest)
    assert torch.equal(table.gather(0, closest[None])[0], table.max(0).values)
    none = best_match(boxes, truth[:0])
    assert (none[0] == 0).all()
    assert len(none[2]) == 0
    assert len(best_match(boxes[:0], truth)[0]) == 0


def test_anchors_stand_on_the_features():
    made = anchors(3, 4, 8, (2.0, 4.0), (0.5, 1.0, 2.0))
    assert made.shape == (6, 3, 4, 4)
    centres = (made[..., :2] + made[..., 2:]) / 2
    assert centres[2, 1, 3].tolist() == [28, 12]
    assert made[4, 0, 0].tolist() == [4 - 16, 4 - 16, 4 + 16, 4 + 16]
    sides = made[:, 0, 0, 2:] - made[:, 0, 0, :2]
    assert sides.prod(1).tolist() == pytest.approx([256] * 3 + [1024] * 3)
    assert (sides[:, 1] / sides[:, 0]).tolist() == pytest.approx([0.5, 1, 2] * 2)


def scene(rng):
    dense = np.zeros((3, 50, 60), bool)
    dense[0, 8:24, 6:22] = dense[1, 20:30, 18:34] = dense[2, 40:50, 50:60] = True
    return dense, layers_of(Masks.from_dense(dense), [1, 2, 3])


def test_anchors_are_drawn_by_their_overlap(rng):
    model = made("fcis")
    dense, layers = scene(rng)
    layers[0, 30:38, 5:20] = -1
    view = objects(model, layers, np.array([1, 2, 1]), Config(windows=64), rng)
    assert view.classes.tolist() == [1, 2, 1]
    every = model.anchors(25, 30)
    boxes = Masks.from_dense(dense).boxes.astype(np.float32)
    assert np.array_equal(view.boxes.numpy(), boxes)
    best = [max(iou(every.reshape(-1, 4), box)).item() for box in view.boxes]
    assert view.positive.sum() >= 3
    assert len(view.anchors) == 64
    for (a, y, x), positive, told in zip(
        view.anchors.tolist(), view.positive.tolist(), view.differences, strict=True
    ):
        overlaps = [iou(every[a, y, x][None], box).item() for box in view.boxes]
        if positive:
            assert max(overlaps) >= 0.7 or any(
                o == pytest.approx(b) for o, b in zip(overlaps, best, strict=True)
            )
            back = decode(told, every[a, y, x], (50, 60))
            assert min((back - box).abs().max() for box in view.boxes) < 1e-3
        else:
            assert max(overlaps) < 0.3
            assert not (layers[:, 2 * y + 1, 2 * x + 1] < 0).any()


def test_the_truth_of_a_roi_is_its_objects_mask(rng):
    dense, layers = scene(rng)
    view = objects(made("fcis"), layers, np.array([1, 2, 1]), Config(windows=64), rng)
    rois = torch.tensor([[6.0, 8, 27, 29], [0, 0, 5, 5], [18, 20, 39, 41]])
    truth, boxes = _truth(view, rois, torch.tensor([0, -1, 1]), 21)
    assert np.array_equal(truth[0].numpy() > 0, dense[0, 8:29, 6:27])
    assert np.array_equal(truth[1].numpy() > 0, dense[1, 20:41, 18:39])
    assert torch.equal(boxes, view.boxes[:2])


def test_fcis_reads_classes_and_masks_off_the_same_pair():
    model = made("fcis")
    pairs, refinements, _ = model(torch.rand(1, 3, 40, 40))
    rois = torch.tensor([[0.0, 4, 6, 25, 31]])
    found = model.detect(pairs, refinements, rois)
    inclusive = torch.tensor([[0.0, 4, 6, 24, 30]])
    for c in range(3):
        inside, outside = (
            pyifcn.assemble_rois(
                pairs[:, (2 * c + side) * 49 : (2 * c + side + 1) * 49].contiguous(),
                inclusive,
                21,
                spatial_scale=0.5,
            )[0, 0]
            for side in (0, 1)
        )
        logit = torch.maximum(inside, outside).mean()
        torch.testing.assert_close(found.classes[0, c], logit)
        pair = torch.stack([inside, outside]).softmax(0)
        torch.testing.assert_close(found.masks[0, c].sigmoid(), pair[0])


def test_fcis_votes_only_when_asked(image):
    model = made("fcis")
    voted = model.predict(image, score_threshold=0)
    plain = model.predict(image, score_threshold=0, voting=False)
    assert len(voted.masks)
    assert len(plain.masks)
    assert voted.masks != plain.masks


def learned(model, folder, steps=40):
    data = SyntheticShapes(2, size=(64, 64), shapes=(3, 5))
    config = replace(SMALL, steps=steps, warmup=5, intensity=0.0, cache=True, average=0.0)
    train(model, data, config, folder, progress=False)
    return list(csv.DictReader((folder / "log.csv").read_text().splitlines()))


def test_every_head_learns(head, tmp_path):
    torch.manual_seed(0)
    trunk = ResidualPyramid(widths=(8, 16), blocks=(1, 1), channels=16)
    shapes = SyntheticShapes.categories
    model = {
        "instance_fcn": lambda: InstanceFCN(trunk, width=16),
        "deep_mask": lambda: DeepMask(trunk, width=16),
        "fcn": lambda: FCN(trunk, shapes, width=16),
        "fcis": lambda: FCIS(trunk, shapes, width=16),
    }[head]()
    rows = learned(model, tmp_path)
    first, last = (np.mean([float(row["loss"]) for row in part]) for part in (rows[:4], rows[-8:]))
    assert last < 0.8 * first
    assert set(objective(model, SMALL).parts) < set(rows[0])
    assert type(load(tmp_path / "weights.safetensors")) is type(model)


def small(head):
    torch.manual_seed(0)
    trunk = ResidualPyramid(widths=(8, 8), blocks=(1, 1), channels=8)
    if head in ("fcn", "fcis"):
        return (FCN if head == "fcn" else FCIS)(trunk, SyntheticShapes.categories, width=8)
    return HEADS[head](trunk)


class Stopping(Sequence[Sample]):
    """Shapes that end in an error after some were drawn."""

    def __init__(self, drawn: int) -> None:
        self.data = SyntheticShapes(4, size=(64, 64), shapes=(3, 5))
        self.left = drawn

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index):
        self.left -= 1
        if self.left < 0:
            raise OSError("the disk is gone")
        return self.data[index]


def test_a_stopped_run_of_any_head_goes_on_as_if_it_had_not_been(head, tmp_path):
    config = replace(SMALL, steps=8, cache=False, workers=1)

    def new():
        return small(head)

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = train(new(), Stopping(100), config, tmp_path / "whole", progress=False)
        with pytest.raises(OSError, match="the disk is gone"):
            train(new(), Stopping(11), config, tmp_path / "stopped", progress=False)
        resumed = train(new(), Stopping(100), config, tmp_path / "stopped", progress=False)
    finally:
        torch.set_num_threads(before)
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("whole", "stopped")]
    assert logs[0] == logs[1]
    for a, b in zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b)


SHARED = replace(SMALL, optimizer="sgd", learning_rate=0.01, warmup=0)


def by_two_processes(folder):
    with processes("cpu"):
        for head in sorted(HEADS):
            data = SyntheticShapes(4, size=(64, 64), shapes=(3, 5))
            train(small(head), data, SHARED, Path(folder, head), progress=False)


def test_two_processes_train_every_head_as_one_would(tmp_path):
    from test_distributed import finished, torchrun

    with torchrun(tmp_path, "-m", "test_heads", tmp_path) as process:
        finished(process, tmp_path)
    data = SyntheticShapes(4, size=(64, 64), shapes=(3, 5))
    for head in sorted(HEADS):
        whole = train(small(head), data, SHARED, tmp_path / "one" / head, progress=False)
        shared = load(tmp_path / head / "weights.safetensors").state_dict()
        for name, value in whole.state_dict().items():
            torch.testing.assert_close(shared[name], value, rtol=1e-3, atol=1e-4)
        rows, ours = (
            list(csv.reader((folder / head / "log.csv").read_text().splitlines()))
            for folder in (tmp_path / "one", tmp_path)
        )
        assert ours[0] == rows[0]
        np.testing.assert_allclose(np.float64(ours[1:]), np.float64(rows[1:]), rtol=1e-2)


def test_a_folder_of_another_network_is_refused(tmp_path):
    data = SyntheticShapes(1, size=(64, 64))
    config = replace(SMALL, steps=1)
    categories = SyntheticShapes.categories
    trunk = ResidualPyramid(widths=(8, 8), blocks=(1, 1), channels=8)
    train(FCN(trunk, categories, width=8), data, config, tmp_path, progress=False)
    with pytest.raises(ValueError, match="has a run of another network; give another folder"):
        train(DeepMask(trunk, width=8), data, config, tmp_path, progress=False)
    with pytest.raises(TypeError, match=r"model is Linear, which pyifcn.training cannot train"):
        train(nn.Linear(1, 1), data, config, tmp_path)


def test_images_without_instances_and_crowds_train(head, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "_has_instances", lambda data: True)  # as one image of many
    sample = SyntheticShapes(1, size=(64, 64))[0]
    none = replace(sample, masks=sample.masks[:0], labels=sample.labels[:0], crowd=sample.crowd[:0])
    crowd = replace(sample, crowd=np.ones(len(sample.masks), bool))
    model = network("shapes", head=head, categories=SyntheticShapes.categories)
    for number, data in enumerate(([none], [crowd])):
        config = replace(SMALL, steps=1, cache=False)
        train(model, data, config, tmp_path / str(number), progress=False)


if __name__ == "__main__":
    by_two_processes(sys.argv[1])
