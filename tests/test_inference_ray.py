"""Runs on Ray: a worker and a node are killed on the way, and every image is there once."""

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the networks need PyTorch")
pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
if importlib.util.find_spec("ray") is None or importlib.util.find_spec("pandas") is None:
    pytest.skip('Ray Data is not installed: pip install "pyifcn[ray]"', allow_module_level=True)
from PIL import Image

from pyifcn.inference import read_proposals

COUNT = 40
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "RAY_ADDRESS": "local",  # whatever cluster this machine belongs to
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # else whatever else the machine does comes first
}


def write_images(folder, count):
    folder.mkdir()
    for number in range(count):
        Image.new("RGB", (60, 8), (number,) * 3).save(folder / f"{number:03}.png")


def start(folder, *arguments):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_a_worker_and_a_node_are_killed(tmp_path):
    write_images(tmp_path / "images", COUNT)
    ended = start(tmp_path, Path(__file__).with_name("ray_cluster.py"), tmp_path)
    assert ended.returncode == 0, ended.stderr
    outcome = json.loads(ended.stdout.splitlines()[-1])
    first, second, third = outcome["runs"]
    assert outcome["log"] == ["worker", "node"]
    assert first["done"] == {"images": COUNT, "instances": COUNT, "skipped": 0}
    assert COUNT < first["looked"] <= COUNT + 10  # of the parts that were not complete
    assert (second["done"]["images"], second["already"], second["looked"]) == (0, COUNT, 0)
    assert (third["done"]["images"], third["already"], third["looked"]) == (2, COUNT - 2, 2)

    assert outcome["refused"].endswith("damaged.png is not an image in a known format")
    results = list(read_proposals(tmp_path / "found"))
    images = sorted(result.image for result in results)
    assert images == [f"{tmp_path}/images/{number:03}.png" for number in range(COUNT)]
    for result in results:
        assert result.masks.to_dense()[0, 3].sum() == 1 + int(Path(result.image).stem)
        assert result.labels.tolist() == [3]
    assert len(list((tmp_path / "found").glob("part-*"))) == COUNT // 2

    end = time.monotonic() + 10
    while left := [pid for pid in outcome["processes"] if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < end, left
        time.sleep(0.1)


def test_the_program_on_ray(tmp_path):
    write_images(tmp_path / "images", 2)
    (tmp_path / "images/no.png").write_bytes(b"")
    command = ["-m", "pyifcn", "propose", "images", "--engine", "ray", "--workers", 1]
    ended = start(tmp_path, *command, "--images-per-part", 1, "--on-error", "skip")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.endswith(" instances in 3 images, 1 of them skipped: proposals/\n")
    errors = [found.error for found in read_proposals(tmp_path / "proposals")]
    assert sorted(error is None for error in errors) == [False, True, True]
