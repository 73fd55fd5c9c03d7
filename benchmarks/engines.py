"""Throughput of `pyifcn propose` in one process and on Ray, with the same cores.

    python benchmarks/engines.py --images 1000 --cores 2 --rounds 3

Both engines do the same synthetic images in turn, each round into a new folder. The rate is taken
between the first part and the last, so that what starts once (Ray, its workers, the network) is
told apart from what grows with the images. `taskset -c 0,1` before it holds both to those cores.
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


def timed(images, output, finder, engine, cores, per_part):
    """Images a second between the first part and the last, and the seconds of the whole run."""
    marks = []
    start = time.perf_counter()

    def mark(done, total):
        marks.append((time.perf_counter(), done))

    options = {"workers": cores} if engine == "ray" else {}
    report = propose_images(
        images, output, finder, engine=engine, images_per_part=per_part, progress=mark, **options
    )
    seconds = time.perf_counter() - start
    first = next(mark for mark in marks if mark[1] >= per_part)
    last = marks[-1]
    return (last[1] - first[1]) / (last[0] - first[0]), seconds, report.done


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
        rates = {"local": [], "ray": []}
        for round_ in range(given.rounds):
            answers = {}
            for engine in rates:
                rate, seconds, answers[engine] = timed(
                    images,
                    Path(scratch, f"{engine}{round_}"),
                    finder,
                    engine,
                    given.cores,
                    given.per_part,
                )
                rates[engine].append(rate)
                print(f"{engine:6} {rate:7.2f} images/s, {seconds:6.1f} s in all", flush=True)
            assert answers["local"].images == answers["ray"].images == given.images
    ray.shutdown()
    ratios = [b / a for a, b in zip(rates["local"], rates["ray"], strict=True)]
    print(
        f"{given.images} images of {given.side} x {given.side}, {given.cores} cores: "
        f"Ray has {statistics.median(ratios):.2f} of the throughput of one process"
    )


if __name__ == "__main__":
    main()
