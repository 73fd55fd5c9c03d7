"""What all operators do with what they are given, before and after the compiled code."""

import numpy as np
import pytest
from optional import torch

import pyifcn
from pyifcn import Masks

MAPS = np.random.default_rng(0).standard_normal((1, 4, 6, 7)).astype(np.float32)
WINDOWS = np.array([[0, 3, 3], [0, 0, 6]])
BOXES = np.array([[0, 0, 4, 4], [0, 0, 4, 5], [6, 6, 8, 9]], np.float32)
SCORES = np.array([0.5, 0.9, 0.7], np.float32)


def test_any_byte_order_is_read():
    swapped = MAPS.astype(MAPS.dtype.newbyteorder()), WINDOWS.astype(WINDOWS.dtype.newbyteorder())
    assert not swapped[0].dtype.isnative
    ours = pyifcn.assemble(*swapped, 4)
    assert ours.dtype.isnative
    np.testing.assert_array_equal(ours, pyifcn.assemble(MAPS, WINDOWS, 4))
    boxes, scores = BOXES.astype(">f4"), SCORES.astype(">f4")
    assert pyifcn.nms(boxes, scores, 0.5).tolist() == [1, 2]
    soft = np.ones((3, 2, 2))
    pasted = pyifcn.paste_masks(soft.astype(">f8"), BOXES.astype(">f8"), (9, 9))
    assert pasted == pyifcn.paste_masks(soft, BOXES.astype(float), (9, 9))


@pytest.mark.parametrize("dtype", ["complex64", "int16", "S3", "O"])
def test_an_unknown_dtype_is_named(dtype):
    with pytest.raises(TypeError, match=r"^boxes is (complex64|int16|\|S3|object), expected float"):
        pyifcn.nms(BOXES.astype(dtype), SCORES, 0.5)


def test_an_unknown_dtype_of_torch_is_named():
    with pytest.raises(TypeError, match=r"^boxes is complex64, expected float16"):
        pyifcn.nms(torch.from_numpy(BOXES).to(torch.complex64), torch.from_numpy(SCORES), 0.5)


def test_tensors_that_are_no_plain_memory():
    boxes, scores = torch.from_numpy(BOXES), torch.from_numpy(SCORES)
    np.testing.assert_array_equal(
        pyifcn.assemble(torch._neg_view(torch.from_numpy(MAPS)), torch.from_numpy(WINDOWS), 4),
        pyifcn.assemble(-MAPS, WINDOWS, 4),
    )
    with pytest.raises(TypeError, match="boxes is a sparse_coo tensor, expected a dense one"):
        pyifcn.nms(boxes.to_sparse(), scores, 0.5)
    with pytest.raises(TypeError, match="boxes is a tensor without memory"):
        pyifcn.nms(torch._efficientzerotensor((3, 4)), scores, 0.5)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_tangents_are_refused_rather_than_lost():
    forward = torch.autograd.forward_ad
    maps, windows = torch.from_numpy(MAPS), torch.from_numpy(WINDOWS)
    with forward.dual_level():
        pyifcn.assemble(maps, windows, 4)  # it has none
        with pytest.raises(NotImplementedError, match="has no forward-mode derivatives"):
            pyifcn.assemble(forward.make_dual(maps, maps), windows, 4)
    with pytest.raises(NotImplementedError, match="has no forward-mode derivatives"):
        torch.func.jvp(lambda m: pyifcn.assemble(m, windows, 4), (maps,), (maps,))


@pytest.mark.parametrize(
    "call",
    [
        lambda scores: pyifcn.soft_nms(torch.from_numpy(BOXES), scores),
        lambda scores: pyifcn.matrix_nms(torch.ones(3, 2, 2) > 0, scores, torch.zeros(3).long()),
        lambda scores: pyifcn.paste_masks(scores[:, None, None], torch.from_numpy(BOXES), (9, 9)),
    ],
)
def test_tangents_are_refused_by_what_has_no_gradient(call):
    forward, scores = torch.autograd.forward_ad, torch.from_numpy(SCORES)
    with (
        forward.dual_level(),
        pytest.raises(NotImplementedError, match="has no forward-mode derivatives"),
    ):
        call(forward.make_dual(scores, scores))


def test_pasted_values_have_no_gradient():
    soft = torch.ones(3, 2, 2, requires_grad=True)
    pasted = pyifcn.paste_masks(
        soft, torch.from_numpy(BOXES), (9, 9), threshold=None, out="float32"
    )
    assert not pasted.requires_grad


def test_shapes_alone():
    maps, rois = torch.zeros(1, 8, 5, 5, device="meta"), torch.zeros(3, 5, device="meta")
    assert pyifcn.ps_roi_align(maps, rois, 2).shape == (3, 2, 2, 2)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_vmap():
    maps = torch.from_numpy(np.stack([MAPS, -MAPS]))
    windows = torch.from_numpy(WINDOWS)
    ours = torch.vmap(lambda m: pyifcn.assemble(m, windows, 4))(maps)
    for one, m in zip(ours, maps, strict=True):
        assert torch.equal(one, pyifcn.assemble(m, windows, 4))


@pytest.mark.parametrize("value", [None, "a", [0.5], 10**400, np.str_("0.5"), np.array([0.5, 0.6])])
def test_what_is_no_number(value):
    with pytest.raises(TypeError, match=r"^iou_threshold is .*, expected a number$"):
        pyifcn.nms(BOXES, SCORES, value)


def test_a_tensor_of_several_is_no_number():
    with pytest.raises(TypeError, match=r"^iou_threshold is .*, expected a number$"):
        pyifcn.nms(BOXES, SCORES, torch.tensor([0.5, 0.6]))


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor])
@pytest.mark.parametrize("size", [2**31, 2**40, 2**62])
def test_results_too_large_to_address(kind, size):
    with pytest.raises(ValueError, match=r"^a result of shape .* would be too large to address$"):
        pyifcn.assemble_dense(kind(MAPS), size)
    with pytest.raises(ValueError, match=r"^size is 9223372036854775808, expected less"):
        pyifcn.assemble(kind(MAPS), kind(WINDOWS), 2**63)


def test_indices_beyond_int64():
    with pytest.raises(ValueError, match=r"^windows holds 18446744073709551615, expected less"):
        pyifcn.assemble(MAPS, np.full((1, 3), 2**64 - 1, np.uint64), 4)


def test_indices_of_torch_beyond_int64():
    windows = torch.full((1, 3), -1, dtype=torch.int64).view(torch.uint64)
    with pytest.raises(ValueError, match=r"windows holds a number of 2\^63 or more"):
        pyifcn.assemble(torch.from_numpy(MAPS), windows, 4)


def test_a_target_that_is_no_string():
    with pytest.raises(TypeError, match=r"^name is None, expected a string"):
        pyifcn.use_target(None)


def test_masks_as_an_array():
    pytest.importorskip("torch", reason="masks in tensors are arrays too")
    dense = np.zeros((2, 4, 5), bool)
    dense[0, 1:3, 2:] = dense[1, 0, 0] = True
    masks = Masks.from_dense(dense)
    np.testing.assert_array_equal(np.asarray(masks), dense)
    assert np.asarray(masks, np.float32).dtype == np.float32
    np.testing.assert_array_equal(np.array(masks.to("cpu")), dense)
    with pytest.raises(ValueError, match="copy is False"):
        masks.__array__(copy=False)
    objects = np.empty(1, object)
    objects[0] = masks
    assert objects[0] is masks


@pytest.mark.parametrize("device", ["a", 1.5, None])
def test_what_is_no_device(device):
    pytest.importorskip("torch", reason="devices are torch's")
    with pytest.raises(TypeError, match=r"^device is .*, expected a device of torch$"):
        Masks.from_dense(np.ones((1, 2, 2), bool)).to(device)


def test_a_dtype_is_no_device():
    for masks in (dense := Masks.from_dense(np.ones((1, 2, 2), bool)), dense.to("cpu")):
        with pytest.raises(TypeError, match=r"^device is a dtype, expected a device of torch$"):
            masks.to(torch.float32)


def test_places_that_are_no_integers():
    masks = Masks.from_dense(np.ones((1, 2, 2), bool))
    for index in (1.5, "a", slice(1), None):
        with pytest.raises(TypeError, match=r"^index is .*, expected an integer$"):
            masks.patch(index)
    with pytest.raises(TypeError, match="expected an array's elements"):
        masks[[[0], [1, 2]]]


def test_patches_may_come_one_by_one():
    patch, boxes = np.ones((2, 2), bool), np.array([[1, 0]])
    made = Masks.from_patches(iter([patch]), boxes, (3, 3))
    assert made == Masks.from_patches([patch], boxes, (3, 3))
    with pytest.raises(TypeError, match="patches is None, expected a list of bool"):
        Masks.from_patches(None, boxes, (3, 3))
    far = np.full((1, 2), 2**64 - 1, np.uint64)
    assert Masks.from_patches([patch], far, (3, 3)).area.tolist() == [0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": None}, "cells is None, expected a string"),
        ({"mask_threshold": None}, "mask_threshold is None, expected a number"),
        ({"iou_threshold": "a"}, "iou_threshold is 'a', expected a number"),
        ({"score_maps": None}, "score_maps is None, expected a list with a place a level"),
        ({"strides": iter([8])}, "strides is a list_iterator, expected a list"),
    ],
)
def test_arguments_of_propose(change, message):
    arguments = {"score_maps": [MAPS], "objectness": [MAPS[:, 0]], "strides": [8]} | change
    with pytest.raises(TypeError, match=message):
        pyifcn.propose(**{"image_size": (48, 56), "size": 4, **arguments})
