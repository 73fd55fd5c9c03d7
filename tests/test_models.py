"""InstanceFCN, its residual backbone, preprocessing, and weights in files."""

import copy
import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("torch", reason="the networks need PyTorch")
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

import pyifcn.models.network
from pyifcn.data import ImageError, SyntheticNuclei
from pyifcn.evaluation import average_recall, detection_quality
from pyifcn.models import (
    VGG16,
    InstanceFCN,
    ResidualPyramid,
    SqueezeNet,
    SqueezeNetPyramid,
    TestSettings,
    available,
    build_backbone,
    load,
    preprocess,
    save,
)

SETTINGS = TestSettings(scales=(0.5, 1.0), peaks=True, score_threshold=0.1)


@pytest.fixture(scope="module")
def model() -> InstanceFCN:
    torch.manual_seed(0)
    backbone = ResidualPyramid(2, widths=(8, 8, 8), blocks=(1, 1, 1), channels=8)
    made = InstanceFCN(backbone, width=8, preprocess="percentile", settings=SETTINGS)
    for module in made.modules():  # statistics as after training, so that activations vary
        if isinstance(module, nn.BatchNorm2d):
            module.running_var.uniform_(0.05, 0.2)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return made.eval()


@pytest.fixture
def image(rng) -> np.ndarray:
    return rng.integers(0, 256, (70, 83, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (33, 47), (40, 21)])
def test_residual_features_have_their_stride(size):
    features = ResidualPyramid(widths=(4, 8, 8), blocks=(1, 1, 2), channels=6).eval()
    out = features(torch.rand(2, 3, *size))
    assert out.shape == (2, 6, -(-size[0] // 2), -(-size[1] // 2))


def test_residual_features_reach_no_further_than_they_say(model):
    reach = model.backbone.reach
    image = torch.rand(1, 2, 4 * reach, 8)
    changed = image.clone()
    changed[:, :, : 2 * reach] = torch.rand_like(changed[:, :, : 2 * reach])
    with torch.no_grad():
        a, b = model.backbone(image), model.backbone(changed)
    inside = (2 * reach + reach) // 2 - 1  # and the neighbour of the first that must agree
    assert torch.equal(a[:, :, inside:], b[:, :, inside:])
    assert not torch.equal(a[:, :, : inside - reach // 4], b[:, :, : inside - reach // 4])


def test_branches_are_the_papers():
    made = InstanceFCN(VGG16())
    shapes = [tuple(p.shape) for p in (*made.masks.parameters(), *made.objectness.parameters())]
    mask = [(512, 512, 1, 1), (512,), (25, 512, 3, 3), (25,)]
    assert shapes == [*mask, (512, 512, 3, 3), (512,), (1, 512, 1, 1), (1,)]
    assert isinstance(made.masks[1], nn.ReLU)
    assert isinstance(made.objectness[1], nn.ReLU)


@pytest.mark.parametrize("make", [ResidualPyramid, SqueezeNet])
@pytest.mark.parametrize("grid", [3, 5])
def test_forward_shapes_and_gradients(make, grid):
    made = InstanceFCN(make(), grid, width=8)
    images = torch.rand(2, 3, 45, 52)
    score_maps, objectness = made(images)
    size = tuple(-(-side // made.stride) for side in (45, 52))
    assert score_maps.shape == (2, grid**2, *size)
    assert objectness.shape == (2, *size)
    (score_maps.square().mean() + objectness.square().mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())


def test_bad_architectures_are_refused():
    with pytest.raises(ValueError, match="grid must be positive, got 0"):
        InstanceFCN(ResidualPyramid(), 0)
    with pytest.raises(ValueError, match="window must be at least grid, got 4 and 5"):
        InstanceFCN(ResidualPyramid(), 5, 4)
    with pytest.raises(ValueError, match="preprocess must be one of"):
        preprocess("grey")
    with pytest.raises(ValueError, match="backbone must be one of"):
        build_backbone("resnet")
    with pytest.raises(ValueError, match="backbone 'vgg16' has no option 'stride'"):
        build_backbone("vgg16", stride=4)


def test_tiles_are_as_good_as_the_whole(model, monkeypatch):
    planes = torch.rand(1, 1, 301, 167)
    with torch.inference_mode():
        score_maps, objectness = model.score(planes)
        monkeypatch.setattr(pyifcn.models.network, "_TILE", 4 * model.backbone.reach)
        tiled_maps, tiled_objectness = model._score_in_tiles(planes)
    torch.testing.assert_close(tiled_maps, score_maps, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tiled_objectness, objectness, rtol=1e-4, atol=1e-5)


def test_percentile_ignores_light_and_sign(rng):
    stretch = preprocess("percentile")
    image = torch.from_numpy(rng.random((2, 3, 40, 40), np.float32)) ** 6
    planes = stretch.prepare(image)
    assert planes.shape == (2, 1, 40, 40)
    assert (planes.amin(), planes.amax()) == (0, 1)
    torch.testing.assert_close(stretch.prepare(0.3 * image + 0.1), planes, atol=1e-5, rtol=0)
    inverted = stretch.prepare(1 - image)
    assert torch.corrcoef(torch.stack([inverted.flatten(), planes.flatten()]))[0, 1] > 0.99
    assert stretch(planes).shape == (2, 2, 40, 40)
    assert stretch.prepare(torch.zeros(1, 3, 5, 5)).isfinite().all()


def test_proposals_of_arrays_tensors_and_lists_agree(model, image):
    found = model.propose(image, max_proposals=50)
    assert 0 < len(found) <= 50
    assert found.image_size == (70, 83)
    assert found.masks.size == (70, 83)
    assert (np.diff(np.asarray(found.scores)) <= 0).all()
    tensor = torch.from_numpy(image).permute(2, 0, 1) / 255
    for other in (
        model.propose(tensor, max_proposals=50),
        model.propose([image], max_proposals=50)[0],
        model.propose(tensor[None], max_proposals=50)[0],
    ):
        assert np.array_equal(np.asarray(other.scores), np.asarray(found.scores))
    smaller, larger = model.propose([image[:30, :40], image], max_proposals=5)
    assert (smaller.image_size, larger.image_size) == ((30, 40), (70, 83))


def test_the_papers_pyramid_is_the_default():
    made = InstanceFCN(ResidualPyramid(widths=(4, 4), blocks=(1, 1), channels=4), width=4).eval()
    _, objectness, strides = made.pyramid(torch.rand(3, 100, 130))
    expected = [119, 178, 267, 400, 600, 900]
    assert [2 * 100 / stride for stride in strides] == pytest.approx(expected)
    assert [level.shape[1] for level in objectness] == pytest.approx(
        [s / 2 for s in expected], abs=1
    )


def test_only_peaks_are_proposed_when_asked(model, image):
    _, dense, _ = copy_with(model, peaks=False).pyramid(image)
    _, peaks, _ = model.pyramid(image)
    for before, after in zip(dense, peaks, strict=True):
        kept = after.isfinite()
        assert 0 < kept.sum() < before.numel()
        for _, y, x in kept.nonzero().tolist():
            around = before[0, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            assert after[0, y, x] == around.max()


def test_segments_are_good_and_distinct(model, image):
    masks, scores = model.segment(image)
    assert len(masks) == len(scores)
    assert (scores >= SETTINGS.score_threshold).all()
    assert (scores.diff() <= 0).all()
    iou = masks.iou(masks).numpy()
    np.fill_diagonal(iou, 0)
    assert (iou <= SETTINGS.mask_iou).all()
    none, scores = model.segment(image, score_threshold=1.1)
    assert len(none) == len(scores) == 0


def test_segments_are_not_tiny(model, image):
    proposals = model.propose(image)
    likely = proposals[proposals.scores >= SETTINGS.score_threshold]
    least = int(likely.masks.area.median()) + 1
    large = likely[likely.masks.area >= least]
    assert 0 < len(large) < len(likely)
    masks, scores = copy_with(model, min_area=least).select(proposals)
    expected = model.select(large)  # tiny masks hide none that stay
    assert masks == expected[0]
    assert (scores == expected[1]).all()
    lost = model.select(proposals)[0]
    assert len(masks) > (lost.area >= least).sum()


def test_segments_are_all_that_score_enough(model, image):
    every = model.segment(image, score_threshold=0.2, max_proposals=100_000)
    found = copy_with(model, max_proposals=1).segment(image, score_threshold=0.2)
    assert found[0] == every[0]
    assert (found[1] == every[1]).all()
    assert len(every[0]) > 1 >= len(model.segment(image, max_proposals=1)[0])


def test_bad_images_are_refused(model, image):
    with pytest.raises(TypeError, match=r"image must be uint8 \(H, W, 3\), got float64"):
        model.propose(image / 255)
    with pytest.raises(TypeError, match=r"image must be uint8 \(H, W, 3\)"):
        model.segment(image[:, :, 0])
    expected = r"image must be float \(3, H, W\) in 0..1 or uint8 \(3, H, W\), got torch.int64"
    with pytest.raises(TypeError, match=expected):
        model.segment(torch.zeros(3, 8, 8, dtype=torch.int64))
    expected = "image must be an array, a tensor, a PIL image or a path, got int"
    with pytest.raises(TypeError, match=expected):
        model.segment(3)
    with pytest.raises(ImageError, match=r"cells\.png does not exist"):
        model.segment("cells.png")
    with pytest.raises(ValueError, match="image must not be empty"):
        model.segment(image[:0])
    with pytest.raises(ValueError, match="scales must be positive, got -1"):
        model.propose(image, scales=[-1])


@pytest.mark.parametrize(
    ("values", "told"),
    [((0, 255), "from 0 to 255"), ((-1, 1), "from -1 to 1"), ((np.nan, 1), "from nan to nan")],
)
def test_tensors_out_of_range_are_refused(model, values, told):
    tensor = torch.tensor(values).repeat(3, 8, 4).float()
    for dtype in (torch.float32, torch.float16):
        with pytest.raises(
            ValueError, match=rf"^image must be float \(3, H, W\) in 0..1, .* {told}$"
        ):
            model.predict(tensor.to(dtype))
    model.predict(torch.tensor([-0.1, 1.1]).repeat(3, 8, 4))  # as cubics make of 0 and 1


def test_files_and_pictures_are_images_too(model, image, tmp_path):
    expected = model.predict(image)
    assert len(expected.masks)
    path = tmp_path / "a.png"
    PIL.Image.fromarray(image).save(path)
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    for other in (path, str(path), PIL.Image.open(path), tensor, tensor / 255):
        found = model.predict(other)
        assert found.masks == expected.masks
        assert torch.equal(found.scores, expected.scores)
    proposals = model.propose(image)
    for same in model.propose([path, PIL.Image.open(path), tensor]):
        assert torch.equal(same.scores, proposals.scores)


def test_bad_batches_are_refused(model):
    images = torch.rand(2, 3, 8, 8)
    for bad, told in [
        (images.numpy(), r"a tensor \(B, 3, H, W\), got ndarray"),
        (images[0], r"float \(B, 3, H, W\), got torch.float32 \(3, 8, 8\)"),
        (images[:, :1], r"float \(B, 3, H, W\), got torch.float32 \(2, 1, 8, 8\)"),
        (images.byte(), r"float \(B, 3, H, W\), got torch.uint8 \(2, 3, 8, 8\)"),
    ]:
        with pytest.raises(TypeError, match=f"^images must be {told}$"):
            model(bad)


def test_networks_are_compiled_exported_and_traced():
    trunk = ResidualPyramid(widths=(8, 8), blocks=(1, 1), channels=8)
    model = InstanceFCN(trunk, width=8).eval()
    images = torch.rand(2, 3, 32, 40)
    score_maps, objectness = model(images)
    exported = torch.export.export(model, (images,)).module()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of tracing itself
        traced = torch.jit.trace(model, images)
    for other in (exported, compiled, traced):
        torch.testing.assert_close(other(images), (score_maps, objectness))


def copy_with(model: InstanceFCN, **changes: object) -> InstanceFCN:
    other = copy.copy(model)
    other.settings = replace(model.settings, **changes)
    return other


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"short_sides": ()}, "scales and short_sides must not both be empty"),
        ({"scales": (1.0, 0.0)}, r"scales must be positive, got \(1.0, 0.0\)"),
        ({"scales": (float("nan"),)}, r"scales must be positive, got \(nan,\)"),
        ({"short_sides": (-2,)}, r"short_sides must be positive, got \(-2,\)"),
        ({"iou_threshold": 1.5}, r"iou_threshold must be in 0\.\.1, got 1.5"),
        ({"mask_overlap": float("nan")}, r"mask_overlap must be in 0\.\.1, got nan"),
        ({"mask_threshold": float("nan")}, "mask_threshold must be a number, got nan"),
        ({"max_proposals": 0}, "max_proposals must be positive, got 0"),
        ({"min_area": -1}, "min_area must not be negative, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        TestSettings(**changes)


@pytest.mark.parametrize(
    "backbone",
    [ResidualPyramid(2, (8, 8), (1, 1), 8), SqueezeNet(16), SqueezeNetPyramid(8, frozen=True)],
)
def test_files_hold_the_whole_network(tmp_path, backbone):
    made = InstanceFCN(backbone, 3, 15, width=4, settings=TestSettings(scales=(0.5, 2.0)))
    save(made, tmp_path / "a.safetensors")
    again = load(tmp_path / "a.safetensors")
    assert (again.grid, again.window, again.settings) == (3, 15, made.settings)
    assert not again.training
    for (name, a), b in zip(made.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert list(tmp_path.iterdir()) == [tmp_path / "a.safetensors"]


def test_files_of_half_the_size(tmp_path):
    made = InstanceFCN(ResidualPyramid(2, (8, 8), (1, 1), 8), width=8)
    save(made, tmp_path / "whole.safetensors")
    save(made, tmp_path / "half.safetensors", dtype=torch.float16)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.7 * sizes[1]
    again = load(tmp_path / "half.safetensors").state_dict()
    for name, value in made.state_dict().items():
        assert again[name].dtype == value.dtype
        expected = value.half().float() if value.ndim > 1 else value
        assert torch.equal(again[name], expected)
    with torch.no_grad():
        made.masks[0].weight[0] = 1e5
    with pytest.raises(ValueError, match=r"dtype must be a floating-point type, got torch.int8"):
        save(made, tmp_path / "half.safetensors", dtype=torch.int8)
    with pytest.raises(ValueError, match=r"masks.0.weight has weights that are too large for"):
        save(made, tmp_path / "half.safetensors", dtype=torch.float16)


class Own(nn.Module):
    stride, channels = 4, 6

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 4, 4)


def test_own_backbones_are_given_to_load(tmp_path):
    path = tmp_path / "own.safetensors"
    save(InstanceFCN(Own(), width=4), path)
    with pytest.raises(ValueError, match="its backbone is not described, so it must be given"):
        load(path)
    assert load(path, Own()).stride == 4
    with pytest.raises(ValueError, match=r"own.safetensors has other shapes: backbone.conv.weight"):
        load(path, Own(7))


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="neither a file nor one of the shipped weights"):
        load("no-such-weights")
    path = tmp_path / "bad.safetensors"
    path.write_bytes(b"\x00" * 40)
    with pytest.raises(ValueError, match="is not a safetensors file"):
        load(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="holds tensors, but not a network of pyifcn"):
        load(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [("widths", [-1]), ("widths", []), ("widths", ["a"]), ("channels", -1), ("inputs", None)],
)
def test_files_of_impossible_networks_are_refused(model, tmp_path, name, value):
    path = tmp_path / "a.safetensors"
    save(model, path)
    with safe_open(path, "pt") as file:
        metadata = json.loads(file.metadata()["pyifcn"])
    metadata["backbone"]["options"][name] = value
    save_file(model.state_dict(), path, {"pyifcn": json.dumps(metadata)})
    with pytest.raises(
        ValueError, match=r"a\.safetensors describes no network that can be built: "
    ):
        load(path)


def test_shipped_weights_are_small():
    assert available() == ["nuclei", "nuclei_large", "photos"]
    for file in (Path(pyifcn.__file__).parent / "weights").glob("*.safetensors"):
        assert file.stat().st_size <= 8_000_000


@pytest.mark.parametrize("weights", ["nuclei", "nuclei_large"])
def test_shipped_weights_find_nuclei(weights):
    model = load(weights)
    data = SyntheticNuclei(2, size=(128, 160), seed=5)
    found = [model.segment(sample.image) for sample in data]
    quality = detection_quality(found, list(data))
    assert quality.quality[0] > 0.6
    assert quality.recall[0] > 0.7


def test_shipped_weights_on_photographs(shared_data):
    from pyifcn.data import CocoInstances

    folder = shared_data / "coco_open"
    if not folder.is_dir():
        pytest.skip("../shared/data/coco_open is missing")
    data = list(CocoInstances(folder / "instances_val.json", folder / "images"))
    model = load("photos")
    found = [model.propose(sample.image, scales=(0.5, 1.0)) for sample in data]  # 2 of 7, in time
    recall = average_recall([(f.masks, f.scores) for f in found], data)
    assert recall["AR@100"] > 0.075


def test_shipped_weights_on_real_images(shared_data):
    from pyifcn.data import CocoInstances

    folder = shared_data / "nuclei"
    if not folder.is_dir():
        pytest.skip("../shared/data/nuclei is missing")
    data = CocoInstances(folder / "instances_val.json", folder / "images")
    small = data.filter(lambda record: record["channels"] == 1 and record["width"] == 256)[:6]
    model = load("nuclei")
    quality = detection_quality([model.segment(s.image) for s in small], list(small))
    assert quality.quality[0] > 0.75
