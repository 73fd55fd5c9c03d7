"""What runs the kernels: the compiled module, its target and the number of threads."""

import os
import sys
from functools import cache
from types import ModuleType

try:
    from pyifcn import _cpu
except ImportError as error:
    raise ImportError(
        f"pyifcn's compiled module cannot be loaded ({error}); reinstall with `pip install pyifcn`"
    ) from error


cpu: ModuleType = _cpu


def available_targets() -> list[str]:
    """Names of the instruction sets that this machine can run, slowest first.

    Example:
        >>> import pyifcn
        >>> pyifcn.available_targets()[0]
        'scalar'
    """
    return cpu.available_targets()


def current_target() -> str:
    """Name of the instruction set that kernels on the CPU use now.

    Example:
        >>> import pyifcn
        >>> pyifcn.current_target() in pyifcn.available_targets()
        True
    """
    return cpu.current_target()


def use_target(name: str) -> None:
    """Chooses the instruction set of kernels on the CPU, for the whole process.

    The fastest is chosen by itself, or the one that the environment variable `PYIFCN_TARGET`
    names. The answers are the same on all of them.

    Args:
        name: One of `available_targets()`.

    Raises:
        TypeError: It is no string.
        ValueError: This machine cannot run it.

    Example:
        >>> import pyifcn
        >>> before = pyifcn.current_target()
        >>> pyifcn.use_target("scalar")
        >>> pyifcn.current_target()
        'scalar'
        >>> pyifcn.use_target(before)
    """
    if not isinstance(name, str):
        raise TypeError(f"name is {name!r}, expected a string")
    cpu.use_target(name)


@cache
def cuda() -> ModuleType:
    """What runs the kernels for CUDA tensors, loaded when one is first met.

    Raises:
        RuntimeError: This build has none.
    """
    try:
        import pyifcn._gpu
    except ImportError as error:
        raise RuntimeError(
            f"this build of pyifcn has no CUDA kernels ({error}); move the tensors to the CPU, "
            "or build with nvcc and PYIFCN_CUDA=ON"
        ) from error
    return pyifcn._gpu


def num_threads() -> int:
    """Threads that an operator on the CPU may use.

    torch's setting when torch is loaded, else the environment variable `PYIFCN_NUM_THREADS`, else
    the CPUs that this process may run on.
    """
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        return int(torch.get_num_threads())
    return _default_threads


def _threads_from_environment() -> int:
    setting = os.environ.get("PYIFCN_NUM_THREADS")
    if setting:
        if not setting.isdecimal() or not 1 <= int(setting) <= _MOST_THREADS:
            raise ValueError(
                f"PYIFCN_NUM_THREADS is {setting!r}, expected a number in 1..{_MOST_THREADS}"
            )
        return int(setting)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_MOST_THREADS = 4096
_default_threads = _threads_from_environment()
if os.environ.get("PYIFCN_TARGET"):
    use_target(os.environ["PYIFCN_TARGET"])
