"""NumPy arrays and torch tensors on their way to a compiled module, and back."""

from __future__ import annotations

import math
import operator
import sys
from typing import TYPE_CHECKING, Any, SupportsFloat, SupportsIndex, TypeVar

import numpy as np
import numpy.typing as npt

import pyifcn._runtime as _runtime

if TYPE_CHECKING:
    import torch

    # In the signature of a public function: what comes in decides what goes out. Below, where
    # either kind is handled by looking at it, arrays are Any.
    AnyArray = TypeVar("AnyArray", npt.NDArray[Any], torch.Tensor)


def is_tensor(value: object) -> bool:
    """Whether `value` is a torch tensor; torch is never imported to find out."""
    if type(value) is np.ndarray:
        return False
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def on_gpu(value: object) -> bool:
    """Whether `value` is a torch tensor in a GPU's memory."""
    return is_tensor(value) and value.device.type == "cuda"  # type: ignore[attr-defined]


def kind_of(array: Any) -> str:
    """The kind of an array's or a tensor's dtype, by NumPy's letters."""
    if not is_tensor(array):
        return str(array.dtype.kind)
    if array.is_floating_point():
        return "f"
    if array.is_complex():
        return "c"
    name = str(array.dtype).removeprefix("torch.")
    return "i" if name.startswith("int") else "u" if name.startswith("uint") else "b"


def runs_directly(*values: Any) -> bool:
    """Whether a call can go straight to the compiled code.

    Otherwise it goes through torch.library: where autograd records it, torch.compile or export
    traces it, torch.vmap batches it, a tensor subclass or a dispatch mode wants to see it, or
    there is nothing but shapes.

    Raises:
        NotImplementedError: A tensor carries a tangent of forward-mode differentiation, which
            would be lost.
    """
    if not all(map(is_tensor, values)):
        return True  # NumPy, or a mixture that the checks refuse
    torch = sys.modules["torch"]
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    _refuse_tangents(values)
    if torch._C._len_torch_dispatch_stack() or torch._C._functorch.peek_interpreter_stack():
        return False
    recording = torch.is_grad_enabled()
    for value in values:
        if type(value) not in (torch.Tensor, torch.nn.Parameter) or value.is_meta:
            return False
        if recording and value.requires_grad:
            return False
    return True


def _refuse_tangents(tensors: tuple[Any, ...]) -> None:
    forward_ad = sys.modules["torch"].autograd.forward_ad
    if forward_ad._current_level < 0:
        return
    if any(forward_ad.unpack_dual(tensor).tangent is not None for tensor in tensors):
        raise NotImplementedError(
            "pyifcn has no forward-mode derivatives, expected tensors without tangents; "
            "differentiate with backward"
        )


def contiguous(value: Any, name: str, rank: int, like: Any = None) -> Any:
    """`value` in C order and the machine's byte order; the compiled module then checks its dtype.

    Raises:
        TypeError: It is no array, has another rank, or is of another library or on another device
            than `like`.
    """
    if getattr(value, "ndim", rank) != rank:
        raise TypeError(f"{name} is {describe(value)}, expected {rank} dimensions")
    if type(value) is np.ndarray:
        if like is not None and type(like) is not np.ndarray:
            raise TypeError(f"{name} is {describe(value)}, expected a torch tensor like the others")
        flags, dtype = value.flags, value.dtype
        if flags.c_contiguous and flags.aligned and dtype.isnative:
            return value
        return np.require(value, dtype.newbyteorder("="), ("C", "A"))
    if is_tensor(value):
        if like is not None and not is_tensor(like):
            raise TypeError(f"{name} is {describe(value)}, expected a NumPy array like the others")
        if like is not None and value.device != like.device:
            raise TypeError(
                f"{name} is on {value.device}, expected it beside the others on {like.device}"
            )
        return _plainly_contiguous(value, name)
    if isinstance(value, np.ndarray):  # a subclass: memmap, matrix
        return contiguous(np.asarray(value), name, rank, like)
    raise TypeError(f"{name} is {describe(value)}, expected a NumPy array or a torch tensor")


def _plainly_contiguous(tensor: Any, name: str) -> Any:
    _refuse_tangents((tensor,))
    try:
        return tensor.resolve_neg().contiguous()
    except RuntimeError:
        kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
        raise TypeError(f"{name} is a {kind} tensor, expected a dense one") from None


def contiguous_int64(value: Any, name: str, rank: int, like: Any) -> Any:
    """`value`, of any integer dtype, as int64 in C order.

    Raises:
        TypeError: As `contiguous`, or it holds no integers.
        ValueError: It holds one of 2^63 or more.
    """
    if is_tensor(value):
        torch = sys.modules["torch"]
        if value.dtype != torch.int64:
            if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
                raise TypeError(f"{name} is {describe(value)}, expected integers")
            wraps = value.dtype == getattr(torch, "uint64", None)
            value = value.to(torch.int64)
            if wraps and value.device.type == "cpu" and (value < 0).any():
                raise ValueError(f"{name} holds a number of 2^63 or more, expected less")
    elif isinstance(value, np.ndarray) and value.dtype != np.int64:
        if value.dtype.kind not in "iu":
            raise TypeError(f"{name} is {describe(value)}, expected integers")
        if value.dtype == np.uint64 and value.size and (most := value.max()) >= 2**63:
            raise ValueError(f"{name} holds {most}, expected less than 2^63")
        value = value.astype(np.int64)
    return contiguous(value, name, rank, like)


def as_float64(value: Any, name: str) -> Any:
    """Real numbers of any dtype as float64.

    Raises:
        TypeError: It holds bool, complex numbers or objects.
    """
    if is_tensor(value):
        torch = sys.modules["torch"]
        real = not value.is_complex() and value.dtype != torch.bool
    else:
        real = value.dtype.kind in "iuf"
    if not real:
        raise TypeError(f"{name} is {describe(value)}, expected real numbers")
    return as_dtype(value, "float64")


def as_int(value: SupportsIndex, name: str, least: int) -> int:
    """`value` as an int of at least `least` that compiled code can take.

    Raises:
        TypeError: It is no integer.
        ValueError: It is less, or 2^63 or more.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {describe(value)}, expected an integer") from None
    if number < least:
        raise ValueError(f"{name} is {number}, expected at least {least}")
    if number >= 2**63:
        raise ValueError(f"{name} is {number}, expected less than 2^63")
    return number


def as_number(value: SupportsFloat, name: str) -> float:
    """`value` as a float.

    Raises:
        TypeError: It is no number.
    """
    try:
        of_rank = isinstance(value, np.ndarray) and value.ndim > 0  # before 2.4 NumPy converts (1,)
        if hasattr(value, "__float__") and not of_rank and not isinstance(value, str):
            return float(value)
    except (TypeError, RuntimeError, ValueError, OverflowError):  # of several, or beyond a float
        pass
    raise TypeError(f"{name} is {describe(value)}, expected a number")


def as_text(value: str, name: str) -> str:
    """`value`, which compiled code then looks up.

    Raises:
        TypeError: It is no string.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} is {describe(value)}, expected a string")
    return value


def as_numpy(value: Any, name: str) -> npt.NDArray[Any]:
    """The elements of an array, a tensor on any device or a sequence.

    Raises:
        TypeError: It is a tensor on a device without memory, or a sequence of different lengths.
    """
    if not is_tensor(value):
        try:
            return np.asarray(value)
        except ValueError:
            raise TypeError(f"{name} is {value!r}, expected an array's elements") from None
    if value.device.type == "meta":
        raise TypeError(f"{name} is on meta, expected a tensor with elements")
    array: npt.NDArray[Any] = value.detach().cpu().numpy()
    return array


def detached(value: Any) -> Any:
    """A tensor out of autograd's sight; anything else as it is."""
    if not is_tensor(value):
        return value
    _refuse_tangents((value,))
    return value.detach()


def empty(shape: tuple[int, ...], like: Any, dtype: str | None = None) -> Any:
    """A new array of `like`'s library and device, and of its dtype unless another is named.

    Raises:
        ValueError: It would be too large to address.
    """
    try:
        if type(like) is np.ndarray:
            return np.empty(shape, like.dtype if dtype is None else dtype)
        if dtype is None:
            return like.new_empty(shape)
        return like.new_empty(shape, dtype=getattr(sys.modules["torch"], dtype))
    except (ValueError, RuntimeError, TypeError, OverflowError):
        if math.prod(max(side, 1) for side in shape) < 2**59:  # the failure is another
            raise
        raise ValueError(f"a result of shape {shape} would be too large to address") from None


def zeros(shape: tuple[int, ...], like: Any, dtype: str) -> Any:
    """A new array of zeros of `like`'s library and device."""
    if type(like) is np.ndarray:
        return np.zeros(shape, dtype)
    return like.new_zeros(shape, dtype=getattr(sys.modules["torch"], dtype))


def background(shape: tuple[int, ...], like: Any, dtype: str) -> Any:
    """A new array of masks' pixels, for a kernel to draw on.

    On the CPU zeros that the system gives where a mask is drawn, and for all other pixels never.
    A kernel on a GPU writes all pixels, so that there they are whatever was in memory.
    """
    if on_gpu(like):
        return empty(shape, like, dtype)
    zeros = np.zeros(shape, dtype)
    return sys.modules["torch"].from_numpy(zeros) if is_tensor(like) else zeros


def as_dtype(value: Any, dtype: str) -> Any:
    """`value` in another dtype; itself if it has it already."""
    if type(value) is np.ndarray:
        return value.astype(dtype, copy=False)
    return value.to(getattr(sys.modules["torch"], dtype))


def widened(value: Any) -> Any:
    """float16 and bfloat16 as float32; anything else as it is."""
    dtype = value.dtype
    if dtype.itemsize != 2 or not str(dtype).endswith("float16"):
        return value
    return as_dtype(value, "float32")


def as_dtype_of(value: Any, like: Any) -> Any:
    """`value` in `like`'s dtype; itself if it has it already."""
    return as_dtype(value, str(like.dtype).removeprefix("torch."))


def as_read(value: Any, module: Any) -> Any:
    """`value` in a type that the compiled module reads: the CPU's kernels read no half types."""
    return widened(value) if module is _runtime.cpu else value


def torch_ops() -> Any:
    """torch.ops.pyifcn, registered when first asked for."""
    import pyifcn.torch

    return pyifcn.torch.ops


def compiled(like: Any) -> tuple[Any, Any]:
    """The compiled module for `like`'s device, and what its functions take last.

    That is the number of threads on the CPU, and on a GPU the device's index and the handle of
    torch's current stream there.
    """
    if type(like) is np.ndarray or like.device.type == "cpu":
        return _runtime.cpu, _runtime.num_threads()
    if like.device.type != "cuda":
        raise TypeError(f"tensors on {like.device} are not supported, expected cpu or cuda")
    stream = sys.modules["torch"].cuda.current_stream(like.device)
    return _runtime.cuda(), (stream.device_index, stream.cuda_stream)


def describe(value: Any) -> str:
    """What was given, in an error message."""
    if is_tensor(value) or isinstance(value, np.ndarray):
        dtype = str(value.dtype).removeprefix("torch.")
        kind = "array" if isinstance(value, np.ndarray) else "tensor"
        article = "an" if dtype.startswith("int") else "a"
        return f"{article} {dtype} {kind} of shape {tuple(value.shape)}"
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    return f"a {type(value).__name__}"
