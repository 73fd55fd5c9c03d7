# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""COCO's Python objects to flat arrays, which the compiled module reads, and back."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy
from libcpp.string cimport string
from libcpp.vector cimport vector

import operator

import numpy as np


def rles_to_arrays(rles, str name):
    cdef string text
    cdef vector[int64_t] numbers, text_offsets, number_offsets, sizes
    cdef Py_ssize_t i = 0
    text_offsets.push_back(0)
    number_offsets.push_back(0)
    for rle in rles:
        try:
            size = rle["size"]
            if len(size) != 2:
                raise ValueError(f"size is {size!r}, expected [height, width]")
            sizes.push_back(_side(size[0]))
            sizes.push_back(_side(size[1]))
            _append_counts(rle["counts"], text, numbers)
        except (LookupError, TypeError, ValueError, OverflowError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            if not hasattr(rle, "keys"):
                what = f"it is a {type(rle).__name__}, expected a dict of size and counts"
            raise ValueError(f"{name}[{i}] is malformed: {what}") from None
        text_offsets.push_back(<int64_t> text.size())
        number_offsets.push_back(<int64_t> numbers.size())
        i += 1
    return (
        _array(text.data(), text.size(), np.uint8),
        _int64_array(text_offsets),
        _int64_array(numbers),
        _int64_array(number_offsets),
        _int64_array(sizes).reshape(-1, 2),
    )


def arrays_to_rles(
    const uint8_t[::1] text, const int64_t[::1] offsets, const int64_t[:, ::1] sizes, bint as_str
):
    cdef Py_ssize_t i, length, row
    cdef const char* start
    cdef list rles = []
    for i in range(offsets.shape[0] - 1):
        row = i if sizes.shape[0] > 1 else 0
        start = <const char*> &text[0] + offsets[i]
        length = offsets[i + 1] - offsets[i]
        counts = (
            PyUnicode_DecodeASCII(start, length, NULL)
            if as_str
            else PyBytes_FromStringAndSize(start, length)
        )
        rles.append({"size": [sizes[row, 0], sizes[row, 1]], "counts": counts})
    return rles


def polygons_to_arrays(polygons, mask_offsets, str name):
    cdef vector[double] coordinates
    cdef vector[int64_t] offsets
    cdef Py_ssize_t i = 0
    offsets.push_back(0)
    for polygon in polygons:
        try:
            _append_coordinates(polygon, coordinates)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{_label(name, mask_offsets, i)} is malformed: {error}") from None
        offsets.push_back(<int64_t> coordinates.size())
        i += 1
    array = _array(<const char*> coordinates.data(), 8 * coordinates.size(), np.float64)
    return array, _int64_array(offsets)


cdef _label(name, mask_offsets, i):
    if mask_offsets is None:
        return f"{name}[{i}]"
    mask = int(np.searchsorted(mask_offsets, i, "right")) - 1
    return f"{name}[{mask}][{i - mask_offsets[mask]}]"


cdef int64_t _side(value) except? -1:
    if type(value) is int:
        return value
    number = int(value)
    if number != value:
        raise ValueError(f"size holds {value!r}")
    return number


cdef int _append_counts(counts, string& text, vector[int64_t]& numbers) except -1:
    if isinstance(counts, str):
        counts = counts.encode("utf-8", "surrogatepass")
    if isinstance(counts, bytes):
        text.append(PyBytes_AS_STRING(counts), PyBytes_GET_SIZE(counts))
        return 0
    try:
        if type(counts) is not list:
            counts = np.asarray(counts)
            if counts.ndim != 1 or (counts.size and counts.dtype.kind not in "iu"):
                raise TypeError
        for run in counts:
            numbers.push_back(operator.index(run) if type(run) is not int else run)
    except TypeError:
        raise ValueError("counts must be a string or a list of ints") from None
    except OverflowError:
        raise ValueError("counts holds a number over 64 bits") from None
    return 0


cdef int _append_coordinates(polygon, vector[double]& coordinates) except -1:
    cdef const double[::1] flat
    cdef size_t before = coordinates.size()
    is_list = isinstance(polygon, (list, tuple))
    if is_list and not (polygon and isinstance(polygon[0], (list, tuple))):
        for value in polygon:
            coordinates.push_back(value)
        return 0
    array = np.ascontiguousarray(polygon, np.float64)
    if array.ndim != 1 and (array.ndim != 2 or array.shape[1] != 2):
        raise ValueError(f"it has shape {array.shape}, expected (2 P,) or (P, 2)")
    flat = array.ravel()
    coordinates.resize(before + flat.shape[0])
    if flat.shape[0]:
        memcpy(coordinates.data() + before, &flat[0], 8 * flat.shape[0])
    return 0


cdef _int64_array(const vector[int64_t]& values):
    return _array(<const char*> values.data(), 8 * values.size(), np.int64)


cdef _array(const char* data, size_t size, dtype):
    if size == 0:
        return np.empty(0, dtype)
    return np.frombuffer(PyBytes_FromStringAndSize(data, size), dtype)
