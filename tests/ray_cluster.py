"""A program for test_inference_ray.py: runs on a cluster of two nodes, which calamities befall.

    python ray_cluster.py FOLDER

FOLDER holds images/. Each worker writes the images that it looks at to a file of its own in seen/.
Prints json: what each run did, which calamities came to pass, and all processes of the cluster.
"""

import dataclasses
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import ray
from ray.cluster_utils import Cluster

from pyifcn import Masks
from pyifcn.data import ImageError
from pyifcn.inference import propose_images

LOOPBACK = "127.0.0.2"  # Ray replaces 127.0.0.1 by the address that other machines would use


class Slow:
    """Finds one rectangle after a while; tells who looked at which image, and on which node."""

    def __init__(self, folder):
        self.folder = folder
        self.device = "cpu"
        self.settings = {"score_threshold": 0.5}

    def __call__(self, image):
        node = ray.get_runtime_context().get_node_id()
        with (self.folder / f"{node}-{os.getpid()}").open("a") as file:
            file.write(f"{image[0, 0, 0]}\n")
        wait_until(lambda: len(seen(self.folder)) > 1)  # so that none does everything alone
        time.sleep(0.15)
        dense = np.zeros((1, *image.shape[:2]), bool)
        dense[0, 2:5, 1 : 2 + image[0, 0, 0]] = True
        return Masks.from_dense(dense), np.array([0.75], np.float32), np.array([3])


def seen(folder):
    """The images that each worker has looked at, by (node, process)."""
    return {
        tuple(path.name.split("-")): [int(line) for line in path.read_text().split()]
        for path in folder.iterdir()
    }


def looked_at(folder):
    """How many images workers have looked at."""
    return sum(map(len, seen(folder).values()))


def wait_until(condition):
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the cluster does nothing")
        time.sleep(0.05)


def calamities(cluster, second, folder, log):
    """Kills the first node's worker and, when the second node has done some more, that node."""
    wait_until(lambda: sum(len(images) > 1 for images in seen(folder).values()) >= 2)
    (victim,) = (pid for node, pid in seen(folder) if node != second.node_id)
    os.kill(int(victim), signal.SIGKILL)
    log.append("worker")
    count = looked_at(folder) + 4
    wait_until(lambda: looked_at(folder) >= count)
    cluster.remove_node(second, allow_graceful=False)
    log.append("node")


def descendants():
    """The processes that this one has started, and they in turn."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {os.getpid()})


def main(folder):
    watch = folder / "seen"
    watch.mkdir()
    node = {
        "num_cpus": 1,
        "object_store_memory": 80 << 20,
        "node_ip_address": LOOPBACK,
    }
    health = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            **node,
            "include_dashboard": False,
            "_system_config": health,
        },
    )
    second = cluster.add_node(**node)
    ray.init(cluster.address, _node_ip_address=LOOPBACK, log_to_driver=False, logging_level="ERROR")
    try:
        log, runs = [], []

        def run():
            before = looked_at(watch)
            report = propose_images(
                folder / "images", folder / "found", Slow(watch), engine="ray", images_per_part=2
            )
            runs.append({**dataclasses.asdict(report), "looked": looked_at(watch) - before})

        killer = threading.Thread(target=calamities, args=(cluster, second, watch, log))
        killer.start()
        run()
        killer.join()
        run()
        next((folder / "found").iterdir()).unlink()
        run()
        (folder / "images/damaged.png").write_bytes(b"")
        try:
            run()
        except ImageError as error:
            refused = str(error)
        return {"runs": runs, "log": log, "refused": refused, "processes": descendants()}
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    scratch = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # short: sockets lie in it
    os.environ["RAY_TMPDIR"] = scratch
    Path(scratch, "ray").mkdir()
    try:
        outcome = main(Path(sys.argv[1]))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(json.dumps(outcome))
