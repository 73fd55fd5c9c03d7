"""Numbers in MATLAB's files, level 5 ("MAT-File Format", MathWorks), which SBD is kept in.

A reader of its own, since SciPy's ends the program on some damaged files.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pyifcn.data.checks import DataError

_MATRIX, _COMPRESSED = 14, 15  # types of elements
_NUMBERS = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_STRUCT = 2  # a class of matrices
_CLASSES = {
    6: "f8",
    7: "f4",
    8: "i1",
    9: "u1",
    10: "i2",
    11: "u2",
    12: "i4",
    13: "u4",
    14: "i8",
    15: "u8",
}
_LARGEST = 2**30  # bytes of a compressed matrix


def read_struct(path: Path, name: str) -> dict[str, npt.NDArray[Any]]:
    """The fields of a 1 x 1 struct that are real, full matrices of numbers.

    Args:
        path: The file.
        name: The variable.

    Raises:
        DataError: If the file cannot be read whole or has no such struct.
    """
    try:
        content = path.read_bytes()
        order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
        if order is None:
            raise _MalformedError("it is no MATLAB file of level 5")
        for kind, data in _elements(content[128:], order):
            if kind == _COMPRESSED:
                kind, data = next(_elements(_inflated(data), order))
            if kind == _MATRIX:
                matrix = _Matrix.of(data, order)
                if matrix.name == name and matrix.kind == _STRUCT and matrix.count == 1:
                    return matrix.fields(order)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    except (_MalformedError, zlib.error, StopIteration) as error:
        raise DataError(f"{path} cannot be read: {error or 'it ends early'}") from None
    raise DataError(f"{path} has no struct {name}")


class _MalformedError(ValueError):
    pass


@dataclass
class _Matrix:
    """A matrix whose head has been read."""

    name: str
    kind: int
    shape: tuple[int, ...]
    rest: Iterator[tuple[int, bytes]]

    @property
    def count(self) -> int:
        count = 1
        for side in self.shape:
            count *= side
        return count

    @classmethod
    def of(cls, data: bytes, order: str) -> _Matrix:
        rest = _elements(data, order)
        if not data:  # MATLAB's shortest empty matrix
            return cls("", 6, (0, 0), rest)
        flags = _numbers(next(rest), order)
        shape = tuple(_numbers(next(rest), order).tolist())
        name = next(rest)[1].decode("latin1")
        if len(flags) != 2 or len(shape) < 2 or min(shape) < 0:
            raise _MalformedError("a matrix has a malformed head")
        complex_bit = 0x800
        kind = int(flags[0]) & 0xFF if not int(flags[0]) & complex_bit else 0
        return cls(name, kind, shape, rest)

    def fields(self, order: str) -> dict[str, npt.NDArray[Any]]:
        (length,) = _numbers(next(self.rest), order).tolist() or (0,)
        text = next(self.rest)[1]
        if length < 1:
            raise _MalformedError("a struct has malformed names")
        names = [text[i : i + length].split(b"\0")[0] for i in range(0, len(text), length)]
        found = {}
        for name in names:
            kind, data = next(self.rest)
            if kind != _MATRIX:
                raise _MalformedError("a field is no matrix")
            matrix = _Matrix.of(data, order)
            if matrix.kind in _CLASSES:
                found[name.decode("latin1")] = matrix.values(order)
        return found

    def values(self, order: str) -> npt.NDArray[Any]:
        """Numbers may be stored narrower than their class; columns come first."""
        stored = _numbers(next(self.rest), order) if self.count else np.zeros(0)
        if len(stored) != self.count:
            raise _MalformedError(f"a matrix has {len(stored)} of {self.count} values")
        with np.errstate(invalid="ignore"):
            values = stored.astype(_CLASSES[self.kind])
        return np.ascontiguousarray(values.reshape(self.shape, order="F"))


def _elements(data: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """Each element's type and bytes."""
    byteorder: Any = "little" if order == "<" else "big"
    at = 0
    while at < len(data):
        first = int.from_bytes(data[at : at + 4], byteorder)
        kind, size, start = first & 0xFFFF, first >> 16, at + 4
        at += 8
        if not size:  # else a small element, whose data stand in the tag
            kind, size, start = first, int.from_bytes(data[at - 4 : at], byteorder), at
            at += size if kind == _COMPRESSED else -(-size // 8) * 8
        elif size > 4:
            raise _MalformedError(f"a small element has {size} bytes")
        if start + size > len(data):
            raise _MalformedError("it ends early")
        yield kind, data[start : start + size]


def _numbers(element: tuple[int, bytes], order: str) -> npt.NDArray[Any]:
    kind, data = element
    if kind not in _NUMBERS or len(data) % int(_NUMBERS[kind][1]):
        raise _MalformedError(f"an element of type {kind} and {len(data)} bytes is no numbers")
    return np.frombuffer(data, order + _NUMBERS[kind])


def _inflated(data: bytes) -> bytes:
    stream = zlib.decompressobj()
    content = stream.decompress(data, _LARGEST)
    if not stream.eof:
        raise _MalformedError("a compressed matrix ends early or is too large")
    return content
