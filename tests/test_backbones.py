"""Backbones: strides, exact sizes, foreign weights, and other libraries' modules."""

import functools
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the backbones need PyTorch")
from torch import nn  # noqa: E402

from pyifcn.models import VGG16, SqueezeNet, SqueezeNetPyramid, adapt  # noqa: E402

SQUEEZENET = Path(__file__).parents[2] / "shared/data/squeezenet_v1.0/squeezenet_v1.0_fp32.npz"
SIZES = [(64, 48), (33, 50), (1, 1), (7, 65), (40, 31)]


def check_sizes(backbone, sizes=SIZES):
    for height, width in sizes:
        features = backbone(torch.rand(2, 3, height, width))
        expected = (
            2,
            backbone.channels,
            -(-height // backbone.stride),
            -(-width // backbone.stride),
        )
        assert tuple(features.shape) == expected


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
    with torch.no_grad():
        yield


def original_vgg(state):
    """VGG-16 up to conv5_3 as published: stride 16, nothing dilated."""
    layers, inputs = [], 3
    for step in [64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512]:
        layers += [nn.Conv2d(inputs, step, 3, padding=1), nn.ReLU()] if step else [nn.MaxPool2d(2)]
        inputs = step or inputs
    network = nn.Sequential(*layers)
    network.load_state_dict({name.removeprefix("features."): w for name, w in state.items()})
    return network


@functools.cache
def random_vgg():
    return VGG16().eval()


def vgg_state():
    return random_vgg().state_dict() | {"classifier.6.weight": torch.zeros(10, 4)}


def test_vgg_sizes():
    check_sizes(random_vgg())


def test_vgg_agrees_with_the_original_at_every_second_position():
    backbone = random_vgg()
    image = torch.rand(1, 3, 64, 48)
    expected = original_vgg(backbone.state_dict())(backbone.normalize(image))
    torch.testing.assert_close(backbone(image)[..., ::2, ::2], expected)


def test_vgg_loads_torchvisions_names(tmp_path):
    state = vgg_state()
    assert list(random_vgg().state_dict())[:2] == ["features.0.weight", "features.0.bias"]
    assert list(random_vgg().state_dict())[-1] == "features.28.bias"
    torch.save(state, tmp_path / "vgg16.pth")
    for weights in (state, tmp_path / "vgg16.pth", str(tmp_path / "vgg16.pth")):
        loaded = VGG16.from_torchvision(weights).state_dict()
        assert all(torch.equal(loaded[name], state[name]) for name in loaded)


def test_vgg_refuses_other_weights(tmp_path):
    state = vgg_state()
    del state["features.5.bias"]
    with pytest.raises(ValueError, match=r"weights lacks features\.5\.bias"):
        VGG16.from_torchvision(state)
    state = vgg_state() | {"features.0.weight": torch.zeros(64, 1, 3, 3)}
    with pytest.raises(ValueError, match=r"features\.0\.weight \(64, 1, 3, 3\) instead of \(64, 3"):
        VGG16.from_torchvision(state)
    with pytest.raises(ValueError, match=r"lacks .* and 23 more"):
        VGG16.from_torchvision({})
    with pytest.raises(OSError, match="missing"):
        VGG16.from_torchvision(tmp_path / "missing.pth")
    for content in (b"", b"not weights"):
        (tmp_path / "bad.pth").write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.pth is not a file of PyTorch weights"):
            VGG16.from_torchvision(tmp_path / "bad.pth")
    torch.save([1], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list\.pth holds a list"):
        VGG16.from_torchvision(tmp_path / "list.pth")


@pytest.mark.parametrize("stride", [8, 16])
def test_squeezenet_sizes(stride):
    check_sizes(SqueezeNet(stride).eval())


def test_squeezenet_stride_8_refines_stride_16():
    fine, coarse = SqueezeNet(8).eval(), SqueezeNet(16).eval()
    coarse.load_state_dict(fine.state_dict())
    image = torch.rand(1, 3, 65, 50)
    torch.testing.assert_close(fine(image)[..., ::2, ::2], coarse(image))


def test_squeezenet_reads_npz(tmp_path):
    names = {name: w.numpy() for name, w in SqueezeNet().state_dict().items()}
    arrays = {name.replace(".", "/", name.count(".") - 1): w for name, w in names.items()}
    path = tmp_path / "weights.npz"
    np.savez(path, **arrays, **{"conv10.weight": np.zeros((1000, 512, 1, 1), np.float32)})
    backbone = SqueezeNet.from_npz(path)
    np.testing.assert_array_equal(backbone.conv1.weight, arrays["conv1.weight"][:, ::-1])
    np.testing.assert_array_equal(backbone.fire9.expand3x3.bias, arrays["fire9/expand3x3.bias"])
    # A pure blue image, written in BGR as the weights expect it.
    image = torch.zeros(1, 3, 9, 9)
    image[:, 2] = 1
    bgr = torch.tensor([255.0, 0, 0]) - torch.tensor([104.0, 117, 123])
    first = nn.functional.conv2d(
        bgr.view(1, 3, 1, 1).expand(1, 3, 9, 9),
        torch.tensor(arrays["conv1.weight"]),
        padding=3,
        stride=2,
    )
    ours = nn.functional.conv2d(
        backbone.normalize(image), backbone.conv1.weight, padding=3, stride=2
    )
    torch.testing.assert_close(ours, first, rtol=1e-4, atol=1e-3)


def test_squeezenet_refuses_other_weights(tmp_path):
    with pytest.raises(ValueError, match="stride must be 8 or 16, got 4"):
        SqueezeNet(4)
    with pytest.raises(OSError, match="missing"):
        SqueezeNet.from_npz(tmp_path / "missing.npz")
    path = tmp_path / "bad.npz"
    for content in (b"", b"PK\x03\x04 truncated", b"not an archive"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"bad\.npz is not an \.npz"):
            SqueezeNet.from_npz(path)
    np.savez(path, **{"conv1.weight": np.zeros((96, 3, 7, 7), np.float32)})
    with pytest.raises(ValueError, match=r"bad\.npz lacks conv1\.bias"):
        SqueezeNet.from_npz(path)
    arrays = {name: w.numpy() for name, w in SqueezeNet().state_dict().items()}
    np.savez(path, **arrays | {"conv1.weight": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match=r"conv1\.weight \(3,\) instead of \(96, 3, 7, 7\)"):
        SqueezeNet.from_npz(path)


def test_squeezenet_pyramid_sizes():
    check_sizes(SqueezeNetPyramid(24).eval())


@pytest.mark.parametrize("frozen", [False, True])
def test_squeezenet_pyramid_keeps_published_weights(tmp_path, frozen):
    weights = {name: w.numpy() for name, w in SqueezeNet().state_dict().items()}
    np.savez(
        tmp_path / "a.npz", **{n.replace(".", "/", n.count(".") - 1): weights[n] for n in weights}
    )
    backbone = SqueezeNetPyramid.from_npz(tmp_path / "a.npz", 16, frozen)
    trunk = SqueezeNet.from_npz(tmp_path / "a.npz", 16)
    image = torch.rand(1, 3, 70, 33)
    assert torch.equal(backbone.trunk(image), trunk(image))
    with torch.enable_grad():
        backbone(image).sum().backward()
    learnt = {name for name, p in backbone.named_parameters() if p.grad is not None}
    assert {name for name, _ in backbone.named_parameters() if name not in learnt} == {
        f"trunk.{name}" for name, _ in trunk.named_parameters() if frozen
    }


@pytest.mark.skipif(not SQUEEZENET.exists(), reason="../shared/data/squeezenet_v1.0 is missing")
def test_squeezenet_loads_the_published_weights():
    features = SqueezeNet.from_npz(SQUEEZENET, stride=16).eval()(torch.rand(1, 3, 64, 64))
    assert 0 < features.mean() < 100


class Pyramid(nn.Module):
    """Three maps at strides 4, 8 and 16, in whatever container a library uses."""

    def __init__(self, container=list, channels_last=False):
        super().__init__()
        self.layers = nn.ModuleList(
            [
                nn.Conv2d(3, 8, 3, stride=4, padding=1),
                nn.Conv2d(8, 12, 3, stride=2, padding=1),
                nn.Conv2d(12, 16, 3, stride=2, padding=1),
            ]
        )
        self.container = container
        self.channels_last = channels_last

    def forward(self, x):
        maps = []
        for layer in self.layers:
            x = layer(x)
            maps.append(x.permute(0, 2, 3, 1) if self.channels_last else x)
        return self.container(maps)


class BackboneOutput:
    def __init__(self, maps):
        self.feature_maps = tuple(maps)


def named(maps):
    return dict(zip("abc", maps, strict=True))


@pytest.mark.parametrize("container", [list, tuple, named, BackboneOutput])
@pytest.mark.parametrize("channels_last", [False, True])
def test_adapt_detects_every_container(container, channels_last):
    module = Pyramid(container, channels_last)
    backbone = adapt(module)
    assert (backbone.stride, backbone.channels) == (8, 12)
    check_sizes(backbone)
    image = torch.rand(1, 3, 64, 96)
    plain = Pyramid()
    plain.load_state_dict(module.state_dict())
    torch.testing.assert_close(backbone(image), plain(backbone.normalize(image))[1])


def test_adapt_takes_a_level():
    for level, stride in [(0, 4), (1, 8), (2, 16), (-1, 16), (-3, 4)]:
        assert adapt(Pyramid(), level).stride == stride
    backbone = adapt(Pyramid(named), "c")
    assert (backbone.stride, backbone.channels) == (16, 16)
    check_sizes(backbone)


def test_adapt_takes_the_finest_if_all_are_coarse():
    assert adapt(nn.Conv2d(3, 4, 16, stride=16)).stride == 16


def test_adapt_merges_levels():
    backbone = adapt(Pyramid(), (0, 2), channels=6)
    assert (backbone.stride, backbone.channels) == (4, 6)
    check_sizes(backbone)
    image = torch.rand(1, 3, 64, 96)
    fine, _, coarse = backbone.module(backbone.normalize(image))
    expected = backbone.lateral[0](fine) + nn.functional.interpolate(
        backbone.lateral[1](coarse), scale_factor=4, mode="bilinear"
    )
    torch.testing.assert_close(backbone(image), expected)


def test_adapt_normalizes():
    module = Pyramid()
    torch.testing.assert_close(adapt(module).normalize.mean.flatten()[0], torch.tensor(0.485))
    module.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    assert adapt(module).normalize.std.flatten().tolist() == [0.25] * 3
    assert adapt(module, mean=(0.1, 0.2, 0.3)).normalize.mean.flatten()[1].item() == pytest.approx(
        0.2
    )


def test_adapt_leaves_the_module_as_it_was():
    module = nn.Sequential(nn.Conv2d(3, 4, 2, stride=2), nn.BatchNorm2d(4), nn.Dropout())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    adapt(module.train())
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_adapted_gradients_reach_the_module():
    backbone = adapt(Pyramid(), (0, 1))
    with torch.enable_grad():
        backbone(torch.rand(1, 3, 20, 20)).sum().backward()
    assert backbone.module.layers[0].weight.grad.abs().sum() > 0
    assert backbone.lateral[1].weight.grad is not None


def test_adapt_refuses_what_is_no_backbone():
    with pytest.raises(TypeError, match=r"module must be a torch\.nn\.Module, got str"):
        adapt("resnet18")
    with pytest.raises(ValueError, match=r"levels has 7, but module gives 0 \(stride 4\), 1"):
        adapt(Pyramid(), 7)
    with pytest.raises(ValueError, match="levels has 'd', but module gives"):
        adapt(Pyramid(named), "d")
    with pytest.raises(ValueError, match="levels must name at least one map"):
        adapt(Pyramid(), [])
    with pytest.raises(ValueError, match=r"module must take images \(1, 3, 224, 448\), but says"):
        adapt(nn.Conv2d(1, 4, 1))
    with pytest.raises(TypeError, match=r"output 0 is a shape \(1, 5\)"):
        adapt(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5)))
    with pytest.raises(ValueError, match="its stride is not a whole number"):
        adapt(nn.Conv2d(3, 4, 3, stride=2))
    with pytest.raises(TypeError, match="at least one feature map"):
        adapt(Pyramid(lambda maps: []))


def test_timm():
    timm = pytest.importorskip("timm", reason="timm is not installed", exc_type=ImportError)
    resnet = timm.create_model("resnet18", features_only=True, pretrained=False).eval()
    backbone = adapt(resnet)
    info = resnet.feature_info
    assert backbone.stride == 8
    assert backbone.channels == info.channels()[info.reduction().index(8)]
    check_sizes(backbone, [(33, 50), (64, 64)])
    convnext = timm.create_model("convnext_atto", features_only=True, pretrained=False).eval()
    merged = adapt(convnext, (0, 1, 2), channels=32)
    assert (merged.stride, merged.channels) == (4, 32)
    check_sizes(merged, [(33, 50)])
    with pytest.raises(ValueError, match="module must take images"):  # it takes 224 x 224 only
        adapt(timm.create_model("swin_tiny_patch4_window7_224", features_only=True))
    vit = timm.create_model(
        "vit_tiny_patch16_224", features_only=True, pretrained=False, dynamic_img_size=True
    ).eval()
    assert (adapt(vit).stride, adapt(vit).normalize.mean.flatten()[0].item()) == (16, 0.5)


def test_torchvision():
    torchvision = pytest.importorskip(
        "torchvision", reason="torchvision is not installed", exc_type=ImportError
    )
    from torchvision.models.feature_extraction import create_feature_extractor

    resnet = torchvision.models.resnet18().eval()
    backbone = adapt(
        create_feature_extractor(resnet, {"layer1": "fine", "layer3": "coarse"}), "coarse"
    )
    assert (backbone.stride, backbone.channels) == (16, 256)
    check_sizes(backbone, [(33, 50)])
    vgg = torchvision.models.vgg16()
    ours = VGG16.from_torchvision(vgg.state_dict()).eval()
    image = torch.rand(1, 3, 64, 48)
    torch.testing.assert_close(
        ours(image)[..., ::2, ::2], vgg.features[:30](ours.normalize(image)), rtol=1e-4, atol=1e-4
    )


def test_transformers():
    transformers = pytest.importorskip(
        "transformers", reason="transformers is not installed", exc_type=ImportError
    )
    config = transformers.ResNetConfig(
        depths=[1, 1, 1, 1], out_features=["stage1", "stage2", "stage3"]
    )
    backbone = adapt(transformers.AutoBackbone.from_config(config).eval())
    assert (backbone.stride, backbone.channels) == (8, config.hidden_sizes[1])
    check_sizes(backbone, [(33, 50)])
    config = transformers.Dinov2Config(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, out_features=["stage1"]
    )
    dino = adapt(transformers.AutoBackbone.from_config(config).eval())
    assert (dino.stride, dino.channels) == (14, 24)
    check_sizes(dino, [(33, 50)])
