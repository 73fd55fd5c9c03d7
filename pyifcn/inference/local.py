"""Blocks of images, done in this process: threads read ahead while the network works."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import groupby
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from pyifcn.data import ImageError
from pyifcn.inference.blocks import Block, Id, Load
from pyifcn.inference.finder import HostInstances
from pyifcn.inference.parts import Found, Parts, Tally, unreadable

_T = TypeVar("_T")
_R = TypeVar("_R")
_AHEAD = 2  # images that wait in memory for each thread that reads

Find = Callable[[npt.NDArray[np.uint8]], HostInstances]


def prefetched(
    function: Callable[[_T], _R], items: Iterable[_T], threads: int = 2
) -> Generator[tuple[_T, _R], None, None]:
    """Calls a function in threads, a little ahead of who takes the results.

    Args:
        function: Called with each item.
        items: Taken one by one, in the thread of who takes the results.
        threads: How many calls run at once; twice as many results wait at most.

    Yields:
        Each item and its result, in order; raises what the call raised.

    Example:
        >>> list(prefetched(len, ["a", "bc"]))
        [('a', 1), ('bc', 2)]
    """
    pool = ThreadPoolExecutor(threads)
    pending: deque[tuple[_T, Future[_R]]] = deque()
    try:
        for item in items:
            pending.append((item, pool.submit(function, item)))
            if len(pending) > _AHEAD * threads:
                first, future = pending.popleft()
                yield first, future.result()
        while pending:
            first, future = pending.popleft()
            yield first, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def run_blocks(
    blocks: Iterable[Block],
    find: Find,
    parts: Parts,
    *,
    skip: bool,
    threads: int = 2,
    advance: Callable[[int], Any] = lambda images: None,
) -> Iterator[Tally]:
    """Does blocks one after the other, reading ahead across their ends.

    Args:
        blocks: What to do.
        find: Gives the masks, scores and labels of an image.
        parts: Where the results go.
        skip: Record images that cannot be read, rather than raise.
        threads: How many read images.
        advance: Called with how many more images are done.

    Yields:
        What was in each block, when its part is written.

    Raises:
        ImageError: If an image cannot be read and is not to be skipped.
        OSError: If a part cannot be written.
    """
    jobs = ((block, *image) for block in blocks for image in block.images())
    loaded = prefetched(lambda job: attempt(job[2]), jobs, threads)
    with closing(loaded):
        for block, group in groupby(loaded, lambda pair: pair[0][0]):
            yield parts.write(block, _found(group, find, skip, advance))


def attempt(load: Load) -> npt.NDArray[np.uint8] | ImageError:
    """The image, or why it cannot be read."""
    try:
        return load()
    except ImageError as error:
        return error


def _found(
    group: Iterable[tuple[tuple[Block, Id, Load], npt.NDArray[np.uint8] | ImageError]],
    find: Find,
    skip: bool,
    advance: Callable[[int], Any],
) -> Iterator[Found]:
    for (_, name, _), image in group:
        if not isinstance(image, ImageError):
            yield Found(name, *_searched(image, find, name))
        elif skip:
            yield unreadable(name, str(image))
        else:
            raise image
        advance(1)


def _searched(image: npt.NDArray[np.uint8], find: Find, name: Id) -> HostInstances:
    try:
        return find(image)
    except RuntimeError as error:  # of torch, which does not know the image
        raise RuntimeError(f"{name}: {error}") from error
