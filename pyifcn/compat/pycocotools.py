"""`pycocotools.mask`, the same and fast.

Put `from pyifcn.compat import pycocotools as mask_utils` in the place of
`from pycocotools import mask as mask_utils`. What is accepted, dtypes, shapes, orders in memory and
the codes' bytes are those of pycocotools 2.0.11, with these differences:

- A malformed code is a `ValueError` that names it, everywhere: characters that no code holds, runs
  that are cut off, negative, or do not sum to the image. So are coordinates that are not finite or
  more than 2^28 pixels from the origin, and sizes of 2^32 pixels or more, for `iou` sides of 2^31
  or more. pycocotools reads or writes memory that is not its own for some of these and returns
  something for others.
- `encode` takes masks in any order of memory, not only Fortran's; whatever is not 0 is foreground,
  also where several such values stand side by side.
- Where pycocotools wants compressed codes, uncompressed ones are taken too; `frPyObjects` also
  takes lists of boxes, a single box or polygon, and boxes of any numeric dtype and strides.
- Arguments of a wrong type are a `TypeError` and wrong values a `ValueError`, where pycocotools
  raises one of several others.

Example:
    >>> import numpy as np
    >>> from pyifcn.compat import pycocotools as mask_utils
    >>> mask = np.zeros((4, 6), np.uint8, order="F")
    >>> mask[1:3, 2:5] = 1
    >>> code = mask_utils.encode(mask)
    >>> code
    {'size': [4, 6], 'counts': b'9220003'}
    >>> int(mask_utils.area(code)), mask_utils.toBbox(code).tolist()
    (6, [2.0, 1.0, 3.0, 2.0])
    >>> np.array_equal(mask_utils.decode(code), mask)
    True
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pyifcn import _coco
from pyifcn._array import describe
from pyifcn._runtime import cpu, num_threads
from pyifcn.compat._replacement import Replacement
from pyifcn.masks import Masks
from pyifcn.masks.storage import checked_size

__all__ = ["area", "decode", "encode", "frPyObjects", "iou", "merge", "toBbox"]

Array = npt.NDArray[Any]
Rle = dict[str, Any]


class _Codes(NamedTuple):
    runs: npt.NDArray[np.uint32]  # of all masks, one after the other
    offsets: npt.NDArray[np.int64]  # (N + 1,)
    sizes: npt.NDArray[np.int64]  # (N, 2), or one row for all

    @property
    def same_size(self) -> tuple[int, int] | None:
        """The size of all images, if it is one."""
        if len(self.sizes) and (self.sizes == self.sizes[0]).all():
            height, width = self.sizes[0].tolist()
            return height, width
        return None

    def masks(self) -> Masks:
        size = checked_size(self.sizes[0].tolist())
        packed = cpu.rle_pack(self.runs, self.offsets, *size, num_threads())
        return Masks._of(size, *packed)

    def chosen(self, which: npt.NDArray[np.intp]) -> _Codes:
        parts = [self.runs[self.offsets[i] : self.offsets[i + 1]] for i in which]
        offsets = np.cumsum([0, *map(len, parts)])
        return _Codes(np.concatenate(parts), offsets, self.sizes[which])


def encode(bimask: Array) -> Rle | list[Rle]:
    """Run-length codes of masks.

    Args:
        bimask: uint8 or bool (H, W) or (H, W, N); whatever is not 0 is foreground. Fortran's order
            and that of a transposed (N, H, W) are read where they lie, others are copied.

    Returns:
        `{"size": [h, w], "counts": bytes}`, or a list of these for three dimensions.

    Raises:
        TypeError: If the array has another dtype or rank.
        ValueError: If the image has 2^32 pixels or more.
    """
    bimask = np.asarray(bimask)
    if bimask.ndim not in (2, 3) or bimask.dtype not in (np.uint8, np.bool_):
        raise TypeError(f"bimask is {describe(bimask)}, expected uint8 (H, W) or (H, W, N)")
    if bimask.ndim == 2:
        (code,) = _encode(bimask[:, :, None])
        return code
    return _encode(bimask)


def decode(rleObjs: Rle | list[Rle]) -> npt.NDArray[np.uint8]:
    """Masks of run-length codes.

    Args:
        rleObjs: A code or a list of codes, all of one size.

    Returns:
        uint8 (H, W), or (H, W, N) for a list, of 0 and 1, in Fortran's order.

    Raises:
        ValueError: If a code is malformed, the sizes differ, or the list is empty.
    """
    if isinstance(rleObjs, Mapping):
        return _decode([rleObjs])[:, :, 0]
    return _decode(rleObjs)


def merge(rleObjs: list[Rle], intersect: bool = False) -> Rle:
    """The union of masks, or their intersection.

    Args:
        rleObjs: Codes of one size.
        intersect: Whether to intersect.

    Returns:
        A code; one of size [0, 0] for an empty list and for different sizes, as pycocotools has it.

    Raises:
        ValueError: If a code is malformed.
    """
    codes = _read(rleObjs)
    if codes.same_size is None:
        return {"size": [0, 0], "counts": b""}
    runs, offsets = cpu.rle_merge(codes.runs, codes.offsets, bool(intersect))
    (code,) = _write(_Codes(runs, offsets, codes.sizes[:1]))
    return code


def area(rleObjs: Rle | list[Rle]) -> Any:
    """How many pixels masks have.

    Args:
        rleObjs: A code or a list of codes.

    Returns:
        A uint32, or uint32 (N,) for a list.

    Raises:
        ValueError: If a code is malformed.
    """
    single = isinstance(rleObjs, Mapping)
    codes = _read([rleObjs] if single else rleObjs)
    out = np.empty(len(codes.sizes), np.uint32)
    cpu.rle_area(codes.runs, codes.offsets, out)
    return out[0] if single else out


def toBbox(rleObjs: Rle | list[Rle]) -> npt.NDArray[np.float64]:  # noqa: N802
    """The boxes around masks.

    Args:
        rleObjs: A code or a list of codes.

    Returns:
        float64 (4,), or (N, 4) for a list: x, y, width, height; all 0 for an empty mask.

    Raises:
        ValueError: If a code is malformed.
    """
    if isinstance(rleObjs, Mapping):
        return _boxes(_read([rleObjs]))[0]
    return _boxes(_read(rleObjs))


def iou(dt: Any, gt: Any, pyiscrowd: Any) -> Any:
    """How much each detection overlaps each true object.

    Args:
        dt: M codes, or boxes (M, 4) as x, y, width, height: an array or a list.
        gt: N of the same kind.
        pyiscrowd: N numbers: where not 0, the intersection is divided by the detection's area.

    Returns:
        float64 (M, N) in Fortran's order, or `[]` if one has no entries. Masks of different sizes
        whose boxes meet give -1.

    Raises:
        TypeError: If `dt` or `gt` is of no such kind, or they are of different kinds.
        ValueError: If a code is malformed or has a side of 2^31 or more, boxes are not (N, 4), or
            `pyiscrowd` has another length.
    """
    detections, truths = _objects(dt, "dt"), _objects(gt, "gt")
    crowd = np.array(pyiscrowd, dtype=np.uint8).astype(bool)
    if crowd.shape != (len(gt),):
        raise ValueError(f"pyiscrowd has shape {crowd.shape}, expected ({len(gt)},) as gt")
    if detections is None or truths is None:
        return []
    if isinstance(detections, _Codes) and isinstance(truths, _Codes):
        return _mask_iou(detections, truths, crowd)
    if isinstance(detections, _Codes) or isinstance(truths, _Codes):
        raise TypeError("dt and gt are of different kinds, expected codes or boxes for both")
    return _box_iou(detections, truths, crowd)


def frPyObjects(pyobj: Any, h: int, w: int) -> Rle | list[Rle]:  # noqa: N802
    """Run-length codes of boxes, polygons or uncompressed codes.

    Args:
        pyobj: A list of polygons, each a flat sequence x0, y0, x1, y1, ...; boxes (N, 4) as x, y,
            width, height, in an array or a list; a list of uncompressed codes; or one polygon, box
            or code. What a list holds is told by its first entry: one with 4 numbers is a box.
        h: The image's height in pixels; uncompressed codes bring their own.
        w: Its width.

    Returns:
        A list of codes, or one code for one object.

    Raises:
        TypeError: If it is none of these.
        ValueError: If an object is malformed; the message names it.
    """
    h, w = int(h), int(w)
    if isinstance(pyobj, Mapping):
        (code,) = _from_codes([pyobj])
        return code
    if isinstance(pyobj, np.ndarray):
        return _from_boxes(pyobj, h, w)
    if not isinstance(pyobj, (list, tuple)):
        raise TypeError(f"pyobj is {describe(pyobj)}, expected polygons, boxes or codes")
    if not pyobj:
        raise ValueError("pyobj is empty")
    if isinstance(pyobj[0], Mapping):
        return _from_codes(pyobj)
    if not isinstance(pyobj[0], (list, tuple, np.ndarray)):  # a number
        (code,) = _from_numbers([pyobj], h, w)
        return code
    return _from_numbers(pyobj, h, w)


def _read(rles: Any, name: str = "rleObjs") -> _Codes:
    *arrays, sizes = _coco.rles_to_arrays(rles, name)
    runs, offsets = cpu.rle_parse(*arrays, sizes, name, num_threads())
    return _Codes(runs, offsets, sizes)


def _write(codes: _Codes) -> list[Rle]:
    text, offsets = cpu.rle_write(codes.runs, codes.offsets, num_threads())
    return _coco.arrays_to_rles(text, offsets, codes.sizes, False)


def _write_all(made: tuple[Array, Array], size: tuple[int, int]) -> list[Rle]:
    runs, offsets = made
    return _write(_Codes(runs, offsets, np.array([size], np.int64)))


def _encode(bimask: Array) -> list[Rle]:
    size = bimask.shape[0], bimask.shape[1]
    by_mask = bimask.transpose(2, 0, 1)
    if by_mask.flags.c_contiguous and not bimask.flags.f_contiguous:
        masks = Masks.from_dense(by_mask)
        return _write_all(cpu.rle_unpack(*masks._arrays, *size, num_threads()), size)
    by_column = np.ascontiguousarray(bimask.transpose(2, 1, 0))
    return _write_all(cpu.rle_encode(by_column, num_threads()), size)


def _decode(rles: Any) -> npt.NDArray[np.uint8]:
    codes = _read(rles)
    if codes.same_size is None:
        if not len(codes.sizes):
            raise ValueError("rleObjs is empty, so that the masks would have no size")
        i = int((codes.sizes != codes.sizes[0]).any(1).argmax())
        first, other = codes.sizes[[0, i]].tolist()
        raise ValueError(f"rleObjs[{i}] has size {other}, expected {first} as rleObjs[0]")
    height, width = codes.same_size
    out = np.zeros((len(codes.sizes), width, height), np.uint8)
    cpu.rle_fill(codes.runs, codes.offsets, out, num_threads())
    return out.transpose(2, 1, 0)


def _boxes(codes: _Codes) -> npt.NDArray[np.float64]:
    out = np.empty((len(codes.sizes), 4))
    cpu.rle_boxes(*codes, out)
    return out


def _objects(objects: Any, name: str) -> _Codes | npt.NDArray[np.float64] | None:
    """What `iou` compares: codes, boxes, or None for neither."""
    if not isinstance(objects, (list, tuple, np.ndarray)):
        raise TypeError(f"{name} is {describe(objects)}, expected a list of codes or of boxes")
    if not len(objects):
        return None
    if isinstance(objects[0], Mapping):
        return _read(objects, name)
    return _checked_boxes(objects, name)


def _checked_boxes(boxes: Any, name: str) -> npt.NDArray[np.float64]:
    try:
        array = np.ascontiguousarray(boxes, np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is no array of numbers (N, 4)") from None
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{name} has shape {array.shape}, expected (N, 4)")
    return array


def _mask_iou(dt: _Codes, gt: _Codes, crowd: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    if dt.same_size is None or dt.same_size != gt.same_size:
        return _iou_of_sizes(dt, gt, crowd)
    detections, truths = dt.masks(), gt.masks()
    out: npt.NDArray[np.float64] = truths.iou(detections).T
    if crowd.any():
        out[:, crowd] = detections.iou(truths[crowd], kind="iof")
    return out


def _iou_of_sizes(dt: _Codes, gt: _Codes, crowd: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    meet = _box_iou(_boxes(dt), _boxes(gt), crowd) > 0
    out = np.where(meet, -1.0, 0.0)
    for size in np.unique(dt.sizes, axis=0):
        rows, columns = (np.flatnonzero((codes.sizes == size).all(1)) for codes in (dt, gt))
        if len(columns):
            among = _mask_iou(dt.chosen(rows), gt.chosen(columns), crowd[columns])
            out[np.ix_(rows, columns)] = among
    return out


def _box_iou(
    dt: npt.NDArray[np.float64], gt: npt.NDArray[np.float64], crowd: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    out = np.empty((len(gt), len(dt)))
    cpu.rle_box_iou(dt, gt, crowd, out, num_threads())
    return out.T


def _from_codes(codes: Any) -> list[Rle]:
    return _write(_read(codes, "pyobj"))


def _from_numbers(objects: Any, h: int, w: int) -> list[Rle]:
    if len(objects[0]) == 4 and np.ndim(objects[0]) == 1:
        return _from_boxes(objects, h, w)
    return _from_polygons(objects, h, w)


def _from_boxes(boxes: Any, h: int, w: int) -> list[Rle]:
    x, y, width, height = _checked_boxes(boxes, "pyobj").T
    corners = np.stack([x, y, x, y + height, x + width, y + height, x + width, y], 1)
    offsets = 8 * np.arange(len(corners) + 1, dtype=np.int64)
    return _draw(corners.ravel(), offsets, h, w)


def _from_polygons(polygons: Any, h: int, w: int) -> list[Rle]:
    return _draw(*_coco.polygons_to_arrays(polygons, None, "pyobj"), h, w)


def _draw(coordinates: Array, offsets: Array, h: int, w: int) -> list[Rle]:
    made = cpu.polygons_draw(coordinates, offsets, None, h, w, "pyobj", num_threads())
    return _write_all(made, (h, w))


REPLACEMENTS = (
    Replacement("pycocotools.mask.encode", encode),
    Replacement("pycocotools.mask.decode", decode),
    Replacement("pycocotools.mask.merge", merge),
    Replacement("pycocotools.mask.area", area),
    Replacement("pycocotools.mask.toBbox", toBbox),
    Replacement("pycocotools.mask.iou", iou),
    Replacement("pycocotools.mask.frPyObjects", frPyObjects),
)
