"""Our functions in the places of other libraries' own."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FunctionType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pyifcn.compat._replacement import Replacement

# Each library, and the module of pyifcn.compat whose REPLACEMENTS are for it: those in its package.
_LIBRARIES = {
    "torchvision": "torchvision",
    "pycocotools": "pycocotools",
    "detectron2": "detectron2",
    "adet": "detectron2",
    "mmcv": "mmcv",
    "mmdet": "mmcv",
    "supervision": "supervision",
    "segment_anything": "segment_anything",
    "transformers": "transformers",
    "ensemble_boxes": "ensemble_boxes",
    "yolact": "yolact",
}
# A library that is no distribution and whose package has a name that says little: the package, and
# files in it that tell that it is this one.
_SOURCES = {"yolact": ("layers", ("box_utils.py", "output_utils.py", "functions/detection.py"))}


class _Place(NamedTuple):
    """An attribute that was replaced, of a module or a class."""

    owner: Any
    name: str
    original: Any
    ours: Any


class _Active(NamedTuple):
    places: list[_Place]
    replaced: list[str]
    holders: set[Accelerated]


_lock = threading.RLock()
_active: dict[str, _Active] = {}


class Accelerated:
    """What `accelerate` did. As a context manager it is undone at the end of the block.

    Attributes:
        libraries: The libraries' names.
        replaced: The replaced functions' names, with their modules.
    """

    def __init__(self, libraries: tuple[str, ...], replaced: tuple[str, ...]) -> None:
        self.libraries = libraries
        self.replaced = replaced

    def __enter__(self) -> Accelerated:
        _hold(self.libraries, self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with _lock:
            for library in self.libraries:
                _release(library, self)

    def __repr__(self) -> str:
        return f"Accelerated({', '.join(self.replaced)})"


def accelerate(*libraries: str) -> Accelerated:
    """Puts our functions in the places of other libraries', where their own code looks them up.

    What the libraries' detectors and evaluators call then runs on our kernels, with the results
    that docs/compat.md describes. A call that ours does not take as the original does, such as one
    with tensors on a GPU, one that is traced, compiled or scripted, or one through which gradients
    flow but do not through ours, goes on to the original.

    A name that a module outside these libraries holds since before (`from torchvision.ops import
    nms`) stays what it was. It may be called again, from several threads and in nested blocks: the
    originals are back when the last block that asked for a library ends, unless it was asked for
    outside of any block; then `restore` brings them back.

    Args:
        libraries: "torchvision", "pycocotools", "detectron2", "adet" (AdelaiDet), "mmcv", "mmdet",
            "supervision", "segment_anything", "transformers", "ensemble_boxes" or "yolact" (its
            folder is on `sys.path`); or "all" for those that are installed. Of these one that
            cannot be imported or has another version is left as it is, with a RuntimeWarning.

    Returns:
        `Accelerated`, which tells what was replaced and is a context manager.

    Raises:
        ValueError: There is no such library here.
        ImportError: It is not installed.
        RuntimeError: A function that would be replaced is not there or has other arguments: this
            version of the library is not known. Nothing is replaced then.

    Example:
        >>> import numpy as np
        >>> import pycocotools.mask
        >>> import pyifcn
        >>> with pyifcn.accelerate("pycocotools") as accelerated:
        ...     code = pycocotools.mask.encode(np.ones((2, 3), np.uint8, order="F"))
        >>> accelerated.replaced[0]
        'pycocotools.mask.encode'
    """
    with _lock:
        names = _named(libraries)
        handle = Accelerated(names, ())
        _hold(names, handle)
        handle.replaced = tuple(each for name in names for each in _active[name].replaced)
    return handle


def _hold(libraries: tuple[str, ...], handle: Accelerated) -> None:
    """Puts ours where they are not, all or none, and notes who asked for them."""
    with _lock:
        found = {name: _find(name) for name in libraries if name not in _active}
        for name, places in found.items():
            _active[name] = _Active(places, [_spelled(place) for place in places], set())
            for place in places:
                setattr(place.owner, place.name, place.ours)
        for name in libraries:
            _active[name].holders.add(handle)


def restore(*libraries: str) -> None:
    """Puts the originals back, whoever asked for ours.

    Args:
        libraries: Names as for `accelerate`; none: all. One that is not accelerated is left alone.

    Raises:
        ValueError: There is no such library here.

    Example:
        >>> import pyifcn
        >>> pyifcn.restore()
    """
    for name in libraries:
        _check_name(name)
    with _lock:
        every = not libraries or "all" in libraries
        for name in list(_active) if every else libraries:
            _undo(name, stacklevel=3)


def _check_name(name: str) -> None:
    if not isinstance(name, str) or (name not in _LIBRARIES and name != "all"):
        known = ", ".join(repr(each) for each in [*_LIBRARIES, "all"])
        raise ValueError(f"{name!r} is no library that can be accelerated, expected {known}")


def _named(libraries: tuple[str, ...]) -> tuple[str, ...]:
    if not libraries:
        raise ValueError("no library is named, expected one or 'all'")
    for name in libraries:
        _check_name(name)
    if "all" in libraries:
        return tuple(name for name in _LIBRARIES if name in _active or _fits(name))
    return tuple(dict.fromkeys(libraries))


def _fits(library: str) -> bool:
    """Whether it is installed, with a warning if nevertheless it cannot be accelerated."""
    if not _is_installed(library):
        return False
    try:
        _find(library)
    except Exception as error:  # whatever a library that is half installed raises
        warnings.warn(f"{library} is left as it is: {error}", RuntimeWarning, stacklevel=5)
        return False
    return True


def _is_installed(name: str) -> bool:
    package, files = _SOURCES.get(name, (name, ()))
    try:
        spec = importlib.util.find_spec(package)
    except ValueError:  # a module that was put into sys.modules by hand
        return package in sys.modules
    if spec is None or spec.origin is None or not spec.submodule_search_locations:
        return False  # nothing, or a file or folder that happens to have the name
    folders = [Path(folder) for folder in spec.submodule_search_locations]
    return all(any((folder / file).is_file() for folder in folders) for file in files)


def _find(library: str) -> list[_Place]:
    """The places of a library's functions, all of them checked and none changed."""
    package, files = _SOURCES.get(library, (library, ()))
    if not _is_installed(library):
        reason = "it is not installed"
        if files:
            reason = f"the package {package} on sys.path, if any, is not {library.upper()}'s"
        raise ImportError(f"{library} cannot be accelerated: {reason}", name=library)
    importlib.import_module(package)
    compat = importlib.import_module(f"pyifcn.compat.{_LIBRARIES[library]}")
    places: list[_Place] = []
    for replacement in compat.REPLACEMENTS:
        if replacement.where.split(".")[0] != package:
            continue
        owner, name, original = _original(library, replacement)
        ours = _dispatcher(library, original, replacement)
        places.append(_Place(owner, name, original, ours))
        if inspect.ismodule(owner):
            places.extend(
                _Place(other, each, original, ours)
                for other, each in _holders_of(original)
                if (other, each) != (owner, name)
            )
    return places


def _original(library: str, replacement: Replacement) -> tuple[Any, str, Any]:
    """Where the original is, its name there, and itself."""
    *path, name = replacement.where.split(".")
    owner: Any = importlib.import_module(path[0])
    for k, part in enumerate(path[1:], 2):
        whole = ".".join(path[:k])
        try:
            owner = importlib.import_module(whole)
        except ModuleNotFoundError as error:
            if error.name != whole:
                raise
            owner = getattr(owner, part, None)  # a class
    original = getattr(owner, name, None)
    if not callable(original):
        raise RuntimeError(f"{_versions(library)}: there is no {replacement.where} to replace")
    try:
        theirs = list(inspect.signature(original).parameters)
    except (TypeError, ValueError):  # compiled, without a signature
        return owner, name, original
    ours = list(inspect.signature(replacement.ours).parameters)
    if theirs != ours:
        raise RuntimeError(
            f"{_versions(library)}: {replacement.where} takes ({', '.join(theirs)}), "
            f"expected ({', '.join(ours)})"
        )
    return owner, name, original


def _versions(library: str) -> str:
    from pyifcn import __version__

    try:
        theirs = version(library)
    except PackageNotFoundError:
        theirs = "of unknown version"
    return f"{library} {theirs} does not fit pyifcn {__version__}"


def _holders_of(value: Any) -> Iterator[tuple[Any, str]]:
    """The loaded modules of all these libraries that have `value` as an attribute, and its name."""
    packages = {name for name in _LIBRARIES if name not in _SOURCES}
    packages |= {_SOURCES[name][0] for name in _SOURCES if _is_installed(name)}
    for module_name, module in list(sys.modules.items()):
        if module is None or module_name.split(".")[0] not in packages:
            continue
        for name, each in list(vars(module).items()):
            if each is value:
                yield module, name


def _dispatcher(
    library: str, original: Callable[..., Any], replacement: Replacement
) -> Callable[..., Any]:
    """What stands in the original's place."""
    ours, covers = replacement.ours, replacement.covers

    def takes(*args: Any, **kwargs: Any) -> bool:
        try:
            covered = covers is None or covers(*args, **kwargs)
        except (AttributeError, LookupError, TypeError):  # the original should complain of them
            return False
        return covered and library in _active  # else somebody kept it for longer

    def replaced(*args: Any, **kwargs: Any) -> Any:
        return ours(*args, **kwargs) if takes(*args, **kwargs) else original(*args, **kwargs)

    # torch.jit.script reads the source that `__wrapped__` leads to, and there looks names up among
    # the globals: so it compiles the original.
    if isinstance(original, FunctionType):
        code, inside = replaced.__code__, replaced.__closure__
        replaced = FunctionType(code, original.__globals__, closure=inside)
    return functools.wraps(original)(replaced)


def _spelled(place: _Place) -> str:
    owner = place.owner
    if inspect.ismodule(owner):
        return f"{owner.__name__}.{place.name}"
    return f"{owner.__module__}.{owner.__qualname__}.{place.name}"


def _release(library: str, handle: Accelerated) -> None:
    active = _active.get(library)
    if active is None or handle not in active.holders:
        return
    active.holders.remove(handle)
    if not active.holders:
        _undo(library, stacklevel=4)


def _undo(library: str, stacklevel: int) -> None:
    active = _active.pop(library, None)
    if active is None:
        return
    for place in active.places:
        if vars(place.owner).get(place.name) is place.ours:
            setattr(place.owner, place.name, place.original)
        else:
            warnings.warn(
                f"{_spelled(place)} was replaced again since pyifcn did, and is left as it is",
                RuntimeWarning,
                stacklevel=stacklevel,
            )
    for place in active.places:  # modules loaded since then
        for module, name in _holders_of(place.ours):
            setattr(module, name, place.original)
