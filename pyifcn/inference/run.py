"""A run over many images, from its plan to its report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pyifcn.inference import storage
from pyifcn.inference.blocks import Id, plan
from pyifcn.inference.finder import Finder
from pyifcn.inference.local import run_blocks
from pyifcn.inference.parts import Parts, Tally

Engine = Literal["local", "ray"]


@dataclass(frozen=True)
class Report:
    """What a run did.

    Attributes:
        done: What it did itself.
        already: Images that were done before.
    """

    done: Tally
    already: int


def propose_images(
    images: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    finder: Finder,
    *,
    ids: Mapping[str, Id] | None = None,
    engine: Engine = "local",
    skip: bool = False,
    images_per_part: int = 256,
    workers: int | None = None,
    cpus_per_worker: int = 1,
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> Report:
    """Finds the instances of many images and writes them to a folder of Parquet files.

    What the folder holds already is not done again. A file holds the results of a block of images
    whole, so a run that is killed, or a worker of it, leaves no part of one: the next run does
    what is missing, and each image is in the result once.

    Args:
        images: Image files, Parquet files (a column `path`, or `bytes` or `image` and `id`), and
            folders of either; paths or URLs.
        output: A folder or a URL, which is made if it is missing; none of the images' folders.
        finder: The network and how it is asked.
        ids: Ids of image files by location; the location as given is the id if None.
        engine: "local": in this process. "ray": on a cluster.
        skip: Record images that cannot be read, rather than raise.
        images_per_part: Images of a block: what is lost when a process is killed.
        workers: With "local" threads that read images; with "ray" processes, if None as many as
            the cluster has room for.
        cpus_per_worker: With "ray": threads of a worker.
        progress: Called with how many images are done and how many there are.

    Returns:
        How much was done.

    Raises:
        ImageError: If an image cannot be read and `skip` is false; what was complete is written.
        ValueError: If the images or what the folder holds are not as they should be.
        OSError: If the folder cannot be written.
        ImportError: If pyarrow, or for the engine "ray" Ray, is not installed.

    Example:
        >>> from pyifcn.data import SyntheticNuclei
        >>> from PIL import Image
        >>> Image.fromarray(SyntheticNuclei(1, size=(64, 64))[0].image).save("a.png")
        >>> report = propose_images("a.png", "found/", Finder("nuclei"))
        >>> report.done.images, report.already
        (1, 0)
        >>> propose_images("a.png", "found/", Finder("nuclei")).already
        1
        >>> from pyifcn.inference import read_proposals
        >>> for found in read_proposals("found/"):
        ...     print(found.image, found.masks.size)
        a.png (64, 64)
    """
    if images_per_part < 1:
        raise ValueError(f"images_per_part must be positive, got {images_per_part}")
    if engine not in ("local", "ray"):
        raise ValueError(f"engine must be 'local' or 'ray', got {engine!r}")
    given = [images] if isinstance(images, (str, os.PathLike)) else list(images)
    locations = [os.fspath(image) for image in given]
    folder = os.fspath(output)
    if storage.resolved(folder) in map(storage.resolved, locations):  # its parts would be images
        raise ValueError(f"output must not be one of the inputs, got {folder}")
    blocks = plan(locations, images_per_part, ids)
    numbered = bool(blocks) and blocks[0].numbered
    parts = Parts(folder, finder.settings, numbered)
    storage.remove_unfinished(parts.folder)
    todo = parts.missing(blocks)
    total = sum(map(len, blocks))
    already = count = total - sum(map(len, todo))

    def advance(images: int) -> None:
        nonlocal count
        count += images
        progress(count, total)

    advance(0)
    done = Tally()
    if todo and engine == "ray":
        from pyifcn.inference.on_ray import run_on_ray

        for tally in run_on_ray(
            todo, finder, parts, skip=skip, workers=workers, cpus=cpus_per_worker
        ):
            done += tally
            advance(tally.images)
    elif todo:
        for tally in run_blocks(
            todo, finder, parts, skip=skip, threads=workers or 2, advance=advance
        ):
            done += tally
    return Report(done, already)
