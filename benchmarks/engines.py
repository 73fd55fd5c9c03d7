"""Throughput of `pyifcn propose` in one process and on Ray, with the same cores.

    python benchmarks/engines.py --images 1000 --cores 2 --rounds 3

Both engines do the same synthetic images in turn, each round into a new folder. The rate is taken
between the first part and the last, so that what starts once (Ray, its workers, the network) is
told apart from what grows with the images. `taskset -c 0,1` before it holds both to those cores.
On a machine that does other things too, the processor time is what counts: of this process, or of
it and all of Ray's. Linux only, for /proc.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import ray
import torch
from PIL import Image

from pyifcn.data import SyntheticNuclei
from pyifcn.inference import Finder, propose_images


def processor_time(everything):
    """Seconds of this process, and if `everything` of all that descend from it."""
    ticks, parents = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        parents[int(path.parent.name)] = int(fields[1])
        ticks[int(path.parent.name)] = int(fields[11]) + int(fields[12])
    ours = {os.getpid()}
    while more := {p for p, parent in parents.items() if everything and parent in ours} - ours:
        ours |= more
    return sum(ticks.get(pid, 0) for pid in ours) / os.sysconf("SC_CLK_TCK")


def timed(images, output, finder, engine, cores, per_part):
    """Images a second, and processor seconds an image, between the first part and the last."""
    marks = []
    start = time.perf_counter()

    def mark(done, total):
        if done % per_part == 0 or done == total:
            marks.append((done, time.perf_counter(), processor_time(engine == "ray")))

    options = {"workers": cores} if engine == "ray" else {}
    report = propose_images(
        images, output, finder, engine=engine, images_per_part=per_part, progress=mark, **options
    )
    seconds = time.perf_counter() - start
    (n, began, spent), (total, ended, spent_in_all) = marks[1], marks[-1]
    assert report.done.images == total
    rate, cost = (total - n) / (ended - began), (spent_in_all - spent) / (total - n)
    print(
        f"{engine:6} {rate:7.2f} images/s, {1000 * cost:6.1f} ms of processors an image, "
        f"{seconds:6.1f} s in all",
        flush=True,
    )
    return rate, cost


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=64, help="of an image, in pixels")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--per-part", type=int, default=20)
    given = parser.parse_args()
    torch.set_num_threads(given.cores)
    ray.init(address="local", num_cpus=given.cores, log_to_driver=False, logging_level="ERROR")
    with tempfile.TemporaryDirectory() as scratch:
        images = Path(scratch, "images")
        images.mkdir()
        size = (given.side, given.side)
        for i, sample in enumerate(SyntheticNuclei(given.images, size=size)):
            Image.fromarray(sample.image).save(images / f"{i:05}.png")
        finder = Finder("nuclei", device="cpu")
        finder.model  # noqa: B018  loaded before the clock runs
        engines = {"local": [], "ray": []}
        for number in range(given.rounds):
            for engine, results in engines.items():
                output = Path(scratch, f"{engine}{number}")
                results.append(timed(images, output, finder, engine, given.cores, given.per_part))
    ray.shutdown()
    pairs = list(zip(*engines.values(), strict=True))
    rate = statistics.median(other[0] / one[0] for one, other in pairs)
    cost = statistics.median(other[1] / one[1] for one, other in pairs)
    print(
        f"{given.images} images of {given.side} x {given.side}, {given.cores} cores: Ray has "
        f"{rate:.2f} of the throughput of one process, and takes {cost:.2f} of its processor time"
    )


if __name__ == "__main__":
    main()
