"""Targets of a data set: COCO's json to the label images that a network learns from."""

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from pyifcn.data import CocoInstances

pytest.importorskip("torch", reason="the training code needs PyTorch")

from pyifcn.training.view import layers_of

# pycocotools against NumPy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")

PATH = Path(__file__).parents[2] / "shared" / "data" / "nuclei" / "instances_train.json"
WHOLE, IN_BOXES = "pycocotools and NumPy", "pycocotools and NumPy, painting in boxes"


@pytest.fixture(scope="module")
def path():
    if not PATH.is_file():
        pytest.skip("../shared/data is missing: real data is not part of the repository")
    return PATH


def read(path):
    """The json as pycocotools' users hold it: images, and their annotations by id."""
    content = json.loads(path.read_text())
    by_image = defaultdict(list)
    for annotation in content["annotations"]:
        by_image[annotation["image_id"]].append(annotation)
    return content["images"], by_image


def decoded(images, by_image, in_boxes):
    """Each image's masks, decoded one by one and painted into the first layer that is free."""
    decode = pytest.importorskip("pycocotools.mask").decode
    targets = []
    for image in images:
        size = image["height"], image["width"]
        layers = [np.zeros(size, np.int32)]
        for label, annotation in enumerate(by_image[image["id"]], 1):
            x, y, width, height = (int(v) for v in annotation["bbox"])
            box = np.s_[y : y + height, x : x + width] if in_boxes else np.s_[:, :]
            mask = decode(annotation["segmentation"])[box].astype(bool)
            for layer in layers:
                if not layer[box][mask].any():
                    break
            else:
                layer = np.zeros(size, np.int32)
                layers.append(layer)
            layer[box][mask] = label
        targets.append(np.stack(layers))
    return targets


def ours(data):
    truths = (data.truth(i) for i in range(len(data)))
    return [layers_of(truth.masks, range(1, len(truth.masks) + 1)) for truth in truths]


def same(targets, others):
    return all(map(np.array_equal, targets, others)) and len(targets) == len(others)


@pytest.fixture(scope="module")
def expected(path):
    return decoded(*read(path), in_boxes=True)


@pytest.mark.parametrize("who", ["pyifcn", WHOLE, IN_BOXES])
def test_codes_to_targets(compare, path, expected, who):
    """From what has been read of the json on."""
    data, content = CocoInstances(path), read(path)
    ways = {
        "pyifcn": lambda: ours(data),
        WHOLE: lambda: decoded(*content, in_boxes=False),
        IN_BOXES: lambda: decoded(*content, in_boxes=True),
    }
    found = compare("targets of 521 nuclei images, 22,563 codes", who, ways[who])
    assert same(found, expected)


@pytest.mark.parametrize("who", ["pyifcn", WHOLE, IN_BOXES])
def test_json_to_targets(compare, path, expected, who):
    """Ours checks every entry of the json, the others read it alone."""
    ways = {
        "pyifcn": lambda: ours(CocoInstances(path)),
        WHOLE: lambda: decoded(*read(path), in_boxes=False),
        IN_BOXES: lambda: decoded(*read(path), in_boxes=True),
    }
    found = compare("the same from the json on", who, ways[who])
    assert same(found, expected)
